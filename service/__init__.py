"""Serves a model: online over HTTP, offline over files."""
