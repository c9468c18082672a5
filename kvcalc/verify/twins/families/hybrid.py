"""Recurrent models, and those that mix recurrent layers with attention."""

from kvcalc.spec.model import Block
from kvcalc.verify.twins.stack import Stack
from kvcalc.verify.twins.values import (
    Values,
    Writer,
    base,
    dense,
    heads,
    local_experts,
    mamba2_fields,
    moe,
)


def granitemoehybrid(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | mamba2_fields(s)
    values["layer_types"] = ["mamba" if b.attention is None else "attention" for b in s.blocks]
    if s.experts:
        values |= local_experts(s)
        shared = s.expert("shared_expert_intermediate_size")
        return values | {"shared_intermediate_size": shared}
    return values | {"num_local_experts": 0, "num_experts_per_tok": 0, "intermediate_size": s.ffn(),
                     "shared_intermediate_size": s.ffn()}  # fmt: skip


def bamba(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | dense(s) | mamba2_fields(s)
    return values | {"attn_layer_indices": s.where("attention")}


def minimax(s: Stack) -> Values:
    interval = s.interval(s.where("attention"))
    types = ["linear_attention" if (index + 1) % interval else "full_attention"
             for index in range(s.num_layers)]  # fmt: skip
    values = base(s) | heads(s) | local_experts(s)
    return values | {"layer_types": types, "block_size": 256}


def mamba(s: Stack) -> Values:
    return base(s) | {
        "intermediate_size": s.mixer("intermediate_size"),
        "expand": s.mixer("intermediate_size") // s.spec.hidden_size,
        "state_size": s.mixer("state_size"), "conv_kernel": s.mixer("conv_kernel"),
        "time_step_rank": s.mixer("time_step_rank"), "use_conv_bias": s.mixer("conv_bias"),
        "use_bias": s.mixer("proj_bias"),
    }  # fmt: skip


def mamba2(s: Stack) -> Values:
    inner = s.mixer("num_heads") * s.mixer("head_dim")
    return base(s) | {
        "num_heads": s.mixer("num_heads"), "head_dim": s.mixer("head_dim"),
        "state_size": s.mixer("state_size"), "n_groups": s.mixer("n_groups"),
        "conv_kernel": s.mixer("conv_kernel"), "expand": inner // s.spec.hidden_size,
        "use_conv_bias": s.mixer("conv_bias"), "use_bias": s.mixer("proj_bias"),
    }  # fmt: skip


def jamba(s: Stack) -> Values:
    return base(s) | heads(s, head_dim=False) | dense(s) | {
        "attn_layer_period": s.interval(s.where("attention")),
        "expert_layer_period": s.interval(s.where("ffn", kind="moe")),
        "num_experts": s.expert("num_experts"),
        "num_experts_per_tok": s.expert("num_experts_per_tok"),
        "mamba_d_state": s.mixer("state_size"), "mamba_d_conv": s.mixer("conv_kernel"),
        "mamba_expand": s.mixer("intermediate_size") // s.spec.hidden_size,
        "mamba_dt_rank": s.mixer("time_step_rank"), "mamba_conv_bias": s.mixer("conv_bias"),
        "mamba_proj_bias": s.mixer("proj_bias"),
    }  # fmt: skip


def nemotron_h(s: Stack) -> Values:
    def kind(block: Block) -> str:
        if block.recurrent is not None:
            return "mamba"
        if block.attention is not None:
            return "attention"
        return "moe" if block.ffn is not None and block.ffn.kind == "moe" else "mlp"

    values = base(s) | heads(s) | dense(s) | {
        "layers_block_type": [kind(block) for block in s.blocks],
        "mamba_num_heads": s.mixer("num_heads"), "mamba_head_dim": s.mixer("head_dim"),
        "ssm_state_size": s.mixer("state_size"), "n_groups": s.mixer("n_groups"),
        "conv_kernel": s.mixer("conv_kernel"), "use_conv_bias": s.mixer("conv_bias"),
        "use_bias": s.mixer("proj_bias"), "attention_bias": s.bias(),
    }  # fmt: skip
    if s.experts:
        values |= moe(s, experts="n_routed_experts") | {
            "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
            "moe_shared_expert_intermediate_size": s.expert("shared_expert_intermediate_size"),
            "moe_latent_size": s.expert("latent_size"),
        }  # fmt: skip
        values.setdefault("intermediate_size", s.expert("moe_intermediate_size"))
    return values


def falcon_h1(s: Stack) -> Values:
    inner = s.mixer("num_heads") * s.mixer("head_dim")
    fields = {key: value for key, value in mamba2_fields(s).items() if "expand" not in key}
    return base(s) | heads(s) | dense(s) | fields | {
        "mamba_d_ssm": inner, "attention_bias": s.bias(), "mamba_rms_norm": s.mixer("gated_norm"),
    }  # fmt: skip


def zamba2(s: Stack) -> Values:
    spec = s.spec
    shared = [block for block in s.blocks if block.share_weights]
    adapter = s.one(shared, "adapter")
    # A use of a shared block stands before the Mamba layer that transformers puts it into.
    hybrid, mamba_layers = [], 0
    for block in s.blocks:
        if block.share_weights:
            hybrid.append(mamba_layers)
        else:
            mamba_layers += 1
    layers = ["hybrid" if index in hybrid else "mamba" for index in range(mamba_layers)]
    inner = s.mixer("num_heads") * s.mixer("head_dim")
    return base(s) | dense(s) | {
        "num_hidden_layers": mamba_layers, "layers_block_type": layers,
        "num_attention_heads": s.attention("num_attention_heads"),
        "num_key_value_heads": s.attention("num_key_value_heads"),
        "mamba_d_state": s.mixer("state_size"), "mamba_d_conv": s.mixer("conv_kernel"),
        "mamba_expand": inner // spec.hidden_size, "mamba_ngroups": s.mixer("n_groups"),
        "n_mamba_heads": s.mixer("num_heads"), "mamba_headdim": s.mixer("head_dim"),
        "adapter_rank": adapter.adapter_rank,
        "num_mem_blocks": len({name for name, block in spec.blocks.items() if block.share_weights}),
        "use_shared_attention_adapter": bool(getattr(adapter, "attention", False)),
        "use_mem_rope": True,
    }  # fmt: skip


def lfm2(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | dense(s) | {
        "conv_L_cache": s.mixer("conv_L_cache"), "block_auto_adjust_ff_dim": False,
        "full_attn_idxs": s.where("attention"),
    }  # fmt: skip
    return values


def lfm2_moe(s: Stack) -> Values:
    types = ["conv" if b.attention is None else "full_attention" for b in s.blocks]
    values = lfm2(s) | moe(s) | {"num_dense_layers": len(s.ffns), "layer_types": types}
    return {key: value for key, value in values.items() if key != "full_attn_idxs"}


def rwkv(s: Stack) -> Values:
    return base(s) | {
        "attention_hidden_size": s.mixer("attention_hidden_size"), "intermediate_size": s.ffn(),
    }  # fmt: skip


def xlstm(s: Stack) -> Values:
    keys = s.mixer("num_heads") * s.mixer("qk_head_dim")
    return base(s) | {
        "embedding_dim": s.spec.hidden_size, "num_blocks": s.num_layers,
        "num_heads": s.mixer("num_heads"), "use_bias": s.mixer("use_bias"),
        "qk_dim_factor": keys / s.spec.hidden_size,
        "v_dim_factor": s.mixer("num_heads") * s.mixer("v_head_dim") / s.spec.hidden_size,
        # The class rounds hidden_size * factor up to a multiple of 64, which this already is.
        "ffn_proj_factor": s.ffn() / s.spec.hidden_size,
    }  # fmt: skip


def olmo_hybrid(s: Stack) -> Values:
    names = ("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim",
             "linear_value_head_dim", "linear_conv_kernel_dim")  # fmt: skip
    values = base(s) | heads(s, head_dim=False) | dense(s) | {"attention_bias": s.bias()}
    return values | {name: s.mixer(name) for name in names} | {
        "layer_types": ["linear_attention" if b.attention is None else "full_attention"
                        for b in s.blocks],
    }  # fmt: skip


CAUSAL: dict[str, Writer] = {
    "bamba": bamba,
    "falcon_h1": falcon_h1,
    "falcon_mamba": mamba,
    "granitemoehybrid": granitemoehybrid,
    "jamba": jamba,
    "lfm2": lfm2,
    "lfm2_moe": lfm2_moe,
    "mamba": mamba,
    "mamba2": mamba2,
    "minimax": minimax,
    "nemotron_h": nemotron_h,
    "olmo_hybrid": olmo_hybrid,
    "rwkv": rwkv,
    "xlstm": xlstm,
    "zamba2": zamba2,
}
