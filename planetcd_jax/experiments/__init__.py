"""The systems of the comparison, run on a data set and written into a folder."""
