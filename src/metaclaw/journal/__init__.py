"""What happened: turns and what clients said of them. Owns the tables `turns`, `sessions` and `feedback`."""
