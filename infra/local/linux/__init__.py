"""What worlds and machines are made of: the kernel's namespaces and control groups."""
