"""The service: labels online over HTTP, and offline for whole files."""
