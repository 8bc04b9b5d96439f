"""A world's network: its plan of addresses, and the bridge and cables that follow it."""
