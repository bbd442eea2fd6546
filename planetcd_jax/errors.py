"""Errors that a user can act on: one base class, one short class for each kind of failure.

Every class is also a subclass of the built-in error that a caller would expect, so that code which knows nothing of
this package can still catch it. A message says what was got, what was wanted and what to do, and names the file where
there is one; the command-line programs print it as one line and exit with status 1.
"""


class PlanetCDError(Exception):
    """Base class of every error that this package raises on purpose."""


class ConfigError(PlanetCDError, ValueError):
    """A setting has a value that the method does not accept."""


class PatchError(PlanetCDError, ValueError):
    """An array given as a patch has the wrong rank, shape, type or range."""


class WeightsError(PlanetCDError, ValueError):
    """A weights file is missing, altered, or does not fit the network."""


class DataError(PlanetCDError, ValueError):
    """Input images, tables or folders cannot be used as they are."""


class BadPairError(DataError):
    """One pair cannot be scored; the rest of its data set may still be good."""


class MissingExtraError(PlanetCDError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class OutputError(PlanetCDError, OSError):
    """Results cannot be written where they were asked for."""
