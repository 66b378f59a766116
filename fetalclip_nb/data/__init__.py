"""A folder becomes a checked table of images."""
