"""Folders, digests and caches: what is written whole or not at all, and what is kept between runs."""
