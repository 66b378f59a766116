"""Chapter 2: age from sentences, and the controls that it must beat."""
