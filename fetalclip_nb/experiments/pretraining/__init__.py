"""How the shipped phantom CLIP was made."""
