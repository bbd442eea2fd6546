"""Words about numbers, for terminals, tables and pages."""


def counted(number: int, one: str, many: str = "") -> str:
    """A number and what it counts.

    >>> counted(1, "discovery", "discoveries"), counted(3, "place"), counted(0, "pair")
    ('1 discovery', '3 places', '0 pairs')
    """
    return f"{number} {one if number == 1 else many or one + 's'}"
