"""Everything that was learned, in one file: made while the gateway runs, put back in one step."""
