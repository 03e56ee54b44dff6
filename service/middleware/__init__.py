"""ASGI middleware: access control, rate limits and the request log."""
