"""The AWS of a local world: moto's server, completed where it pretends (machines, groups, hooks, events, functions)."""
