"""Georeferenced images in, maps and places out: everything that touches GDAL, grids and coordinates."""
