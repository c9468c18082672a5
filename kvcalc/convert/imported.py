"""What every importer answers with."""

import re

from kvcalc.frozen import frozen
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.stored import StoredWeights


@frozen
class Imported:
    """A spec and what had to be assumed to write it.

    weights: what the tensors take, where files that hold them were read.
    """

    spec: ModelSpec
    assumptions: tuple[str, ...] = ()
    weights: StoredWeights | None = None


def model_name(text: str) -> str:
    """A spec's name: lower case, with hyphens for what names do not hold."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "model"
