"""SHA-256, in hexadecimal: of a file, and of bytes."""

import hashlib
import os


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, read in parts, so that a file may be larger than memory.

    Raises:
        OSError: if it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(content: bytes) -> str:
    """SHA-256 of bytes.

    >>> sha256_of(b"")[:16]
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(content).hexdigest()
