"""``with_media`` of a question, whose rules are read only where there is anything to see or hear."""

from kvcalc.frozen import changed
from kvcalc.media.asked import NOTHING
from kvcalc.memory.workload import Asked
from kvcalc.spec.model import ModelSpec


def with_media(
    asked: Asked, spec: ModelSpec, where: str, engine: str = ""
) -> tuple[Asked, tuple[str, ...]]:
    """As ``kvcalc.convert.media.with_media``, to the letter: without towers nothing is the largest item."""
    if not asked.put and not spec.towers:
        return changed(asked, put=NOTHING, media=(), largest_item=None), ()
    from kvcalc.convert import media

    return media.with_media(asked, spec, where, engine)
