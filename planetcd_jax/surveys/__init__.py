"""A survey: the pairs of an archive, scored by many processes, into one catalogue of places."""
