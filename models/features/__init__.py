"""Features of entities: sparse rows of hashed tokens."""
