"""HTTP for all protocols: bodies, queries, streams, errors, headers, compression, connections."""
