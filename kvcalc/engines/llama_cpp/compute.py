"""llama.cpp's compute buffers: what its graphs need beside weights and caches.

The allocator lays the intermediate tensors of a prompt's graph over each other; the most that lives
at once is linear in the micro-batch: u * (2 * cells of each mask + 4 * c) bytes on the device that
holds the layers, u * (2 * cells + 4 * h) in RAM (masks, embeddings). c and h follow from an
architecture's widths and from the allocator; compute.txt has them as the library reports them for
the shipped models (``python -m tests.engines.llama_cpp_sweep``, Vulkan backend, flash attention).
What is not there and is no plain gated decoder is not predicted.

With weights in RAM, prompts copy them to the first device as they are needed: the largest tensors
stand there beside the rest, so the answer is a band.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

from kvcalc.engines.llama_cpp.file import ModelFile
from kvcalc.engines.llama_cpp.placement import HOST, Place, Placement
from kvcalc.frozen import frozen
from kvcalc.spec.model import ModelSpec

_TABLE = Path(__file__).with_name("compute.txt")
# Architectures whose graph is the plain one of a gated decoder: 3 * intermediate + 2 * hidden, and the
# queries where they are not as wide as the model. Held by the table wherever it has them.
_PLAIN = {
    "llama", "qwen2", "qwen2vl", "qwen3", "phi3", "granite", "olmo", "glm4", "chatglm", "mistral3",
}  # fmt: skip
# Further copies of a graph's inputs where devices form a pipeline (GGML_SCHED_MAX_COPIES - 1).
_COPIES = 3
# Positions, row numbers of the caches: a few integers a token, on the device and in RAM. Qwen2-VL has
# four positions a token.
_INTEGERS = (5, 5)
_FOUR_POSITIONS = (8, 9)


@frozen
class Band:
    """Bytes, from the least to the most; most is None where nothing bounds it."""

    least: int
    most: int | None

    @property
    def exact(self) -> bool:
        return self.least == self.most


@frozen
class Constants:
    """Of one set of widths: floats a token on the device at micro-batches of 512 and 2,048, and in RAM."""

    device: tuple[int, int]
    host: int
    measured: bool


def signature(spec: ModelSpec, architecture: str, masks: int) -> str:
    """The widths that decide the buffers, as compute.txt has them. masks: kinds of cells."""
    widths: dict[str, set[int]] = {}
    for block in spec.blocks.values():
        for part in (block.attention, block.recurrent, block.ffn):
            for name in _WIDTHS:
                value = getattr(part, name, None)
                if value:
                    widths.setdefault(name, set()).add(int(value))
    said = [f"{short}{'/'.join(map(str, sorted(widths[name])))}"
            for name, short in _WIDTHS.items() if name in widths]  # fmt: skip
    return " ".join([architecture, f"x{masks}", f"E{spec.hidden_size}", *said])


_WIDTHS = {
    "num_attention_heads": "H", "num_key_value_heads": "G", "head_dim": "D", "kv_lora_rank": "L",
    "intermediate_size": "F", "moe_intermediate_size": "M", "num_experts": "N",
    "num_experts_per_tok": "K", "shared_expert_intermediate_size": "S", "num_heads": "R",
    "num_v_heads": "v", "num_value_heads": "w", "state_size": "s", "d_state": "d",
}  # fmt: skip


@lru_cache(maxsize=1)
def _table() -> dict[str, Constants]:
    found = {}
    for line in _TABLE.read_text("utf-8").splitlines():
        if line.startswith("#") or not line:
            continue
        key, numbers = line.rsplit(":", 1)
        small, large, host = map(int, numbers.split())
        found[key] = Constants((small, large), host, True)
    return found


def constants(spec: ModelSpec, architecture: str, masks: int) -> Constants | None:
    """What is known of a model's graph; None where nothing is."""
    found = _table().get(signature(spec, architecture, masks))
    if found is not None or architecture not in _PLAIN or len(spec.blocks) != 1 or masks != 1:
        return found
    block = next(iter(spec.blocks.values()))
    attention, ffn = block.attention, block.ffn
    if not hasattr(ffn, "intermediate_size") or attention is None or block.recurrent is not None:
        return None
    plain: Any = attention
    queries = plain.num_attention_heads * plain.head_dim
    width: int = getattr(ffn, "intermediate_size")  # noqa: B009
    # Queries of another width than the model's do not take the place of what was freed before them.
    beside = queries * (0, 1, 2)[(queries != spec.hidden_size) + (queries < spec.hidden_size)]
    integers, host = _FOUR_POSITIONS if architecture == "qwen2vl" else _INTEGERS
    floats = 3 * width + 2 * spec.hidden_size + beside + integers
    return Constants((floats, floats), 2 * spec.hidden_size + host, False)


def compute_buffers(
    spec: ModelSpec, file: ModelFile, placement: Placement, *, ubatch: int,
    cells: tuple[int, ...], cache_bytes: int, flash: bool, num_outputs: int, pipelined: bool,
) -> tuple[dict[Place, Band], str]:  # fmt: skip
    """The buffer of each place, and what it rests on, in words.

    pipelined: whether devices work on several micro-batches at once, each with inputs of its own.
    cells: of each mask. cache_bytes: of the largest layer, which prompts copy where it lies in RAM.
    """
    known = constants(spec, file.architecture, len(cells))
    mask = 2 * ubatch * sum(cells) * (1 if flash else 2)
    devices = sorted(place for place in placement.devices_of() if place is not None)
    if known is None or not flash:
        least = mask + 4 * ubatch * 2 * spec.hidden_size
        found: dict[Place, Band] = {place: Band(least, None) for place in devices}
        found[HOST] = Band(least, None)
        why = (
            "without flash attention the scores of all heads stand there as well"
            if not flash
            else f"no figure is known for the graph of {file.architecture} with these widths"
        )
        return found, f"compute buffers are not predicted: {why}"
    recurrent = any(block.recurrent is not None for block in spec.blocks.values())
    low, high = _floats(known, ubatch, recurrent)
    logits = 4 * spec.vocab_size * num_outputs
    host = mask + 4 * ubatch * known.host
    staged = _staged(placement)
    found = {}
    copies = _COPIES if pipelined else 0
    # Seven integers a token with one mask, ten with two, as the library's figures have them.
    inputs = mask + 4 * ubatch * (4 + 3 * len(cells))
    host += copies * inputs
    for number, place in enumerate(devices):
        base = Band(mask + 4 * ubatch * low, mask + 4 * ubatch * high + logits)
        if staged and not number:
            most = staged + mask + 4 * ubatch * high + cache_bytes + logits
            base = Band(min(most, max(base.least, staged + mask)), most)
        elif pipelined:
            embeddings = 4 * ubatch * spec.hidden_size
            more = copies * (inputs + embeddings)
            base = Band(base.least + more, (base.most or 0) + more + embeddings)
        elif len(devices) > 1 or staged:
            # A device in the middle has neither the first tensors nor the last.
            base = Band(mask + 2 * ubatch * low, base.most)
        found[place] = base
    if not devices:
        found[HOST] = Band(mask + 4 * ubatch * low, host + mask + 4 * ubatch * high + logits)
    else:
        # With layers in RAM one more copy of the embeddings was printed; their states are worked on there.
        more = high if recurrent else spec.hidden_size
        found[HOST] = Band(host, host + (4 * ubatch * more if staged else 0))
    return found, _words(known, bool(staged))


def _floats(known: Constants, ubatch: int, recurrent: bool) -> tuple[int, int]:
    """The floats a token, at least and at most: where two micro-batches differ, others lie between."""
    small, large = known.device
    if recurrent:
        # Kernels of states differ by backend and build: 154.02 MiB on CUDA for 164.02 here, 568.18 on
        # another Vulkan build for 560.06 (qwen3.5-27b).
        return min(small, large) * 9 // 10, max(small, large) * 21 // 20
    if ubatch == 512:
        return small, small
    if ubatch == 2048:
        return large, large
    return min(small, large), max(small, large)


def _staged(placement: Placement) -> int:
    """The largest tensors in RAM that prompts copy to the first device: an expert tensor by itself,
    two matrices of a whole layer."""
    if not placement.devices_of():
        return 0
    held = sorted((tensor for bundle, at in placement.bundles
                   if at is HOST and bundle.part == "layer" for tensor in bundle.largest),
                  key=lambda each: -each.bytes)  # fmt: skip
    if not held:
        return 0
    return held[0].bytes if held[0].active != (1, 1) else sum(each.bytes for each in held[:2])


def _words(known: Constants, staged: bool) -> str:
    how = (
        "as llama.cpp's library reports it for these widths (v0.5.0, Vulkan)"
        if known.measured
        else "by the rule of plain gated decoders, 3 x intermediate + 2 x hidden floats a token"
    )
    band = "; weights in RAM are copied to the first device for prompts: a band" if staged else ""
    return f"compute buffers: {how}{band}"
