"""What a number becomes: a result file, a text, a table, a figure."""
