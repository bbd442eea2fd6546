"""One image file in, one stretch to [0, 1]."""
