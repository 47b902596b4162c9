"""Train recurrent models, Transformers and hybrids on in-context retrieval, with the search run while they decode."""
