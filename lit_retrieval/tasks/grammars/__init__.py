"""Random grammars: the next symbol, or the state of the grammar."""
