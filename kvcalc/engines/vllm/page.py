"""A page: one block of one layer on one rank, and where it stands in the stack."""

from dataclasses import dataclass, field
from typing import Any, Literal

from kvcalc.frozen import changed, frozen, remembered

Kind = Literal["full", "window", "chunk", "latent", "latent_window", "index", "state", "cross"]
# Kinds that need a block for every token.
_FULL_FAMILY = {"full", "latent", "index"}


@dataclass(frozen=True, kw_only=True)
class Page:
    """One block of one layer on one rank. Layers with equal pages share a group.

    name: the mechanism, for people. token_bytes: of one stored token (of a whole state for "state").
    page_bytes: padding included. layout: what else must be equal (heads, widths, format).
    window: tokens of the window or chunk. tokens_per_state: tokens that one stored entry stands for.
    shared_bytes: bytes a token would take if heads were not copied to several ranks.
    """

    kind: Kind
    token_bytes: int
    block_tokens: int
    page_bytes: int
    layout: tuple[Any, ...] = ()
    window: int | None = None
    tokens_per_state: int = 1
    name: str = field(default="", compare=False)
    unpadded_bytes: int = field(default=0, compare=False)
    replicated: tuple[int, int] = field(default=(1, 1), compare=False)

    @property
    def family(self) -> tuple[Any, ...]:
        """Layers of one family with one block size need the same blocks, whatever their pages."""
        if self.kind in _FULL_FAMILY:
            return ("full",)
        if self.kind == "state":
            return ("state", self.page_bytes)
        return (self.kind, self.window)

    def with_page(self, page_bytes: int) -> "Page":
        """The same page padded to a size."""
        return changed(self, page_bytes=page_bytes)

    def with_block(self, block_tokens: int) -> "Page":
        """The same layer with another block."""
        unpadded = self.token_bytes * (block_tokens // self.tokens_per_state)
        return changed(
            self, block_tokens=block_tokens, page_bytes=unpadded, unpadded_bytes=unpadded
        )


@frozen
class Entry:
    """A layer's page and where it is.

    layer: its place in the stack. page: as the allocator lays it out. own: as the layer asked for
    it, before windows were billed as full attention and pages were brought to one size.
    """

    layer: int
    page: Page
    own: Page


@remembered
def kinds_of(entries: tuple[Entry, ...]) -> frozenset[tuple[Kind, str]]:
    """(kind, mechanism) of every page: many plans have the same entries."""
    return frozenset([(entry.page.kind, entry.page.name) for entry in entries])


def paged(kind: Kind, name: str, token_bytes: int, block: int, **more: Any) -> Page:
    """A page of ``block`` tokens without padding."""
    per_state = more.get("tokens_per_state", 1)
    page_bytes = token_bytes * (block // per_state)
    return Page(kind=kind, name=name, token_bytes=token_bytes, block_tokens=block,
                page_bytes=page_bytes, unpadded_bytes=page_bytes, **more)  # fmt: skip
