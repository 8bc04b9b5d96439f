"""Drills: kill a machine of a real cluster, show what happens, and say whether the cluster became whole again."""
