"""Metrics, logs, traces and samples of the traffic."""
