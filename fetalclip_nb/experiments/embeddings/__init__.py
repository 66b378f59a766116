"""Chapter 7: neighbours, clusters, an atlas of embeddings."""
