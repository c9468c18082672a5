"""A model small enough for a CPU with the structure of a large one, and a list of what was changed.

Kept exactly: which blocks there are and in which order, who shares what, head counts as ratios
(32 query heads on 8 KV heads become 8 on 2), widths of one mechanism as ratios where they divide
(512 latent and 64 rotary become 16 and 2), experts per token as a ratio, kernels, recursions, ranks
of window sizes and of block sizes among themselves. Made small: widths, experts, windows and blocks
in tokens, table rows, repeats of a run of layers (two of them stay).
"""

from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from math import gcd
from typing import Any

from kvcalc.errors import UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.spec.consistency import findings
from kvcalc.spec.model import Block, Embedding, Encoder, LayerGroup, ModelSpec

HIDDEN = 32
ROWS = 64  # of a vocabulary
POSITION_ROWS = 160
ENCODER_TOKENS = 7
MAX_WIDTH = 160

# Fields that count heads or groups of heads: divided by what they have in common.
HEADS = (
    "num_attention_heads", "num_key_value_heads", "num_latent_heads", "o_groups", "index_n_heads",
    "num_heads", "n_groups", "linear_num_key_heads", "linear_num_value_heads",
)  # fmt: skip
# Fields that are widths of one mechanism: divided by what they have in common.
WIDTHS = (
    "head_dim", "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "kv_lora_rank",
    "q_lora_rank", "o_lora_rank", "index_head_dim", "share_q_dim", "rope_dim", "qk_rope_dim",
    "state_size", "time_step_rank", "head_k_dim", "head_v_dim", "qk_head_dim",
    "linear_key_head_dim", "linear_value_head_dim",
)  # fmt: skip
# Fields that are measured against hidden_size: they shrink as it does.
SCALED = (
    "hidden_size", "attention_hidden_size", "intermediate_size", "moe_intermediate_size",
    "shared_expert_intermediate_size", "latent_size", "adapter_rank", "laurel_rank",
    "hidden_size_per_layer_input", "proj_low_rank_dim", "gate_low_rank_dim", "decay_low_rank_dim",
    "a_low_rank_dim", "v_low_rank_dim", "lru_width",
)  # fmt: skip
EXPERTS = ("num_experts", "num_experts_per_tok", "num_zero_experts")
WINDOWS = ("sliding_window", "window_size")
TOP_K = ("index_topk", "topk", "moba_topk")


@frozen
class Reduction:
    """The small model, and every field that is not as it was: (path, true value, small value)."""

    spec: ModelSpec
    changes: tuple[tuple[str, int, int], ...]


def shallow(spec: ModelSpec) -> ModelSpec:
    """The model at its true widths, with two repeats of each run of layers."""
    encoder = spec.encoder
    if encoder is not None:
        encoder = replace(encoder, layers=_twice(encoder.layers))
    return replace(spec, layers=_twice(spec.layers), encoder=encoder)


def _twice(groups: tuple[LayerGroup, ...]) -> tuple[LayerGroup, ...]:
    return tuple(
        replace(group, repeat=min(group.repeat, 2), loops=min(group.loops, 2)) for group in groups
    )


def reduced(spec: ModelSpec, whole_depth: bool = False) -> Reduction:
    """Shrink a spec; whole_depth keeps every layer.

    Raises UnsupportedError when the small model would contradict itself.
    """
    work = _Work(spec, whole_depth)
    small = work.model()
    problems = [f"{where}: {message}" for _, where, message in findings(small)]
    if problems:
        raise UnsupportedError(f"{spec.name} cannot be made small: {'; '.join(problems)}")
    changes: list[tuple[str, int, int]] = []
    _differences("", spec, small, changes)
    return Reduction(small, tuple(changes))


def _differences(path: str, old: Any, new: Any, found: list[tuple[str, int, int]]) -> None:
    if is_dataclass(old) and is_dataclass(new):
        for item in fields(old):
            where = f"{path}.{item.name}" if path else item.name
            _differences(where, getattr(old, item.name), getattr(new, item.name), found)
    elif isinstance(old, dict):
        for key in new:
            _differences(f"{path}.{key}", old[key], new[key], found)
    elif isinstance(old, tuple) and isinstance(new, tuple):
        for index, (a, b) in enumerate(zip(old, new, strict=False)):
            _differences(f"{path}[{index}]", a, b, found)
    elif isinstance(old, int) and isinstance(new, int) and old != new:
        found.append((path, old, new))


class _Work:
    """One reduction: sizes that several blocks have in common get one small value."""

    def __init__(self, spec: ModelSpec, whole_depth: bool) -> None:
        self.spec, self.whole_depth = spec, whole_depth
        parts = [part for block in spec.blocks.values() for part in _mechanisms(block)]
        windows = {getattr(part, name, None) for part in parts for name in WINDOWS}
        self.windows = {size: 6 + 4 * rank for rank, size in enumerate(_sorted(windows))}
        chunks = {getattr(part, "attention_chunk_size", None) for part in parts}
        self.chunks = {size: 9 + 4 * rank for rank, size in enumerate(_sorted(chunks))}
        blocks = {getattr(part, name, None) for part in parts
                  for name in ("compress_rate", "moba_chunk_size")}  # fmt: skip
        self.blocks = {size: 4 * 2**rank for rank, size in enumerate(_sorted(blocks))}

    def model(self) -> ModelSpec:
        spec = self.spec
        changes: dict[str, Any] = {
            "hidden_size": HIDDEN,
            "vocab_size": ROWS,
            "blocks": {name: self.block(block) for name, block in spec.blocks.items()},
            "layers": self.groups(spec.layers),
            "expect": None,
            "budgets": (),
            "mtp": None,
        }
        if spec.mtp is not None:
            used = {name for group in (*spec.layers, *(spec.encoder.layers if spec.encoder else ()))
                    for name in group.names}  # fmt: skip
            changes["blocks"] = {k: v for k, v in changes["blocks"].items() if k in used}
        if spec.embedding is not None:
            changes["embedding"] = self.embedding(spec.embedding)
        if spec.encoder is not None:
            changes["encoder"] = self.encoder(spec.encoder)
        if spec.laurel is not None:
            changes["laurel"] = self.scaled(spec.laurel)
        if spec.per_layer_embeddings is not None:
            changes["per_layer_embeddings"] = replace(
                self.scaled(spec.per_layer_embeddings), vocab_size_per_layer_input=ROWS
            )
        return replace(spec, **changes)

    def embedding(self, about: Embedding) -> Embedding:
        return replace(
            about,
            size=about.size and self.scale(about.size),
            positions=about.positions and POSITION_ROWS,
        )

    def encoder(self, encoder: Encoder) -> Encoder:
        stem = encoder.conv_stem
        return replace(
            encoder,
            layers=self.groups(encoder.layers, may_recurse=False),
            tokens=encoder.tokens and ENCODER_TOKENS,
            hidden_size=encoder.hidden_size and self.scale(encoder.hidden_size),
            positions=encoder.positions and POSITION_ROWS,
            conv_stem=stem and replace(stem, in_channels=6),
        )

    def groups(
        self, groups: tuple[LayerGroup, ...], may_recurse: bool = True
    ) -> tuple[LayerGroup, ...]:
        """Two repeats of each run; a recursion gets layers that its depth divides."""
        recursion = self.spec.recursion
        if self.whole_depth:
            return groups
        if recursion is None or not may_recurse:
            return _twice(groups)
        if len(groups) != 1 or len(groups[0].names) != 1:
            return groups
        ends = 2 if recursion.sharing.startswith("middle") else 0
        return (replace(groups[0], repeat=ends + 2 * recursion.num_recursions),)

    def block(self, block: Block) -> Block:
        changes = {
            name: self.mechanism(getattr(block, name))
            for name in ("attention", "recurrent", "cross_attention", "ffn", "adapter")
            if getattr(block, name) is not None
        }
        return replace(block, **changes)

    def mechanism(self, part: Any) -> Any:
        """One mechanism with every size made small."""
        sizes = _integers(part)
        new: dict[str, Any] = {}
        new |= _ratios({k: v for k, v in sizes.items() if k in HEADS}, least=1)
        new |= _ratios({k: v for k, v in sizes.items() if k in WIDTHS}, least=2)
        new |= _ratios({k: v for k, v in sizes.items() if k in EXPERTS}, least=1)
        new |= {k: self.scale(v) for k, v in sizes.items() if k in SCALED}
        new |= {k: self.windows[v] for k, v in sizes.items() if k in WINDOWS}
        new |= {k: min(v, 2 if k != "index_topk" else 3) for k, v in sizes.items() if k in TOP_K}
        for name, table in (("attention_chunk_size", self.chunks), ("compress_rate", self.blocks),
                            ("moba_chunk_size", self.blocks)):  # fmt: skip
            if name in sizes:
                new[name] = table[sizes[name]]
        if "sink_tokens" in sizes:
            new["sink_tokens"] = min(sizes["sink_tokens"], 2)
        if "hash_vocab_size" in sizes:
            new["hash_vocab_size"] = ROWS
        if "kernel_stride" in sizes:
            new["kernel_stride"] = 2
            new["kernel_size"] = 2 * -(-sizes["kernel_size"] // sizes["kernel_stride"])
            new["block_size"] = 4
        self.fit(part, sizes, new)
        indexer = getattr(part, "indexer", None)
        if indexer is not None:
            new["indexer"] = self.mechanism(indexer)
        return replace(part, **new)

    def fit(self, part: Any, sizes: dict[str, int], new: dict[str, Any]) -> None:
        """Sizes of one mechanism that must agree with each other or with the model's."""
        count = next((name for name in ("num_attention_heads", "num_heads") if name in sizes), "")
        wide = sizes.get("attention_hidden_size")
        if "attention_hidden_size" in sizes and part.kind in ("mha", "mqa", "gqa"):
            new["attention_hidden_size"] = 2 * HIDDEN
            if sizes[count] * sizes["head_dim"] == wide:
                new["head_dim"] = 2 * HIDDEN // new[count]
        if part_kind(part) in ("rwkv6", "rwkv7"):
            new["head_dim"], new["num_heads"] = 8, HIDDEN // 8
        if part_kind(part) == "rg_lru":
            new["lru_width"] = 4 * new["num_attention_heads"]
        if part_kind(part) == "tpa":
            new["num_attention_heads"] = 2 * max(sizes["rank"], sizes.get("v_rank", 1), 2)
        if part_kind(part) == "moa":
            # The experts of a token make its query heads: their number stays.
            new["num_experts"], new["num_experts_per_tok"] = (
                part.num_experts,
                part.num_experts_per_tok,
            )
        if part_kind(part) == "gta":
            new["rope_dim"] = new["head_dim"] * sizes["rope_dim"] // sizes["head_dim"]

    def scaled(self, part: Any) -> Any:
        """A part of the stack with the sizes that go by hidden_size made small."""
        return replace(
            part, **{k: self.scale(v) for k, v in _integers(part).items() if k in SCALED}
        )

    def scale(self, size: int) -> int:
        """A size as it is to hidden_size, even and at least 4."""
        share = Fraction(size * HIDDEN, self.spec.hidden_size)
        return max(4, 2 * round(share / 2))


def part_kind(part: Any) -> str:
    """The mechanism's kind; parts that are no mechanism have none."""
    kind: str = getattr(part, "kind", "")
    return kind


def _integers(part: Any) -> dict[str, int]:
    values = {item.name: getattr(part, item.name) for item in fields(part)}
    return {k: v for k, v in values.items() if isinstance(v, int) and not isinstance(v, bool)}


def _ratios(sizes: dict[str, int], least: int) -> dict[str, int]:
    """Sizes divided by what they have in common, times 2 where that leaves room for two."""
    sizes = {name: size for name, size in sizes.items() if size}
    if not sizes:
        return {}
    common = gcd(*sizes.values())
    factor = min(common, 2)
    if least > 1 and max(sizes.values()) // common <= 2:
        factor = min(common, 4)
    small = {name: size // common * factor for name, size in sizes.items()}
    if least > 1 and max(small.values()) > MAX_WIDTH:
        # Nothing in common: proportions as near as even numbers come.
        most = max(sizes.values())
        small = {name: max(2, 2 * round(size * 16 / most)) for name, size in sizes.items()}
    return small


def _mechanisms(block: Block) -> list[Any]:
    parts = (block.attention, block.recurrent, block.cross_attention, block.ffn)
    return [part for part in parts if part is not None]


def _sorted(sizes: set[int | None]) -> list[int]:
    return sorted(size for size in sizes if size is not None)
