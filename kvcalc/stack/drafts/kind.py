"""What every kind of draft answers, unless its own file says otherwise."""

from collections.abc import Iterator


class DraftKind:
    """A model that drafts: its fields and parameters are its kind's own."""

    def check(self) -> Iterator[tuple[str, str]]:
        """Yield (field, message) for every inconsistency: there is nothing to contradict."""
        yield from ()

    @property
    def reads_target(self) -> bool:
        """Whether its layers read the keys and values of the model that it drafts for, and keep none."""
        return False

    @property
    def billed_apart(self) -> bool:
        """Whether SGLang sizes its pool by the draft's own widths, not as layers of the model."""
        return False


class BlockDraftKind(DraftKind):
    """One that drafts a whole block at once, as DFlash does."""

    @property
    def billed_apart(self) -> bool:
        return True
