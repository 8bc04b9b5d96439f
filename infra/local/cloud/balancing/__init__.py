"""Elastic Load Balancing: network load balancers that probe, carry and drain."""
