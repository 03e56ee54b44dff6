"""Comparison of the entities a model is asked about with those it was trained on."""
