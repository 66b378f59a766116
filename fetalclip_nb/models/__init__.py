"""An encoder, and what it makes of images and sentences."""
