"""Change scores of pairs and of whole images, and why a score is what it is."""
