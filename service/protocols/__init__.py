"""Protocols of the service: each parses requests into entities and serialises predictions."""
