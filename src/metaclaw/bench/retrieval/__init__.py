"""Does a request find its skill among up to 100,000, does it find none where none fits, and what does that cost."""
