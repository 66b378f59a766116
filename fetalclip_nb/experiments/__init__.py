"""One folder a chapter of the book; no chapter imports another."""
