"""What is said of weights in a number format: whose tensors they are, and what stands beside them."""

from collections.abc import Iterator

from kvcalc.file_types import Recipe, recipe
from kvcalc.memory.schemes import QUANTISED
from kvcalc.memory.towers import tower_words
from kvcalc.mlx_types import mlx_recipe
from kvcalc.spec.model import ModelSpec


def format_notes(spec: ModelSpec, dtype: str) -> Iterator[str]:
    """The sentences of a format that was asked for."""
    if (gguf := recipe(dtype)) is not None:
        yield (
            f"weights as the tensors of the GGUF file that llama.cpp v0.5.0 quantises to "
            f"{gguf.file_type.name}; its header (vocabulary and keys) comes on top"
        )
        yield from _beside_file(spec, gguf)
    elif mlx_recipe(dtype) is not None:
        yield (
            "weights as mlx_lm.convert (mlx-lm 0.32.2) makes them: tables and head quantised as well; "
            "what the group does not divide, or the model's class excepts, stays in the model's format"
        )
        if spec.towers:
            yield f"not in these bytes: {tower_words(spec)}, which mlx_lm drops"
    elif dtype not in ("fp32", "bf16", "fp16"):
        yield f"{dtype} holds the matrices of {', '.join(QUANTISED)}; the rest is in bf16"


def _beside_file(spec: ModelSpec, gguf: Recipe) -> Iterator[str]:
    from kvcalc.gguf.projector import said_of_projector
    from kvcalc.gguf.scheme import whole_file_bytes

    yield from said_of_projector(spec)
    if spec.mtp is not None and (whole := whole_file_bytes(spec, gguf)) is not None:
        yield (
            f"a file with the multi-token-prediction layers, which llama.cpp's converter writes "
            f"unless told not to, has tensors of {whole:,} bytes; it loads them to speculate only"
        )
