"""Turns as OpenTelemetry spans, for those who ask for it: told afterwards, on a thread of its own."""
