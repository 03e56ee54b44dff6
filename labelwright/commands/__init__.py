"""Commands of the command line, each in a module with two functions.

`configure(parser)` adds the options of the command, and `run(arguments)` runs the command. The
docstring of the module is the help text of the command.
"""
