"""Chapter 4: a decoder on frozen features outlines structures; the head is measured."""
