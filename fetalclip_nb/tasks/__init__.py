"""What is asked of the data, and which patients are trained and tested on."""
