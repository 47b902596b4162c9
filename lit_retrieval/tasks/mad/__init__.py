"""The six synthetic tasks of mechanistic architecture design, MAD (Poli et al. 2024, arXiv:2403.17844)."""
