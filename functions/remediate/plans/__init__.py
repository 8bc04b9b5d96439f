"""One module for each kind of machine that calls for a plan. Pure: the same facts give the same plan."""
