"""Experiments of many fits: learning curves, repeated seeds, ablations and tuning."""
