"""Regrow: what happens to a machine, from the event that names it to the closed case."""
