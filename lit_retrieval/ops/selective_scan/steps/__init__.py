"""The selective scan in Triton, one step after the other."""
