"""From a request to the text that is put into it: which skills fit (retrieve), and how they are worded (compose)."""
