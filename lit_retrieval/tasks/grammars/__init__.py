"""Random grammars: what may come next, and where a grammar is in a string."""
