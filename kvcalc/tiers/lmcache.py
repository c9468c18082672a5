"""LMCache beside vLLM: chunks of 256 tokens, each rank's in a memory of its own.

Rules, as read from LMCache 0.5.6 (v1/config.py, v1/cache_engine.py, v1/memory_management.py,
v1/storage_backend/local_disk_backend.py, integration/vllm/utils.py), in the server's own process:

* a chunk is chunk_size (256) tokens of all layers: [2, layers, tokens, KV heads of the rank * width],
  of MLA [1, layers, tokens, latent]; in memory aligned up to 4,096 bytes, on disk as much;
* max_local_cpu_size and max_local_disk_size are GiB of one rank; of MLA the first rank alone stores
  (save_only_first_rank);
* what does not fill a chunk is dropped (save_unfull_chunk is false);
* layers with windows are stored whole: every token of every layer.

Worked number: Llama 3 8B, 256 tokens of 128 KiB: 32 MiB; 5 GiB (the default) are 160 chunks, 40,960
tokens.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from kvcalc.engines.vllm.page import Entry
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed
from kvcalc.spec.model import ModelSpec
from kvcalc.tiers import vllm
from kvcalc.tiers.question import TierQuestion
from kvcalc.tiers.storage import Plan, Storage
from kvcalc.units import GIB

VERSION = "0.5.6"
CHUNK_TOKENS = 256
ALIGNMENT = 4096


def plan(spec: ModelSpec, question: TierQuestion) -> Plan:
    """LMCache's host and disk tiers. Raises UsageError for a chunk that vLLM's blocks do not divide and
    UnsupportedError for layers that it does not store, or not in a way that was read."""
    if question.engine_version not in (None, VERSION):
        raise UnsupportedError(f"the rules of LMCache here are those of {VERSION}")
    blocks, _ = vllm.blocks_of(spec, changed(question, engine="vllm", engine_version=None))
    entries = blocks.stack.entries
    block = entries[0].own.block_tokens
    tokens = _chunk_tokens(spec, entries, question)
    ranks = question.workload.layout.tensor
    storing = 1 if all(entry.own.kind == "latent" for entry in entries) else ranks
    exact = sum(entry.own.token_bytes for entry in entries) * tokens
    chunk = -(-exact // ALIGNMENT) * ALIGNMENT

    def tier(name: str, word: str) -> Storage:
        return Storage(
            name=name, unit="chunk", unit_tokens=tokens, unit_bytes=chunk * storing,
            units=lambda length: length // tokens, kept=lambda length: length // tokens * tokens,
            count=lambda size: size // storing // chunk, least=chunk * storing,
            flag=lambda size: f"{word}: {size / storing / GIB:g}",
        )  # fmt: skip

    tiers = (tier("host", "max_local_cpu_size"), tier("disk", "max_local_disk_size"))
    said = [f"a chunk is {tokens} tokens of every layer; the sizes are GiB of each rank",
            "what does not fill a chunk is dropped (save_unfull_chunk)"]  # fmt: skip
    if any(entry.own.kind in ("window", "chunk") for entry in entries):
        said.append("layers with windows are stored whole")
    if storing < ranks:
        said.append(f"the first of {ranks} ranks stores for all (save_only_first_rank)")
    notes = blocks.notes
    if question.block_tokens is not None:
        notes += (
            f"--block-size {block}: blocks of vLLM's own pool; a chunk of LMCache is --chunk",
        )
    return Plan(
        engine="lmcache", words="LMCache", version=VERSION, tiers=tiers, rules=tuple(said),
        notes=notes,
    )  # fmt: skip


def _chunk_tokens(spec: ModelSpec, entries: Sequence[Entry], question: TierQuestion) -> int:
    """The tokens of a chunk. Raises as ``plan``."""
    for entry in entries:
        if entry.own.kind not in ("full", "window", "chunk", "latent"):
            raise UnsupportedError(
                f"{spec.name}: how LMCache stores {entry.own.name} layers is not accounted for"
            )
    if _mixed(spec):
        raise UnsupportedError(
            f"{spec.name}: LMCache has one shape for keys and values, and this model's differ"
        )
    tokens, block = question.chunk_tokens or CHUNK_TOKENS, entries[0].own.block_tokens
    if tokens % block:
        nearest = max(block, (tokens + block // 2) // block * block)
        raise UsageError(
            f"--chunk {tokens}: LMCache reads vLLM's blocks of {block} tokens whole: {nearest} can be "
            "its chunk"
        )
    return tokens


def _mixed(spec: ModelSpec) -> bool:
    """Whether keys and values of a layer differ in width, as a shape of one head size cannot say."""
    every: Iterator[Any] = (block.attention for block in spec.blocks.values())
    softmax = (one for one in every if one is not None and one.kind in ("mha", "gqa", "mqa"))
    return any(one.value_dim != one.head_dim for one in softmax)
