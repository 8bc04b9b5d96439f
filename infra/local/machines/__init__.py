"""EC2's hardware: machines made of namespaces, from firmware and root to the image's init."""
