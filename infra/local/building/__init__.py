"""The programs that everything runs: compiled from their Go modules or fetched, once, and kept in the cache."""
