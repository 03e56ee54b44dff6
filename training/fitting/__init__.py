"""Fitting of models: features, linear stage, reranker, implications and thresholds."""
