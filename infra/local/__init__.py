"""The local world: a real kubeadm cluster on machines made of namespaces, beside an AWS endpoint of its own."""
