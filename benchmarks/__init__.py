"""Benchmarks of labelwright, and comparisons with other libraries on the same data."""
