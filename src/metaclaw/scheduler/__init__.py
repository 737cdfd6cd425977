"""When the slow loop may run: windows, and the state machine that starts, pauses and resumes a job in them."""
