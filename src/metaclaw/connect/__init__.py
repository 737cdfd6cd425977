"""Point a client of the user's at the gateway, and put its configuration back."""
