"""Buffers of SGLang's model classes: rotary tables, in float32.

A class makes one table for each distinct rotary setting, with a row for each position of the model's
longest context, on every rank that has such a layer (srt/layers/rotary_embedding/factory.py, get_rope;
base.py keeps it in float32 on CUDA). The settings are those of vLLM's classes, which these are adapted
from; what else SGLang 0.5.23's classes keep stands below.
"""

from collections.abc import Sequence
from typing import Any

from kvcalc.engines.vllm.buffers import Tables, attention_of, table_numbers, tables_of, unscaled
from kvcalc.frozen import changed
from kvcalc.spec.model import ModelSpec

_FLOAT32 = 4
# With towers: one table whatever the kinds of positions, which axis each of 64 pairs turns by (int64),
# and the tower's frequencies or its table.
_AXES = 64 * 8
_TOWERED = {
    "qwen2_5_vl": Tables(beside=_AXES + 20 * _FLOAT32),
    "qwen3_vl": Tables(beside=_AXES + 8192 * 36 * _FLOAT32),
    "llama4": Tables(),
    "gemma3_text": Tables(2, beside=4096 * 8),
    "gemma3": Tables(2, beside=4096 * 8),
}
# What was not accounted for: indices of states in flight, as many as the largest graph has requests
# (LFM2), copies of norms (Gemma 1 and 2), zeros in place of biases (Mamba 1).
_UNKNOWN = ("lfm2", "lfm2_moe", "gemma", "gemma2", "mamba", "falcon_mamba")


def buffer_bytes(spec: ModelSpec, layers: Sequence[int], first: bool) -> int | None:
    """Bytes of a rank that has these decoder layers; None where the tables are not known."""
    attention: list[Any] = attention_of(spec, layers)
    tables, kind = tables_of(spec), spec.model_type
    if spec.towers and kind in _TOWERED and spec.name in unscaled():
        tables = _TOWERED[kind]
    elif tables is not None:
        tables = changed(tables, beside=0)
    if tables is None or kind in _UNKNOWN:
        return None
    numbers = table_numbers(spec, attention, tables) if attention else 0
    if numbers is None:
        return None
    beside = tables.beside if first else 0
    if attention and kind in ("gemma3", "gemma3_text"):
        # The frequencies of both settings, one for each pair of a head's numbers, beside the tables.
        beside += 2 * (attention[0].head_dim // 2) * _FLOAT32
    return beside + numbers * _FLOAT32
