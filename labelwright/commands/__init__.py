"""The commands, one module each: `configure(parser)` states its options, `run(options)` does it."""
