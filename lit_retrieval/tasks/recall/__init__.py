"""Tasks that ask for something that stands in the context."""
