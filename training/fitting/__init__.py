"""Fitting: features, linear stage, reranker, implications and thresholds."""
