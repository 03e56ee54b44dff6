"""Evaluation of models: metrics, slices, mistakes, and comparisons of two models."""
