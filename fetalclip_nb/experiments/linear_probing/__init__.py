"""Chapter 3: one linear layer on frozen embeddings, and its rivals."""
