"""EC2: instances that are machines, their power, metadata and credentials."""
