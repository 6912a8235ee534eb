"""Skip: a case that this machine has not what it takes to measure."""


class Skip(Exception):
    """The case cannot be measured here, for a reason that is not a fault."""
