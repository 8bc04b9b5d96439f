"""One pass over one machine: observe, assess, plan, guard, act, record."""
