"""vLLM's native offloading (``--kv-offloading-size``): chunks of whole blocks in one region of RAM.

Rules, as read from vLLM 0.12 to 0.33 (v1/kv_offload/cpu/spec.py, CPUOffloadingSpec; the connector's
offloading/config.py; config/vllm.py):

* the flag is in GiB over all ranks together: int(size * 2^30) // bytes of a chunk are the chunks;
* a chunk is blocks_per_chunk (1) blocks of every rank side by side, and since 0.23 aligned up to a
  page of memory (4,096). A block is as wide as the GPU pool's: padding layers are stored, too;
* ranks that hold the same latents store them once since 0.27 (replicated_layout); before, each its own;
* every group of layers has chunks of its own: full layers one for each chunk_tokens, windows as many
  as they reach back over, a state one (get_sliding_window_size_in_chunks);
* only full chunks are stored: what is left over at the end is computed again;
* the file tier (since 0.22, secondary_tiers type "fs") writes a file for each chunk and has no limit.

Worked number: Llama 3 8B at TP 1, 16 tokens a block of 2 MiB: 200 GiB are 102,400 chunks, 1,638,400
tokens.
"""

from collections.abc import Callable

from kvcalc.engines import engine_of
from kvcalc.engines.engine import Setting
from kvcalc.engines.vllm.groups import Group
from kvcalc.engines.vllm.plan import Plan as Blocks
from kvcalc.engines.vllm.versions import rules_for
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.spec.model import ModelSpec
from kvcalc.tiers.question import TierQuestion
from kvcalc.tiers.storage import Plan, Storage
from kvcalc.units import GIB

MEMORY_PAGE = 4096
FIRST, ALIGNED, FILES, ONE_COPY = (0, 12), (0, 23), (0, 22), (0, 27)


def plan(spec: ModelSpec, question: TierQuestion) -> Plan:
    """vLLM's host and file tiers. Raises UsageError for a chunk that blocks do not divide and
    UnsupportedError for what is not accounted for."""
    blocks, release = blocks_of(spec, question)
    ranks = question.workload.layout.tensor
    per_chunk = _blocks_per_chunk(blocks, question.chunk_tokens)
    latents = all(entry.page.kind in ("latent", "index") for entry in blocks.entries)
    copies = 1 if latents and release >= ONE_COPY else ranks
    exact = blocks.layout.width(entry.layer for entry in blocks.entries) * copies * per_chunk
    chunk = -(-exact // MEMORY_PAGE) * MEMORY_PAGE if release >= ALIGNED else exact
    spans = [group.page.block_tokens * per_chunk for group in blocks.groups]
    reach = [_reach(group, span) for group, span in zip(blocks.groups, spans, strict=True)]

    def units(tokens: int) -> int:
        return sum(
            tokens // span if most is None else min(tokens // span, most)
            for span, most in zip(spans, reach, strict=True)
        )

    def kept(tokens: int) -> int:
        return tokens // max(spans) * max(spans)

    tiers = [_tier("host", "chunk", spans, chunk, units, kept, _flag)]
    if release >= FILES:
        tiers.append(_tier("disk", "file", spans, chunk, units, kept, lambda _: ""))
    return Plan(
        engine="vllm", words="vLLM", version=blocks.rules.version, tiers=tuple(tiers),
        rules=tuple(_rules(blocks, ranks, copies, per_chunk, exact, chunk)), notes=blocks.notes,
    )  # fmt: skip


def blocks_of(spec: ModelSpec, question: TierQuestion) -> tuple[Blocks, tuple[int, int]]:
    """The blocks of the GPU's pool, and the release as numbers."""
    version = rules_for(question.engine_version).version
    release = (int(version.split(".")[0]), int(version.split(".")[1]))
    if release < FIRST:
        raise UnsupportedError(
            f"vLLM {version} has no --kv-offloading-size: 0.12 and later have it"
        )
    if question.workload.layout.pipeline > 1:
        raise UnsupportedError(
            "what vLLM offloads of pipeline stages, whose blocks differ, is not accounted for: ask "
            "with --tp alone"
        )
    setting = Setting(workload=question.workload, kv_dtype=question.kv_dtype,
                      engine_version=question.engine_version)  # fmt: skip
    request = engine_of("vllm").serve(setting)
    if question.block_tokens is not None:
        from dataclasses import replace

        request = replace(request, block_size=question.block_tokens)
    blocks = Blocks(spec, request)
    if not blocks.entries:
        raise UnsupportedError(
            f"{spec.name} keeps nothing between steps: there is nothing to offload"
        )
    if any(group.page.tokens_per_state > 1 for group in blocks.groups):
        raise UnsupportedError(
            "what vLLM offloads of compressed attention's groups is not accounted for"
        )
    if any(group.page.kind == "cross" for group in blocks.groups):
        raise UnsupportedError("vLLM caches no prefixes of encoder-decoders: nothing is offloaded")
    return blocks, release


def _tier(
    name: str, unit: str, spans: list[int], chunk: int, units: Callable[[int], int],
    kept: Callable[[int], int], flag: Callable[[int], str],
) -> Storage:  # fmt: skip
    return Storage(
        name=name, unit=unit, unit_tokens=spans[0] if len(set(spans)) == 1 else None,
        unit_bytes=chunk, units=units, kept=kept, count=lambda size: size // chunk, least=chunk,
        flag=flag,
    )  # fmt: skip


def _flag(size: int) -> str:
    whole, rest = divmod(size, GIB)
    return f"--kv-offloading-size {whole}" if not rest else f"--kv-offloading-size {size / GIB:g}"


def _blocks_per_chunk(blocks: Blocks, chunk_tokens: int | None) -> int:
    if chunk_tokens is None:
        return 1
    sizes = {group.page.block_tokens for group in blocks.groups}
    if len(sizes) > 1:
        raise UsageError(
            f"--chunk {chunk_tokens}: this model's groups have blocks of {sorted(sizes)} tokens, and "
            "vLLM takes a chunk in tokens only where all are alike"
        )
    block = sizes.pop()
    if chunk_tokens % block or not chunk_tokens:
        nearest = max(block, (chunk_tokens + block // 2) // block * block)
        raise UsageError(
            f"--chunk {chunk_tokens}: vLLM's chunks are whole blocks of {block} tokens: {nearest} is"
        )
    return chunk_tokens // block


def _reach(group: Group, span: int) -> int | None:
    """Chunks of a group that a session needs; None: all."""
    page = group.page
    if page.kind == "state":
        return 1
    if page.window is not None and page.kind in ("window", "latent_window", "chunk"):
        return -(-page.window // span)
    return None


def _rules(
    blocks: Blocks, ranks: int, copies: int, per_chunk: int, exact: int, chunk: int
) -> list[str]:
    said = [
        f"a chunk is {per_chunk} block{'s' * (per_chunk > 1)} of the GPU's pool of {copies} "
        f"rank{'s' * (copies > 1)} (CPUOffloadingSpec)",
        "only full chunks are stored",
    ]
    if chunk != exact:
        said.append(f"{chunk - exact:,} bytes of a chunk are alignment to {MEMORY_PAGE:,}")
    if copies < ranks:
        said.append(f"the {ranks} ranks' latents are equal and stored once (replicated_layout)")
    if len(blocks.groups) > 1:
        said.append(f"{len(blocks.groups)} groups of layers, each with chunks of its own")
    if any(group.page.kind == "state" for group in blocks.groups):
        said.append("states are offloaded with --enable-prefix-caching alone, one for a session")
    return said
