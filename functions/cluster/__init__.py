"""What a machine is, what was seen of it, and what that means. Nothing in here talks to the outside."""
