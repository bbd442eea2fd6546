"""Two images registered as a whole, before changes are searched for."""
