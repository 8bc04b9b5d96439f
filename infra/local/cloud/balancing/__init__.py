"""Elastic Load Balancing: network load balancers that probe, carry and drain, and what classic ones have registered."""
