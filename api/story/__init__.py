"""What happens in the demo: the parties, their chips, and a year of events. Nothing here is real."""

from collections.abc import Iterator

from api.story import first_half, second_half
from api.story.cast import AUTHORITY, CONTRACT, LICENSE, PARTIES, Step, Telling

__all__ = ["AUTHORITY", "CONTRACT", "LICENSE", "PARTIES", "Step", "Telling", "story"]


def story() -> Iterator[Step]:
    """The year, in order."""
    yield from first_half.steps()
    yield from second_half.steps()
