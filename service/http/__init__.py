"""Parts of HTTP: request bodies, queries, streams, errors, headers, compression and connections."""
