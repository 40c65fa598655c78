"""The command line: one module a command; each holds options and calls one library function."""
