"""What every design's part of the oracle has: a subclass of `Twin` in a file of this folder is found by its `DESIGN`."""


class Twin:
    """A design in the oracle; it also has `accesses(engine, op)`, and what deals with notices if its spaces ask for them.

    Parameters
    ----------
    world : World
        Before its prelude; the design gives engines and spaces what they need, and adds its requests to `world.requests`.
    """

    DESIGN = ""
    """Its name."""
    ACCESS = "access"
    """The cost of an engine's access."""
    IN_MASK = False
    """Are its engines in the masks of their spaces (docs/model.md 8.1)?"""

    def __init__(self, world):
        self.world = world

    def dump(self):
        """What its tables hold at the end."""
        return {}

    def land(self, engine, until):
        """Book the time of its last accesses in flight, up to `until`, if it has any."""

    def last_data(self, engine):
        """When the last of its accesses in flight has its data."""
        return 0

    def book_stall(self, engine, now):
        """Book an engine's time at account "stall" up to now, before a step of one of its requests; none unless a design has it."""
