"""What the weights of a model take in the files that hold them, as the files' headers say."""

from kvcalc.frozen import frozen
from kvcalc.tensors import Component


@frozen
class WeightType:
    """Weights in one number format.

    tensors: as files count them.
    """

    type: str
    tensors: int
    bytes: int


@frozen(kw_only=True)
class StoredWeights:
    """Bytes of one model's tensors in its safetensors or GGUF files.

    path: the file or folder, as the user named it.
    by_component: bytes of the tensors of the trunk, scales of quantised matrices with their matrix.
    by_dtype: the same bytes by the files' own names of number formats, largest first.
    beside: (what it is, bytes) of everything the files hold that is not the trunk: towers,
        multi-token-prediction layers, copies of tied tables, weights that nothing reads.
    """

    path: str
    by_component: dict[Component, int]
    by_dtype: dict[str, int]
    beside: tuple[tuple[str, int], ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes of the trunk."""
        return sum(self.by_component.values())

    def describe(self) -> str:
        """The formats with their bytes: ``q4_K 3,405,774,848, q6_K 1,514,139,648``."""
        return ", ".join(f"{name} {num_bytes:,}" for name, num_bytes in self.by_dtype.items())
