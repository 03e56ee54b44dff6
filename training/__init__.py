"""Builds a model: split, fit, evaluate, track, promote."""
