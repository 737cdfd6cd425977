"""The public MetaClaw-Bench data, read where the user has it, with checkers of our own."""
