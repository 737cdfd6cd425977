"""Benchmarks. Everything here talks to MetaClaw through its HTTP door, as a client would."""
