"""The larger commands of the command line, one module each: its arguments, and what it prints."""
