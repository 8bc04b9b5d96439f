"""Whether this host can carry a world, told before anything starts."""
