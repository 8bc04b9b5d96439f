"""Bring Regrow's functions into an account, one step a module: stack, project, package, chalice, verification."""
