"""Rows that some architectures store in another way than the common table says, and extra tensors.

Source: llama.cpp v0.5.0, the conversion class of each architecture (named at each rule).
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

from kvcalc.errors import UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.gguf.names import Stored, source_type
from kvcalc.gguf.tensors import GgufTensor
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import Block, ModelSpec
from kvcalc.tensors import ParamTensor

Rows = dict[str, ParamTensor]


@frozen
class Special:
    """items: tensors of the file. rows: the inventory's names that they account for."""

    items: tuple[Stored, ...]
    rows: frozenset[str]


def special(architecture: str, rows: tuple[ParamTensor, ...], block: Block | None) -> Special:
    """What an architecture stores in a way of its own, of a layer made from a block."""
    by_name = {row.name: row for row in rows}
    items: list[Stored] = []
    taken: set[str] = set()
    for rule in _RULES.get(architecture, ()):
        for item, names in rule(by_name, block):
            items.append(item)
            taken.update(names)
    return Special(tuple(items), frozenset(taken))


Found = Iterator[tuple[Stored, tuple[str, ...]]]
Rule = Callable[[Rows, Block | None], Found]


def _rename(rows: Rows, name: str, known: str, shape: tuple[int, ...] | None = None) -> Found:
    if name in rows:
        row = rows[name]
        yield Stored(known, row.shape if shape is None else shape, row), (name,)


def _mamba2(rows: Rows, block: Block | None) -> Found:
    """Mamba2Model: A and D as columns, the gated norm by group."""
    heads = rows.get("recurrent.A_log")
    if heads is None or len(heads.shape) != 1:
        return
    for name, known in (("recurrent.A_log", "ssm_a"), ("recurrent.D", "ssm_d")):
        yield from _rename(rows, name, known, (heads.shape[0], 1))
    groups: int = getattr(block.recurrent, "n_groups", 1) if block is not None else 1
    width = rows["recurrent.out_proj.weight"].shape[1]
    yield from _rename(rows, "recurrent.norm.weight", "ssm_norm.weight", (groups, width // groups))


def _shortconv(rows: Rows, block: Block | None) -> Found:
    """LFM2Model: the convolution and its projections under shortconv."""
    for part in ("in_proj", "out_proj"):
        yield from _rename(rows, f"recurrent.{part}.weight", f"shortconv.{part}.weight")
    if "recurrent.conv.weight" in rows:
        kernel = rows["recurrent.conv.weight"].shape
        yield from _rename(
            rows, "recurrent.conv.weight", "shortconv.conv.weight", (kernel[0], kernel[-1])
        )


def _kda(rows: Rows, block: Block | None) -> Found:
    """KimiLinearModel: a convolution each for query, key and value."""
    row = rows.get("recurrent.conv1d.weight")
    if row is None:
        return
    sides = [(side, rows[f"recurrent.{side}_proj.weight"].shape[0]) for side in "qkv"]
    for side, channels in sides:
        yield (
            Stored(f"ssm_conv1d_{side}.weight", (channels, 1, row.shape[-1]), row),
            ("recurrent.conv1d.weight",),
        )


def _flat_decay(rows: Rows, block: Block | None) -> Found:
    """KimiK3Model: the decays as a vector, where Kimi Linear's are a column."""
    if "recurrent.forget_gate.A_log" in rows:
        size = rows["recurrent.forget_gate.A_log"].numel
        yield from _rename(rows, "recurrent.forget_gate.A_log", "ssm_a", (size,))


def _beta_alpha(rows: Rows, block: Block | None) -> Found:
    """Qwen3NextModel: beta and alpha in one matrix, as in the checkpoint (in_proj_ba)."""
    b, a = "recurrent.in_proj_b.weight", "recurrent.in_proj_a.weight"
    if b in rows:
        shape = (rows[b].shape[0] + rows[a].shape[0], rows[b].shape[1])
        yield Stored("ssm_ba.weight", shape, rows[b]), (b, a)


def _rwkv(letters: str, prefix: str) -> Rule:
    def rule(rows: Rows, block: Block | None) -> Found:
        """Rwkv6Model, Rwkv7Model: the mixing weights in one tensor, low-rank pairs transposed."""
        names = tuple(f"recurrent.{prefix}{letter}" for letter in letters)
        if names[0] not in rows:
            return
        width = prod(rows[names[0]].shape)
        yield (
            Stored("time_mix_lerp_fused.weight", (len(names), 1, 1, width), rows[names[0]]),
            names,
        )
        pairs = {
            f"recurrent.{part}": f"time_mix_{part}.weight"
            for part in ("w1", "w2", "a1", "a2", "v1", "v2", "g1", "g2")
        } | {
            f"recurrent.time_decay_w{index}": f"time_mix_decay_w{index}.weight" for index in (1, 2)
        } | {f"recurrent.time_maa_w{index}": f"time_mix_w{index}.weight" for index in (1, 2)}  # fmt: skip
        for name, known in pairs.items():
            if name in rows:
                *outer, rank, width = rows[name].shape
                yield from _rename(rows, name, known, (*outer, width, rank))

    return rule


def _altup(rows: Rows, block: Block | None) -> Found:
    """Gemma3NModel: the projections of all streams but the first, stacked."""
    for ours, known in (("altup_projections", "altup_proj"),
                        ("altup_unembed_projections", "altup_unembd_proj")):  # fmt: skip
        names = tuple(name for name in rows if name.startswith(f"{ours}."))
        if names:
            row = rows[names[0]]
            beside = tuple((rows[name], (1, *row.shape)) for name in names[1:])
            yield Stored(f"{known}.weight", (len(names), *row.shape), row, beside), names


def _relative_bias(rows: Rows, block: Block | None) -> Found:
    """T5Model: the bias of relative positions stands in the first layer of its stack."""
    yield from _rename(rows, "relative_attention_bias.weight", "attn_rel_b.weight")


def _no_biases(rows: Rows, block: Block | None) -> Found:
    """falcon.cpp creates no biases: RefinedWeb models with them are not loaded."""
    for name in rows:
        if name.endswith("_proj.bias"):
            raise UnsupportedError(
                f"{name}: llama.cpp's falcon has no biases, and cannot hold this model"
            )
    return iter(())


def _square_query(rows: Rows, block: Block | None) -> Found:
    """nemotron.cpp creates attn_q as wide as the model, whatever the heads."""
    row = rows.get("attention.q_proj.weight")
    if row is not None and row.shape[0] != row.shape[1]:
        raise UnsupportedError(
            f"{row.name} {list(row.shape)}: llama.cpp's nemotron takes heads that add up to the "
            f"model's width, and cannot hold this model"
        )
    return iter(())


def _norms_by_head(rows: Rows, block: Block | None) -> Found:
    """CommandR2Model, StableLMModel: the norms of query and key heads as one matrix."""
    width = getattr(block.attention, "head_dim", 1) if block is not None else 1
    for side in "qk":
        row = rows.get(f"attention.{side}_norm.weight")
        if row is not None and row.numel > width:
            yield from _rename(
                rows, row.name, f"attn_{side}_norm.weight", (row.numel // width, width)
            )


def _lightning(rows: Rows, block: Block | None) -> Found:
    """MiniMaxText01Model: lightning attention under attention's names."""
    for name, known in (("norm", "attn_norm_2"), ("qkv_proj", "attn_qkv"),
                        ("output_gate", "attn_gate"), ("out_proj", "attn_output")):  # fmt: skip
        yield from _rename(rows, f"recurrent.{name}.weight", f"{known}.weight")


_RULES: dict[str, tuple[Rule, ...]] = {
    "mamba2": (_mamba2,), "granitehybrid": (_mamba2,), "falcon-h1": (_mamba2,),
    "nemotron_h": (_mamba2,),
    "lfm2": (_shortconv,), "lfm2moe": (_shortconv,),
    "kimi-linear": (_kda,), "bailingmoe3": (_kda,), "kimi-k3": (_kda, _flat_decay),
    "qwen3next": (_beta_alpha,),
    "rwkv6": (_rwkv("wkvrg", "time_maa_"),), "rwkv7": (_rwkv("rwkvag", "x_"),),
    "gemma3n": (_altup,),
    "t5": (_relative_bias,), "minimax-01": (_lightning,),
    "falcon": (_no_biases,), "nemotron": (_square_query,),
    "command-r": (_norms_by_head,), "stablelm": (_norms_by_head,),
}  # fmt: skip


def extras(spec: ModelSpec, architecture: str) -> Iterator[GgufTensor]:
    """Vectors of the file that are no row of the inventory, in 32 bits.

    Tables of rotary frequencies: a spec does not say how its frequencies are scaled, so which
    models have such a table is told by what makes them known: vocabulary and context of Llama 3.1
    and later, Llama 4 Scout's 16 experts, Apertus, EXAONE 4 (LlamaModel and Exaone4Model,
    generate_extra_tensors, rope_type llama3), every Gemma 4 (Gemma4Model), and the two tables of
    longrope: Phi-3 and 4 of 128k, whose head with 200,064 words turns three quarters of its width
    (Phi3MiniModel), and MiniCPM3 (MiniCPM3Model).
    """
    if architecture == "rwkv7":
        yield from _first_value_mix(spec)
    elif architecture == "kimi-k3":
        yield from _attention_residuals(spec)
    elif architecture == "muse-glimmer":
        yield from _scaled_norms(spec)
    else:
        yield from _rotary(spec, architecture)


def _scaled_norms(spec: ModelSpec) -> Iterator[GgufTensor]:
    """Norms of Q and K that hold a scale, which the model has no weights for (MuseGlimmerModel)."""
    for index, layer in enumerate(decoder_layers(spec)):
        attention: Any = spec.blocks[layer.block].attention
        for side in "qk":
            yield _vector(f"blk.{index}.attn_{side}_norm.weight", attention.head_dim)


def _rotary(spec: ModelSpec, architecture: str) -> Iterator[GgufTensor]:
    context = spec.max_position_embeddings or 0
    attentions: list[Any] = [b.attention for b in spec.blocks.values() if b.attention is not None]
    width: int = max((getattr(item, "head_dim", 0) for item in attentions), default=0)
    experts = max((getattr(b.ffn, "num_experts", 0) for b in spec.blocks.values()), default=0)
    scaled = (
        architecture in ("gemma4", "exaone4", "apertus")
        or (architecture == "llama" and spec.vocab_size == 128256 and context > 8192)
        or (architecture == "llama4" and experts == 16)
    )
    if scaled:
        yield _vector("rope_freqs.weight", width // 2)
    longrope = 0
    if architecture in ("phi3", "phimoe") and context > 32768:
        longrope = width * 3 // 8 if spec.vocab_size == 200064 else width // 2
    elif architecture == "minicpm3":
        longrope = attentions[0].qk_rope_head_dim // 2
    if longrope:
        yield _vector("rope_factors_long.weight", longrope)
        yield _vector("rope_factors_short.weight", longrope)


def _vector(name: str, size: int) -> GgufTensor:
    return GgufTensor(name, (size,), "f32", "other")


def _first_value_mix(spec: ModelSpec) -> Iterator[GgufTensor]:
    """Rwkv7Model: layer 0 mixes no value in; the file has its a0, a1 and a2 again as v0, v1, v2."""
    mixer: Any = spec.blocks[spec.layers[0].names[0]].recurrent
    if mixer.value_residual:
        return
    rank, width = mixer.a_low_rank_dim, spec.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"v0": (width,), "v1": (rank, width), "v2": (width, rank)}
    for part, shape in shapes.items():
        name = f"blk.0.time_mix_{part}.weight"
        yield GgufTensor(name, shape, source_type(name, shape), "recurrent")


def _attention_residuals(spec: ModelSpec) -> Iterator[GgufTensor]:
    """KimiK3Model: the scores of the residuals across layers, and the latent experts' norm."""
    yield _vector("output_res_score.weight", spec.hidden_size)
    for layer in decoder_layers(spec):
        for part in ("attn", "ffn"):
            yield _vector(f"blk.{layer.index}.{part}_res_score.weight", spec.hidden_size)
        latent = getattr(spec.blocks[layer.block].ffn, "latent_size", None)
        if latent:
            yield _vector(f"blk.{layer.index}.ffn_routed_norm.weight", latent)
