"""Auto Scaling: groups that start and end machines, and the hooks that hold these."""
