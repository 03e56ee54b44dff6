"""Experiments over many fits: learning curves, ablations and hyperparameter search."""
