"""Tasks that follow the states of an automaton, a group or a Turing machine."""
