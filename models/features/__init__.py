"""Features: sparse rows of hashed tokens."""
