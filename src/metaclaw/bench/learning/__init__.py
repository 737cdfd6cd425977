"""Learning on a stream whose rules drift: what arms keep, what they lose, and what it costs."""
