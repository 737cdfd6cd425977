"""The scheduler in simulated days: what must never happen is looked for in ten thousand of them."""
