"""Monitoring: comparison of the entities that a model labels with its training and test data."""
