"""Commands, one module each: `configure(parser)` adds the options, `run(arguments)` runs it."""
