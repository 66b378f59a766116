"""Questions about images of one's own: predict and search."""
