"""What every importer answers with."""

from kvcalc.frozen import frozen
from kvcalc.names import model_name
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.stored import StoredWeights

__all__ = ["Imported", "model_name"]


@frozen
class Imported:
    """A spec and what had to be assumed to write it.

    weights: what the tensors take, where files that hold them were read.
    """

    spec: ModelSpec
    assumptions: tuple[str, ...] = ()
    weights: StoredWeights | None = None
