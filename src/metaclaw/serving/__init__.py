"""Serving the embedded model: its weights (`weights`), one engine process for each policy version (`engine`)."""
