"""Chapter 6: class activation maps, and whether they mean anything."""
