"""Tasks that ask for something in the context."""
