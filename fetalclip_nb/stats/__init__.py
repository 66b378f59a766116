"""Scores and intervals over patients: arrays in, nothing of data sets or models."""
