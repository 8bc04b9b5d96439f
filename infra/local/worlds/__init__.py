"""A world, one process tree: up and down, its first process, its status, what a dead one leaves behind."""
