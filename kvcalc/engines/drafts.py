"""Which kinds of draft a release of an engine loads."""

from kvcalc.errors import UnsupportedError
from kvcalc.spec.model import ModelSpec


def check_kind(draft: ModelSpec, kinds: tuple[str, ...], release: str) -> None:
    """Refuse a draft that a release has no class for. A plain small model is of no kind."""
    kind = draft.draft.kind if draft.draft is not None else None
    if kind is not None and kind not in kinds:
        raise UnsupportedError(
            f"--draft {draft.name}: {release} has no class for a draft of kind {kind}; it has "
            f"{', '.join(kinds)}"
        )
