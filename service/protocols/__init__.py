"""Message formats: each turns requests into entities and results into responses."""
