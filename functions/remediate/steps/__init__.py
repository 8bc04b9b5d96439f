"""One module a kind of step. Each looks, acts only if needed, and may be run again at any time."""
