"""Is the gate's error what it says? Candidates that equal the incumbent, and some that were spoiled on purpose."""
