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
    IN_MASK = False
    """Are its engines in the masks of their spaces (docs/model.md 8.1)?"""

    def __init__(self, world):
        self.world = world

    def dump(self):
        """What its tables hold at the end."""
        return {}

    def note(self):
        """A step is over: note in which phases the misses under way are; none unless a design has some."""
