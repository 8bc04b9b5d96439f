"""How a machine gets into the cluster by right: one function mints its token, another approves its certificates."""
