"""Telemetry: metrics, logs, traces, and counts of the traffic for drift."""
