"""From an address to checked files in the layout that a reader expects."""
