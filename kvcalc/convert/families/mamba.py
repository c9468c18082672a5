"""Stacks without attention: Mamba, Mamba-2, FalconMamba, RWKV, xLSTM.

Source: transformers 5.23, models/mamba, mamba2, falcon_mamba, rwkv, xlstm.
"""

from typing import Any

from kvcalc.convert.config import Config
from kvcalc.convert.parts import decoder, gated, never_tied
from kvcalc.ffn.rwkv_channel_mix import RwkvChannelMix
from kvcalc.recurrent.mamba1 import Mamba1
from kvcalc.recurrent.mamba2 import Mamba2
from kvcalc.recurrent.mlstm import Mlstm
from kvcalc.recurrent.rwkv4 import Rwkv4
from kvcalc.spec.model import Block, Embedding, ModelSpec


def auto(c: Config, key: str, automatic: int) -> int:
    """A size that may say ``auto``."""
    if c.value(key) == "auto":
        return automatic
    return c.number(key)


def scaled(c: Config, key: str) -> int:
    """expand * hidden_size, which need not be a whole factor."""
    return int(c.real(key) * c.hidden_size)


def mamba1_fields(c: Config, prefix: str = "", **fields: Any) -> Mamba1:
    """A Mamba mixer as Jamba's configs spell it (``mamba_d_state``, ``mamba_d_conv``, ...)."""
    return Mamba1(
        kind="mamba1",
        intermediate_size=scaled(c, "mamba_expand"),
        state_size=c.number("mamba_d_state"),
        conv_kernel=c.number("mamba_d_conv"),
        time_step_rank=auto(c, "mamba_dt_rank", -(-c.hidden_size // 16)),
        conv_bias=c.flag("mamba_conv_bias"),
        proj_bias=c.flag("mamba_proj_bias"),
        **fields,
    )


def mamba2_fields(c: Config, inner: int | None = None, **fields: Any) -> Mamba2:
    """A Mamba-2 mixer as Bamba's configs spell it (``mamba_n_heads``, ``mamba_d_head``, ...)."""
    heads = c.number("mamba_n_heads")
    width = scaled(c, "mamba_expand") if inner is None else inner
    head_dim = auto(c, "mamba_d_head", width // heads)
    if head_dim * heads != width:
        c.wrong("mamba_n_heads", f"{heads} heads of {head_dim} are not the {width} channels")
    return Mamba2(
        kind="mamba2", num_heads=heads, head_dim=head_dim,
        state_size=c.number("mamba_d_state"), n_groups=c.number("mamba_n_groups"),
        conv_kernel=c.number("mamba_d_conv"), conv_bias=c.flag("mamba_conv_bias"),
        proj_bias=c.flag("mamba_proj_bias"), **fields,
    )  # fmt: skip


def mamba(c: Config, **fields: Any) -> ModelSpec:
    """Mamba: one norm and one mixer a layer."""
    inner = scaled(c, "expand")
    for key, expected in (
        ("intermediate_size", inner), ("d_inner", inner), ("d_model", c.hidden_size),
        ("n_layer", c.num_layers), ("rms_norm", True), ("ssm_cfg", {}),
    ):  # fmt: skip
        c.agree(key, expected)
    c.skip("fused_add_norm", "pad_vocab_size_multiple", "conv_bias", "bias", "dt_rank")
    mixer = Mamba1(
        kind="mamba1", intermediate_size=inner, state_size=c.number("state_size"),
        conv_kernel=c.number("conv_kernel"),
        time_step_rank=auto(c, "time_step_rank", -(-c.hidden_size // 16)),
        conv_bias=c.flag("use_conv_bias"), proj_bias=c.flag("use_bias"), **fields,
    )  # fmt: skip
    return decoder(c, Block(recurrent=mixer), name="mamba")


def falcon_mamba(c: Config) -> ModelSpec:
    """Mamba with norms of no weights over dt, B and C."""
    c.skip("mixer_rms_eps")
    return mamba(c, inner_norms="weight_free")


def mamba2(c: Config) -> ModelSpec:
    """Mamba-2: one norm and one mixer a layer."""
    heads, head_dim = c.number("num_heads"), c.number("head_dim")
    inner = scaled(c, "expand")
    if heads * head_dim != inner:
        c.wrong("num_heads", f"{heads} heads of {head_dim} are not expand * hidden_size = {inner}")
    c.skip("time_step_rank", "rms_norm", "norm_before_gate")
    mixer = Mamba2(
        kind="mamba2", num_heads=heads, head_dim=head_dim, state_size=c.number("state_size"),
        n_groups=c.number("n_groups"), conv_kernel=c.number("conv_kernel"),
        conv_bias=c.flag("use_conv_bias"), proj_bias=c.flag("use_bias"),
    )  # fmt: skip
    return decoder(c, Block(recurrent=mixer), name="mamba")


def rwkv(c: Config) -> ModelSpec:
    """RWKV-4: time mixing and channel mixing; a norm after the embeddings (layer 0's pre_ln)."""
    c.skip("rescale_every", "attention_dropout")
    width = c.hidden_size
    ffn = RwkvChannelMix(
        kind="rwkv_channel_mix", hidden_size=width,
        intermediate_size=c.maybe("intermediate_size") or 4 * width,
    )  # fmt: skip
    mixer = Rwkv4(
        kind="rwkv4", hidden_size=width,
        attention_hidden_size=c.maybe("attention_hidden_size") or width,
    )  # fmt: skip

    block = Block(recurrent=mixer, ffn=ffn)
    return decoder(c, block, norm="layernorm", name="rwkv", embedding=Embedding(norm=True))


def xlstm(c: Config) -> ModelSpec:
    """xLSTM 7B: mLSTM and a gated feed-forward layer, its width rounded up."""
    c.fixed("weight_mode", "single", what="fused weights")
    c.fixed("add_out_norm", True, what="a stack without its last norm")
    c.agree("embedding_dim", c.hidden_size)
    c.agree("num_blocks", c.num_layers)
    heads, width = c.number("num_heads"), c.hidden_size
    qk, v = int(width * c.real("qk_dim_factor")), int(width * c.real("v_dim_factor"))
    if c.flag("use_bias"):
        c.refuse("use_bias", "transformers then gives the norms biases too, but not the last one")
    mixer = Mlstm(
        kind="mlstm", num_heads=heads, qk_head_dim=c.divide("num_heads", qk, heads),
        v_head_dim=c.divide("num_heads", v, heads),
    )  # fmt: skip
    multiple = c.number("ffn_round_up_to_multiple_of")
    ffn = gated(c, _round_up(int(width * c.real("ffn_proj_factor")), multiple))
    c.skip(
        "mode", "chunkwise_kernel", "sequence_kernel", "step_kernel", "return_last_states",
        "autocast_kernel_dtype", "inference_state_dtype", "eps", "gate_soft_cap",
        "output_logit_soft_cap", "max_inference_chunksize", "norm_reduction_force_float32",
    )  # fmt: skip
    return decoder(c, Block(recurrent=mixer, ffn=ffn), tie=never_tied(c), name="mlstm")


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
