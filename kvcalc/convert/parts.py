"""What the families are put together from: mechanisms read from a config, and the layer stack.

A family says how its layers differ from Llama's; these functions read the rest under its usual name.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from kvcalc.attention.dsa import Indexer
from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.attention.mla import MultiHeadLatentAttention
from kvcalc.ffn.dense import DenseFeedForward
from kvcalc.ffn.gated import GatedFeedForward
from kvcalc.ffn.moe import MixtureOfExperts
from kvcalc.spec.model import Block, LayerGroup, ModelSpec

if TYPE_CHECKING:
    from kvcalc.convert.config import Config

Side = Literal["q", "k", "v", "o"]
QKV: tuple[Side, ...] = ("q", "k", "v")
QKVO: tuple[Side, ...] = ("q", "k", "v", "o")

# One layer: what tells it from the others ("local", "moe"), and its block.
Layer = tuple[tuple[str, ...], Block]


def softmax(
    c: "Config",
    *,
    heads: int | None = None,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    bias: tuple[Side, ...] | bool = (),
    **fields: Any,
) -> SoftmaxAttention:
    """Softmax attention with the config's heads; bias: True for all four projections."""
    heads = c.num_heads if heads is None else heads
    kv_heads = c.num_kv_heads() if kv_heads is None else kv_heads
    head_dim = c.head_dim() if head_dim is None else head_dim
    if kv_heads > heads or heads % kv_heads:
        c.wrong(
            "num_key_value_heads", f"{heads} query heads cannot share {kv_heads} KV heads evenly"
        )
    if isinstance(bias, bool):
        bias = QKVO if bias else ()
    kind: Literal["mha", "mqa", "gqa"] = "mqa" if kv_heads == 1 else "gqa"
    return SoftmaxAttention(
        kind="mha" if kv_heads == heads else kind, num_attention_heads=heads,
        num_key_value_heads=kv_heads, head_dim=head_dim, bias=bias, **fields,
    )  # fmt: skip


def encoder_attention(
    c: "Config", *, bias: tuple[Side, ...] | bool = True, **fields: Any
) -> SoftmaxAttention:
    """Attention that sees its whole input at once; a KV head for each query head."""
    heads = fields.pop("heads", None) or c.num_heads
    width = fields.pop("head_dim", None) or c.divide("hidden_size", c.hidden_size, heads)
    return softmax(c, heads=heads, kv_heads=fields.pop("kv_heads", heads), head_dim=width, bias=bias,
                   mask="bidirectional", **fields)  # fmt: skip


def gated(
    c: "Config", size: int | None = None, *, bias: bool = False, **fields: Any
) -> GatedFeedForward:
    """A gated feed-forward layer, intermediate_size wide."""
    width = c.number("intermediate_size") if size is None else size
    return GatedFeedForward(kind="gated", intermediate_size=width, bias=bias, **fields)


def dense(
    c: "Config", size: int | None = None, *, bias: bool = False, **fields: Any
) -> DenseFeedForward:
    """A feed-forward layer of two matrices, intermediate_size wide."""
    width = c.number("intermediate_size") if size is None else size
    return DenseFeedForward(kind="dense", intermediate_size=width, bias=bias, **fields)


def moe(
    c: "Config",
    *,
    experts: str = "num_experts",
    chosen: str = "num_experts_per_tok",
    width: str = "moe_intermediate_size",
    shared: int | None = None,
    **fields: Any,
) -> MixtureOfExperts:
    """A mixture of experts; experts, chosen, width: what the config calls E, k and f_e.

    shared: inner width of all shared experts together; 0 and None are none.
    """
    num_experts, per_token = c.number(experts), c.number(chosen)
    if per_token > num_experts + (fields.get("num_zero_experts") or 0):
        c.wrong(chosen, f"a token cannot pass {per_token} of {num_experts} experts")
    return MixtureOfExperts(
        kind="moe", num_experts=num_experts, num_experts_per_tok=per_token,
        moe_intermediate_size=c.number(width), shared_expert_intermediate_size=shared or None,
        **fields,
    )  # fmt: skip


def mla(c: "Config", **fields: Any) -> MultiHeadLatentAttention:
    """Multi-head latent attention as DeepSeek's configs spell it."""
    q_rank = fields.pop("q_lora_rank") if "q_lora_rank" in fields else c.maybe("q_lora_rank")
    return MultiHeadLatentAttention(
        kind="mla",
        num_attention_heads=c.num_heads,
        q_lora_rank=q_rank,
        kv_lora_rank=c.number("kv_lora_rank"),
        qk_nope_head_dim=c.number("qk_nope_head_dim"),
        qk_rope_head_dim=fields.pop("rope_dim")
        if "rope_dim" in fields
        else c.number("qk_rope_head_dim"),
        v_head_dim=fields.pop("v_head_dim", None) or c.number("v_head_dim"),
        **fields,
    )


def indexer(c: "Config", **fields: Any) -> Indexer:
    """DeepSeek's sparse-attention indexer."""
    return Indexer(
        index_n_heads=c.number("index_n_heads"),
        index_head_dim=c.number("index_head_dim"),
        index_topk=c.number("index_topk"),
        **fields,
    )


def decoder(
    c: "Config",
    layers: Block | Sequence[Layer] | Callable[[int], Layer],
    *,
    tie: bool | None = None,
    name: str = "decoder",
    **fields: Any,
) -> ModelSpec:
    """A decoder with a head: one block for all layers, a list of layers, or a layer for each index."""
    blocks, groups = stack(_layers(c, layers), name)
    if tie is None:
        tie = c.flag("tie_word_embeddings")
    return ModelSpec(
        name="", source=("",), model_type=c.model_type, hidden_size=c.hidden_size,
        vocab_size=c.number("vocab_size"), tie_word_embeddings=tie,
        blocks=blocks, layers=groups, **{"max_position_embeddings": positions(c), **fields},
    )  # fmt: skip


def encoder(
    c: "Config", layers: Block | Sequence[Layer] | Callable[[int], Layer], *, name: str = "encoder",
    **fields: Any,
) -> ModelSpec:  # fmt: skip
    """An encoder without a head: the base model."""
    c.skip("tie_word_embeddings")
    if c.flag("is_decoder", False):
        c.refuse("is_decoder", "an encoder run as a decoder keeps a cache and has a head")
    blocks, groups = stack(_layers(c, layers), name)
    return ModelSpec(
        name="", source=("",), model_type=c.model_type, hidden_size=c.hidden_size,
        vocab_size=c.number("vocab_size"), head="none",
        blocks=blocks, layers=groups, **{"max_position_embeddings": positions(c), **fields},
    )  # fmt: skip


def positions(c: "Config") -> int | None:
    """The longest context that the model was made for, where the config says."""
    return c.maybe("max_position_embeddings", None)


def _layers(
    c: "Config", layers: Block | Sequence[Layer] | Callable[[int], Layer]
) -> Sequence[Layer]:
    if isinstance(layers, Block):
        return [((), layers)] * c.num_layers
    if callable(layers):
        return [layers(index) for index in range(c.num_layers)]
    return layers


def stack(
    layers: Sequence[Layer], name: str = "decoder", prefix: str = ""
) -> tuple[dict[str, Block], tuple[LayerGroup, ...]]:
    """Name the kinds of layers by the labels that vary among them, and lay them out in runs."""
    columns = list(zip(*(labels for labels, _ in layers), strict=True))
    varying = [set(column) != {column[0]} for column in columns]
    blocks: dict[str, Block] = {}
    order: list[str] = []
    for labels, block in layers:
        parts = [label for label, varies in zip(labels, varying, strict=True) if varies and label]
        full = prefix + ("_".join(parts) or name)
        number = 2
        while blocks.get(full, block) != block:
            full = f"{prefix}{'_'.join(parts) or name}_{number}"
            number += 1
        blocks[full] = block
        order.append(full)
    return blocks, runs(order)


# A stack that no few repeats describe is written out once, layer by layer.
_MAX_GROUPS = 8
_MAX_PERIOD = 64
_MAX_PATTERN = 128


def _group(names: Sequence[str], repeat: int = 1) -> LayerGroup:
    """One run; one-letter names as a pattern."""
    if len(names) > 1 and all(len(name) == 1 for name in names):
        return LayerGroup(repeat=repeat, pattern="".join(names))
    return LayerGroup(repeat=repeat, blocks=tuple(names))


def runs(order: Sequence[str]) -> tuple[LayerGroup, ...]:
    """The order as repeats of short lists, with as few names written as possible.

    >>> runs(["local", "local", "global"] * 2 + ["local"])  # 2 x [local, local, global], 1 x [local]
    """
    length = len(order)
    if 1 < length <= _MAX_PATTERN and len(set(order)) > 1 and all(len(name) == 1 for name in order):
        # One-letter names are a config's own pattern, which readers know as a whole.
        return (_group(order),)
    best = [0] * (length + 1)
    choice: list[tuple[int, int]] = [(1, 1)] * length
    # same[p][i]: how many names from i on equal the one p further on.
    same: dict[int, list[int]] = {}
    for period in range(1, min(_MAX_PERIOD, length) + 1):
        equal = same[period] = [0] * length
        for start in range(length - period - 1, -1, -1):
            if order[start] == order[start + period]:
                equal[start] = equal[start + 1] + 1
    for start in range(length - 1, -1, -1):
        best[start] = best[start + 1] + 2
        covered = 1
        for period in range(1, min(_MAX_PERIOD, length - start) + 1):
            repeat = same[period][start] // period + 1
            cover = period * repeat
            cost = best[start + cover] + period + 1
            if cost < best[start] or (cost == best[start] and cover > covered):
                best[start], choice[start], covered = cost, (period, repeat), cover
    groups = []
    start = 0
    while start < length:
        period, repeat = choice[start]
        groups.append(_group(order[start : start + period], repeat))
        start += period * repeat
    if len(groups) > _MAX_GROUPS:
        return (_group(order),)
    return tuple(groups)


def kinds(
    c: "Config", key: str, names: dict[str, str], default: Callable[[], list[str]]
) -> list[str]:
    """The kind of every layer: the config's list, in kvcalc's words, or the class's own pattern.

    names: the config's word -> kvcalc's. default: the pattern that the class lays down without a list.
    """
    stated = c.words(key, c.num_layers)
    if stated is None:
        pattern = default()
        rare = pattern.count("global")
        if key == "layer_types" and 0 < rare < len(pattern) and not any(map(c.has, _PATTERNS)):
            c.assumptions.append(
                f"layer_types: not in the file; {rare} of {len(pattern)} layers see everything, by "
                f"the class's own pattern"
            )
        return pattern
    for word in stated:
        if word not in names:
            c.refuse(key, f"layers of type '{word}' are not accounted for here")
    return [names[word] for word in stated]


# Keys from which a class makes layer_types.
_PATTERNS = (
    "sliding_window_pattern", "no_rope_layers", "no_rope_layer_interval", "max_window_layers",
    "global_attn_every_n_layers", "hybrid_layer_pattern",
)  # fmt: skip
FULL_OR_SLIDING = {"full_attention": "global", "sliding_attention": "local"}


def every(period: int, num_layers: int, odd: str = "global", usual: str = "local") -> list[str]:
    """usual everywhere, odd at every period-th layer."""
    return [usual if (index + 1) % period else odd for index in range(num_layers)]


def windowed(
    c: "Config",
    attend: Callable[[int | None], Any],
    block: Callable[[Any], Block],
    default: Callable[[], list[str]],
    *,
    window: int | None,
    names: dict[str, str] | None = None,
) -> list[Layer]:
    """Layers that see a window or everything, by ``layer_types`` or the class's own pattern.

    attend: window -> attention. block: attention -> block. default: the pattern without a list.
    """
    layers = kinds(c, "layer_types", names or FULL_OR_SLIDING, default)
    if "local" in layers and window is None:
        c.wrong("sliding_window", "layer_types has sliding layers, and there is no window")
    made = {kind: block(attend(window if kind == "local" else None)) for kind in set(layers)}
    return [((kind,), made[kind]) for kind in layers]


# Widths that count only where a layer of their kind exists: a stack without experts ignores theirs.
_FFN_KEYS = (
    "intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size", "num_experts",
    "num_experts_per_tok", "n_routed_experts", "n_shared_experts", "num_shared_experts",
    "num_local_experts", "num_experts_per_token", "first_k_dense_replace",
)  # fmt: skip


def mlp_kinds(c: "Config", default: Callable[[], list[str]]) -> list[str]:
    """dense or moe for every layer: ``mlp_layer_types``, or the class's own pattern."""
    c.skip(*_FFN_KEYS)
    return kinds(c, "mlp_layer_types", {"dense": "dense", "sparse": "moe"}, default)


def first_dense(c: "Config", num_dense: int) -> list[str]:
    """The first layers dense, the others with experts."""
    c.skip(*_FFN_KEYS)
    num_layers = c.num_layers
    return ["dense"] * min(num_dense, num_layers) + ["moe"] * max(0, num_layers - num_dense)


def step_sparse(c: "Config", only_dense: Sequence[int] = ()) -> list[str]:
    """Qwen's rule: experts in every ``decoder_sparse_step``-th layer, but not in ``mlp_only_layers``.

    only_dense: the layers without experts where the config does not list them.
    """
    c.skip(*_FFN_KEYS)
    stated = c.numbers("mlp_only_layers")
    only_dense = only_dense if stated is None else stated
    step = c.number("decoder_sparse_step")
    return [
        "dense" if index in only_dense or (index + 1) % step else "moe"
        for index in range(c.num_layers)
    ]


def never_tied(c: "Config") -> bool:
    """For ``tie``: transformers builds a head of its own, and a file that says otherwise is refused."""
    c.fixed("tie_word_embeddings", False, what="transformers never ties the head of this type")
    return False


def always_tied(c: "Config") -> bool:
    """For ``tie``: without tying, transformers keeps further copies of the tables or the layers."""
    if not c.flag("tie_word_embeddings"):
        c.refuse("tie_word_embeddings", "transformers then keeps several copies of shared weights")
    return True


def same_width(c: "Config") -> None:
    """Refuse heads that are not hidden_size wide together: the output projection is square here."""
    if c.num_heads * c.head_dim() != c.hidden_size:
        c.refuse("head_dim", f"the output projection of {c.model_type} is hidden_size wide")


def crossed(
    mixers: Sequence[str], ffns: Sequence[str], block: Callable[[str, str], Block]
) -> list[Layer]:
    """Layers with a mixer of one kind and a feed-forward layer of another."""
    made = {pair: block(*pair) for pair in set(zip(mixers, ffns, strict=True))}
    return [(pair, made[pair]) for pair in zip(mixers, ffns, strict=True)]
