"""Protocols of other servers and of streams: each turns requests into entities and answers back."""
