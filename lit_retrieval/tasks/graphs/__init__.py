"""Tasks about graphs."""
