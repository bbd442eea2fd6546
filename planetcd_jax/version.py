"""The version of the package, kept apart so that a build can read it without importing JAX."""

__version__ = "0.1.0"
