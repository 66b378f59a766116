"""From a profile to the book: run notebooks, check them, build the pages."""
