"""HTTP building blocks: request bodies, streaming, errors, compression, connections."""
