"""The command line: the person's door."""
