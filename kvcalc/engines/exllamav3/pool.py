"""exllamav3: what its ``Cache`` takes, release 1.6.5.

Files are exllamav3's own.

* the cache is so many tokens, a multiple of 256 (constants.py, PAGE_SIZE), for all sequences together;
* fp16: keys and values as they are (cache/fp16.py). k_bits, v_bits: int32 words and an fp16 scale for 32
  values (cache/quant.py): 4 bits are 4.5. MLA: a latent in fp16 or k_bits, its rotary key and index keys in
  fp16 whatever is asked, and v_bits does nothing (cache/mla.py);
* windows are masks: every layer keeps every token, but for gpt-oss, whose window layers have a ring of the
  window and 512 more, up to a multiple of 256, in fp16, a slot (modules/sliding_attn.py);
* a slot for each of max_batch_size sequences, 16 by default: a gated DeltaNet's, KDA's or Mamba-2's state
  twice, in fp16 (Mamba-2's in fp32), its convolution's K columns in bf16, and the last step's inputs
  (modules/gated_delta_net.py, GDNLayerState); a short convolution's columns in fp16. max_history, the draft
  tokens, adds columns and inputs.

Worked number: llama-3-8b, 32 layers, 8 heads of 128, 8,192 tokens at q4: 1,024 values are 128 words and 32
scales, 576 bytes, so 32 * 2 * 576 * 8192 = 301,989,888 bytes.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from math import prod

from kvcalc.engines import pages
from kvcalc.engines.exllamav3.flags import Exllamav3Flags
from kvcalc.engines.exllamav3.models import RELEASE, RINGS, check_model
from kvcalc.engines.holding import Holding, Part, part_of
from kvcalc.engines.pages import Kept
from kvcalc.engines.result import Cache, CapacityResult, Pool
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.memory.inventory import CacheGroup, groups_of
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import CacheTensor, EveryToken, Window

PAGE, SLOTS = 256, 16
# Beyond a window, for drafts and rollbacks.
_BEYOND = 2 * PAGE
_STATES = ("gated_deltanet", "kda", "mamba2", "short_conv")


def bits_of(request: Exllamav3Flags) -> tuple[int, int]:
    """Bits of keys and values; 16 each where they are not quantised. Raises UsageError."""
    name = request.kv_dtype or "fp16"
    if name in ("auto", "fp16", "float16"):
        return 16, 16
    found = re.fullmatch(r"q?([2-8])(?::q?([2-8]))?", name.lower())
    if found is None:
        raise UsageError(
            f"--kv-dtype {name}: exllamav3 keeps fp16, or 2 to 8 bits: q4, or q8:q4 with other bits for "
            "values"
        )
    return int(found[1]), int(found[2] or found[1])


def layers_of(spec: ModelSpec, request: Exllamav3Flags) -> tuple[Kept, ...]:
    """What each layer keeps of a sequence. Raises UnsupportedError by name."""
    check_model(spec)
    version = request.engine_version
    if version is not None and version.removeprefix("v") != RELEASE:
        raise UnsupportedError(f"exllamav3 {version}: its caches are accounted for in {RELEASE}")
    if request.layout.devices > 1:
        raise UnsupportedError(
            "exllamav3: how it divides a cache among devices is not accounted for"
        )
    return tuple(_kept(spec, group, request) for group in groups_of(spec))


def _kept(spec: ModelSpec, group: CacheGroup, request: Exllamav3Flags) -> Kept:
    if group.mechanism in _STATES:
        return _slot(spec, group, request)
    if group.mechanism not in ("mha", "mqa", "gqa", "mla", "dsa"):
        raise UnsupportedError(
            f"{spec.name}: exllamav3's cache of {group.mechanism} is not accounted for"
        )
    ring = None
    windows = {tensor.extent.size for tensor in group.tensors if isinstance(tensor.extent, Window)}
    if any(not isinstance(tensor.extent, EveryToken | Window) for tensor in group.tensors):
        raise UnsupportedError(f"{spec.name}: exllamav3 keeps no chunks: {group.block}")
    keys, values = bits_of(request)
    window = next(iter(windows), None)
    if window is not None and spec.model_type in RINGS:
        ring = -(-(window + _BEYOND) // PAGE) * PAGE
        keys = values = 16
    rows = []
    for tensor in group.tensors:
        size = _row(spec, tensor, values if tensor.role == "value" else keys, group.mechanism)
        rows.append((tensor.name, part_of(tensor.role), size, size))
    return Kept(
        block=group.block, mechanism=group.mechanism, layers=group.layers, rows=tuple(rows),
        window=window, ring=ring, masked=window is not None and ring is None,
    )  # fmt: skip


def _row(spec: ModelSpec, tensor: CacheTensor, bits: int, mechanism: str) -> int:
    """Bytes of one token's row of a tensor."""
    values = prod(tensor.shape)
    plain = mechanism in ("mla", "dsa") and (tensor.name == "rope_key" or tensor.role == "index")
    if bits == 16 or plain:
        return 2 * values
    if mechanism in ("mla", "dsa") and values % 32:
        raise UnsupportedError(
            f"{spec.name}: exllamav3 quantises latents in groups of 32, not {values}"
        )
    return values // 32 * (4 * bits + 2)


def _slot(spec: ModelSpec, group: CacheGroup, request: Exllamav3Flags) -> Kept:
    """A sequence's slot: states twice, K columns of the convolution, the inputs of the last step."""
    history = request.speculative_tokens or 0
    scans = group.mechanism != "short_conv"
    rows: list[tuple[str, Part, int, int]] = []
    for tensor in group.tensors:
        values = prod(tensor.shape)
        if tensor.role == "conv":
            columns = tensor.shape[-1]
            if not columns:
                raise UnsupportedError(
                    "exllamav3's slot of a convolution of one tap is not known here"
                )
            channels = values // columns
            rows.append((tensor.name, "state", channels * (columns + 1 + history) * 2, 2 * values))
            if scans:
                rows.append((f"{tensor.name}_inputs", "state", channels * (history + 1) * 2, 0))
            continue
        width = 4 if group.mechanism == "mamba2" or request.state_dtype == "fp32" else 2
        heads, key = tensor.shape[:2]
        gates = heads * (key if group.mechanism == "kda" else 1)
        rows.append((tensor.name, "state", 2 * values * width, values * width))
        rows.append(("gates", "state", (history + 1) * (2 * heads + 4 * gates), 0))
    return Kept(block=group.block, mechanism=group.mechanism, layers=group.layers, rows=tuple(rows),
                once=True)  # fmt: skip


def hold(spec: ModelSpec, request: Exllamav3Flags) -> Holding:
    """Pages and slots of one sequence of max_model_len. Raises as ``layers_of``."""
    layers = layers_of(spec, request)
    keys, values = bits_of(request)
    return pages.hold(
        (layers,), request.max_model_len or 1, PAGE,
        version=RELEASE,
        formats={
            "kv": "fp16" if keys == 16 else f"{keys} and {values} bits, and an fp16 scale for 32 values",
            "index": "index keys in fp16",
            "state": "states in fp16, Mamba-2's in fp32; convolutions in 16 bits",
        },
        padded=("slots", "a slot has the state twice, a column more and the inputs of the last step"),
        rules=(f"pages of {PAGE} tokens (constants.py, PAGE_SIZE)",
               "a slot for each sequence (cache/cache.py, max_batch_size)"),
        notes=("the cache is of so many tokens for all sequences, with 16 slots unless max_batch_size "
               "says otherwise, used or not: capacity counts them",),
    )  # fmt: skip


def capacity(spec: ModelSpec, request: Exllamav3Flags) -> CapacityResult:
    """What ``Cache`` takes, or the tokens that a memory holds beside the slots.

    Raises UsageError for a number of tokens that is no multiple of 256, and where nothing is said.
    """
    layers = layers_of(spec, request)
    slots = request.max_num_seqs or SLOTS
    token = sum(
        one.row_bytes * len(one.layers) for one in layers if not one.once and one.ring is None
    )
    fixed = slots * sum(one.row_bytes * one.taken(0, PAGE) * len(one.layers)
                        for one in layers if one.once or one.ring is not None)  # fmt: skip
    tokens, memory = _tokens(request, token * PAGE, slots, fixed), request.available
    longest = request.max_model_len or spec.max_position_embeddings
    blocks, each = tokens // PAGE, -(-(longest or 0) // PAGE)
    return CapacityResult(
        engine="exllamav3",
        version=RELEASE,
        model=spec.name,
        pool=Pool(
            available_bytes=memory.bytes if memory else None,
            block_tokens=PAGE,
            bytes_per_block=token * PAGE,
            num_blocks=blocks,
            tokens=tokens,
            max_concurrency=Fraction(min(slots, blocks // each)) if each else None,
            blocks_per_request=each or None,
            bytes_per_request=each * PAGE * token or None,
            estimated_max_model_len=tokens,
            bytes=tokens * token + fixed,
        ),
        max_model_len=longest,
        logical_bytes_per_request=pages.need(spec, longest),
        groups=pages.paged(layers, PAGE),
        caches=tuple(_caches(layers, tokens, slots)),
        rules=(f"tokens in pages of {PAGE}, for all sequences (cache/cache.py, Cache)",
               f"{slots} slots (max_batch_size), used or not"),
        notes=_notes(layers, request),
    )  # fmt: skip


def _tokens(request: Exllamav3Flags, page_bytes: int, slots: int, fixed: int) -> int:
    """The tokens of the pages. fixed: bytes of the slots. Raises as ``capacity``."""
    tokens, memory = request.tokens, request.available
    if tokens is not None:
        if tokens % PAGE:
            raise UsageError(f"--tokens {tokens}: max_num_tokens is a multiple of {PAGE}: "
                             f"{tokens // PAGE * PAGE} or {-(-tokens // PAGE) * PAGE}")  # fmt: skip
        return tokens
    if memory is None:
        raise UsageError(
            "say how large the cache is: --tokens N (max_num_tokens), or --available SIZE"
        )
    tokens = max(0, memory.bytes - fixed) // page_bytes * PAGE if page_bytes else 0
    if not tokens:
        raise UsageError(f"{memory} holds no page beside {slots} slots of {fixed:,} bytes: fewer "
                         "with --max-num-seqs (max_batch_size)")  # fmt: skip
    return tokens


def _caches(layers: tuple[Kept, ...], tokens: int, slots: int) -> Iterator[Cache]:
    for one in layers:
        paged = not one.once and one.ring is None
        rows = tokens if paged else slots * one.taken(0, PAGE)
        name = "pages" if paged else "states" if one.once else "rings"
        yield Cache(
            name=f"{name} of {one.block}", type="recurrent" if one.once else "attention",
            layers=len(one.layers), window=one.window, cells=rows,
            bytes=rows * one.row_bytes * len(one.layers),
        )  # fmt: skip


def _notes(layers: tuple[Kept, ...], request: Exllamav3Flags) -> tuple[str, ...]:
    said = []
    if any(one.masked for one in layers):
        said.append("windows are masks: layers with one keep every token")
    if any(one.mechanism == "mla" for one in layers) and bits_of(request)[0] < 16:
        said.append("a latent takes the bits of keys; its rotary key and index keys stay in fp16")
    if any(one.once or one.ring is not None for one in layers):
        said.append("max_batch_size is 16 by default: --max-num-seqs says another number of slots")
    return tuple(said)
