"""Access control, API keys, rate limits and the request log."""
