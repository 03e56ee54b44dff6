"""Evaluation: metrics, slices, mistakes and comparisons of models."""
