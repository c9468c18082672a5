"""What a command line or a program says of the parts beside a model, found and read."""

from pathlib import Path

from kvcalc.convert.locate import locate
from kvcalc.memory.beside import Beside, Draft
from kvcalc.spec.model import ModelSpec


def beside_of(
    draft: str | Path | ModelSpec | None = None,
    mtp_layers: int | None = None,
    speculative_tokens: int | None = None,
) -> Beside:
    """The parts as they were said. draft: a model as ``locate`` takes it. Raises as ``locate`` does."""
    found = None
    if draft is not None:
        found = Draft(draft if isinstance(draft, ModelSpec) else locate(str(draft)).spec)
    return Beside(mtp_layers=mtp_layers, draft=found, speculative_tokens=speculative_tokens)
