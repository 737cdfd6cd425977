"""The HTTP door: one turn's life from the client's bytes to the last of the reply."""
