"""What a rank of two holds of every weight and of every state, with every option on.

Sizes are small enough to check by eye: a hidden size of 11 (12 where the mechanism fixes it), 4 heads
of 3 channels, 12 in all. Heads and channels are divided, in and out (vLLM's mamba_mixer.py,
mamba_mixer2.py and qwen3_next.py: in_proj and conv1d by rows, out_proj by columns); what the token
shift mixes, low ranks and norms within a head are whole. Mamba-2's one group of B and C is on both
ranks: 6 + 5 + 5 of the convolution's 22 channels. Convolutions of kernel 4 keep 3 columns, packed
along the channels; states are in the spec's own format.
"""

from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest

from kvcalc.recurrent import KINDS

LAYERS: dict[str, dict[str, Any]] = {
    "mamba1": {
        "intermediate_size": 12,
        "state_size": 5,
        "conv_kernel": 4,
        "time_step_rank": 7,
        "proj_bias": True,
        "state_dtype": "bf16",
    },
    "mamba2": {
        "num_heads": 4,
        "head_dim": 3,
        "state_size": 5,
        "n_groups": 1,
        "conv_kernel": 4,
        "proj_bias": True,
        "state_dtype": "bf16",
    },
    "gated_deltanet": {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 3,
        "linear_value_head_dim": 5,
        "linear_conv_kernel_dim": 4,
        "state_dtype": "bf16",
    },
    "delta_net": {
        "num_heads": 4,
        "head_k_dim": 3,
        "head_v_dim": 5,
        "conv_size": 4,
        "use_gate": True,
        "state_dtype": "bf16",
    },
    "kda": {"num_heads": 4, "head_dim": 3, "short_conv_kernel_size": 4, "state_dtype": "bf16"},
    "kda, full rank": {
        "kind": "kda",
        "num_heads": 4,
        "head_dim": 3,
        "short_conv_kernel_size": 4,
        "full_rank_gate": True,
        "full_rank_decay": True,
    },
    "lightning": {"num_attention_heads": 4, "head_dim": 3, "state_dtype": "bf16"},
    "retnet": {
        "num_heads": 4,
        "head_k_dim": 3,
        "head_v_dim": 5,
        "norm_weight": True,
        "state_dtype": "bf16",
    },
    "rwkv4": {"hidden_size": 11, "attention_hidden_size": 12, "state_dtype": "bf16"},
    "rwkv6": {
        "hidden_size": 11,
        "num_heads": 4,
        "head_dim": 3,
        "proj_low_rank_dim": 2,
        "gate_low_rank_dim": 7,
        "state_dtype": "bf16",
    },
    "rwkv7": {
        "hidden_size": 12,
        "num_heads": 4,
        "head_dim": 3,
        "decay_low_rank_dim": 2,
        "a_low_rank_dim": 5,
        "v_low_rank_dim": 6,
        "gate_low_rank_dim": 7,
        "state_dtype": "bf16",
    },
    "rg_lru": {"lru_width": 12, "num_attention_heads": 4, "conv1d_width": 4, "state_dtype": "bf16"},
    "short_conv": {"hidden_size": 12, "conv_L_cache": 3, "conv_bias": True},
    "mlstm": {
        "num_heads": 4,
        "qk_head_dim": 3,
        "v_head_dim": 5,
        "use_bias": True,
        "state_dtype": "bf16",
    },
}
# Weights: name -> shape. Cache: name -> shape, role, the axis that block formats pack, dtype.
HALF: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mamba1": (
        {
            "A_log": (6, 5),
            "D": (6,),
            "conv1d.weight": (6, 1, 4),
            "conv1d.bias": (6,),
            "in_proj.weight": (12, 11),
            "in_proj.bias": (12,),
            "x_proj.weight": (17, 6),
            "dt_proj.weight": (6, 7),
            "dt_proj.bias": (6,),
            "out_proj.weight": (11, 6),
            "out_proj.bias": (11,),
        },
        {
            "conv_state": ((6, 3), "conv", 0, None),
            "ssm_state": ((6, 5), "state", -1, "bf16"),
        },
    ),
    "mamba2": (
        {
            "in_proj.weight": (24, 11),
            "in_proj.bias": (24,),
            "conv1d.weight": (16, 1, 4),
            "conv1d.bias": (16,),
            "dt_bias": (2,),
            "A_log": (2,),
            "D": (2,),
            "norm.weight": (6,),
            "out_proj.weight": (11, 6),
            "out_proj.bias": (11,),
        },
        {
            "conv_state": ((16, 3), "conv", 0, None),
            "ssm_state": ((2, 3, 5), "state", -1, "bf16"),
        },
    ),
    "gated_deltanet": (
        {
            "dt_bias": (2,),
            "A_log": (2,),
            "conv1d.weight": (16, 1, 4),
            "in_proj_qkv.weight": (16, 11),
            "in_proj_z.weight": (10, 11),
            "in_proj_b.weight": (2, 11),
            "in_proj_a.weight": (2, 11),
            "norm.weight": (5,),
            "out_proj.weight": (11, 10),
        },
        {
            "conv_state": ((16, 3), "conv", 0, None),
            "recurrent_state": ((2, 3, 5), "state", -1, "bf16"),
        },
    ),
    "delta_net": (
        {
            "q_proj.weight": (6, 11),
            "q_conv1d.weight": (6, 1, 4),
            "k_proj.weight": (6, 11),
            "k_conv1d.weight": (6, 1, 4),
            "v_proj.weight": (10, 11),
            "v_conv1d.weight": (10, 1, 4),
            "b_proj.weight": (2, 11),
            "g_proj.weight": (10, 11),
            "o_norm.weight": (5,),
            "o_proj.weight": (11, 10),
        },
        {
            "q_conv_state": ((6, 3), "conv", 0, None),
            "k_conv_state": ((6, 3), "conv", 0, None),
            "v_conv_state": ((10, 3), "conv", 0, None),
            "recurrent_state": ((2, 3, 5), "state", -1, "bf16"),
        },
    ),
    "kda": (
        {
            "q_proj.weight": (6, 11),
            "k_proj.weight": (6, 11),
            "v_proj.weight": (6, 11),
            "conv1d.weight": (18, 1, 4),
            "forget_gate.f_a_proj.weight": (3, 11),
            "forget_gate.f_b_proj.weight": (6, 3),
            "forget_gate.dt_bias": (6,),
            "forget_gate.A_log": (1, 1, 2, 1),
            "b_proj.weight": (2, 11),
            "g_a_proj.weight": (3, 11),
            "g_b_proj.weight": (6, 3),
            "o_norm.weight": (3,),
            "o_proj.weight": (11, 6),
        },
        {
            "conv_state": ((18, 3), "conv", 0, None),
            "recurrent_state": ((2, 3, 3), "state", -1, "bf16"),
        },
    ),
    "kda, full rank": (
        {
            "q_proj.weight": (6, 11),
            "k_proj.weight": (6, 11),
            "v_proj.weight": (6, 11),
            "conv1d.weight": (18, 1, 4),
            "forget_gate.f_proj.weight": (6, 11),
            "forget_gate.dt_bias": (6,),
            "forget_gate.A_log": (1, 1, 2, 1),
            "b_proj.weight": (2, 11),
            "g_proj.weight": (6, 11),
            "o_norm.weight": (3,),
            "o_proj.weight": (11, 6),
        },
        {
            "conv_state": ((18, 3), "conv", 0, None),
            "recurrent_state": ((2, 3, 3), "state", -1, "fp32"),
        },
    ),
    "lightning": (
        {
            "norm.weight": (6,),
            "qkv_proj.weight": (18, 11),
            "out_proj.weight": (11, 6),
            "output_gate.weight": (6, 11),
        },
        {
            "kv_state": ((2, 3, 3), "state", -1, "bf16"),
        },
    ),
    "retnet": (
        {
            "q_proj.weight": (6, 11),
            "k_proj.weight": (6, 11),
            "v_proj.weight": (10, 11),
            "g_proj.weight": (10, 11),
            "group_norm.weight": (5,),
            "out_proj.weight": (11, 10),
        },
        {
            "kv_state": ((2, 3, 5), "state", -1, "bf16"),
        },
    ),
    "rwkv4": (
        {
            "time_decay": (6,),
            "time_first": (6,),
            "time_mix_key": (1, 1, 11),
            "time_mix_value": (1, 1, 11),
            "time_mix_receptance": (1, 1, 11),
            "key.weight": (6, 11),
            "value.weight": (6, 11),
            "receptance.weight": (6, 11),
            "output.weight": (11, 6),
        },
        {
            "token_shift": ((11,), "conv", -1, None),
            "numerator": ((6,), "state", -1, "bf16"),
            "denominator": ((6,), "state", -1, "bf16"),
            "maximum": ((6,), "state", -1, "bf16"),
        },
    ),
    "rwkv6": (
        {
            "time_maa_x": (1, 1, 11),
            "time_maa_w": (1, 1, 11),
            "time_maa_k": (1, 1, 11),
            "time_maa_v": (1, 1, 11),
            "time_maa_r": (1, 1, 11),
            "time_maa_g": (1, 1, 11),
            "time_maa_w1": (11, 10),
            "time_maa_w2": (5, 2, 11),
            "time_decay": (1, 1, 6),
            "time_decay_w1": (11, 7),
            "time_decay_w2": (7, 6),
            "time_faaaa": (2, 3),
            "receptance.weight": (6, 11),
            "key.weight": (6, 11),
            "value.weight": (6, 11),
            "gate.weight": (6, 11),
            "output.weight": (11, 6),
            "ln_x.weight": (6,),
            "ln_x.bias": (6,),
        },
        {
            "token_shift": ((11,), "conv", -1, None),
            "wkv_state": ((2, 3, 3), "state", -1, "bf16"),
        },
    ),
    "rwkv7": (
        {
            "x_r": (1, 1, 12),
            "x_w": (1, 1, 12),
            "x_k": (1, 1, 12),
            "x_v": (1, 1, 12),
            "x_a": (1, 1, 12),
            "x_g": (1, 1, 12),
            "w0": (1, 1, 6),
            "w1": (12, 2),
            "w2": (2, 6),
            "a0": (1, 1, 6),
            "a1": (12, 5),
            "a2": (5, 6),
            "v0": (1, 1, 6),
            "v1": (12, 6),
            "v2": (6, 6),
            "g1": (12, 7),
            "g2": (7, 6),
            "k_k": (1, 1, 6),
            "k_a": (1, 1, 6),
            "r_k": (2, 3),
            "receptance.weight": (6, 12),
            "key.weight": (6, 12),
            "value.weight": (6, 12),
            "output.weight": (12, 6),
            "ln_x.weight": (6,),
            "ln_x.bias": (6,),
        },
        {
            "token_shift": ((12,), "conv", -1, None),
            "wkv_state": ((2, 3, 3), "state", -1, "bf16"),
        },
    ),
    "rg_lru": (
        {
            "linear_y.weight": (6, 11),
            "linear_y.bias": (6,),
            "linear_x.weight": (6, 11),
            "linear_x.bias": (6,),
            "linear_out.weight": (11, 6),
            "linear_out.bias": (11,),
            "conv_1d.weight": (6, 1, 4),
            "conv_1d.bias": (6,),
            "rg_lru.recurrent_param": (6,),
            "rg_lru.input_gate_weight": (2, 3, 3),
            "rg_lru.input_gate_bias": (2, 3),
            "rg_lru.recurrent_gate_weight": (2, 3, 3),
            "rg_lru.recurrent_gate_bias": (2, 3),
        },
        {
            "conv_state": ((6, 3), "conv", 0, None),
            "recurrent_state": ((6,), "state", -1, "bf16"),
        },
    ),
    "short_conv": (
        {
            "conv.weight": (6, 1, 3),
            "conv.bias": (6,),
            "in_proj.weight": (18, 12),
            "in_proj.bias": (18,),
            "out_proj.weight": (12, 6),
            "out_proj.bias": (12,),
        },
        {
            "conv_state": ((6, 2), "conv", 0, None),
        },
    ),
    "mlstm": (
        {
            "q.weight": (6, 11),
            "q.bias": (6,),
            "k.weight": (6, 11),
            "k.bias": (6,),
            "v.weight": (10, 11),
            "v.bias": (10,),
            "ogate_preact.weight": (10, 11),
            "ogate_preact.bias": (10,),
            "igate_preact.weight": (2, 11),
            "igate_preact.bias": (2,),
            "fgate_preact.weight": (2, 11),
            "fgate_preact.bias": (2,),
            "multihead_norm.weight": (10,),
            "multihead_norm.bias": (10,),
            "out_proj.weight": (11, 10),
            "out_proj.bias": (11,),
        },
        {
            "memory": ((2, 3, 5), "state", -1, "bf16"),
            "normalizer": ((2, 3), "state", -1, "bf16"),
            "stabilizer": ((2, 1), "state", -1, "bf16"),
        },
    ),
}


def layer(name: str) -> Any:
    fields = {"kind": name, **LAYERS[name]}
    module, cls = KINDS[fields["kind"]]
    return getattr(import_module(module), cls)(**fields)


def test_every_mechanism_stands_above() -> None:
    missing = set(KINDS) - {layer(name).kind for name in LAYERS}
    assert missing == set(), "its fields in LAYERS, what a rank of two holds in HALF"


@pytest.mark.parametrize("name", LAYERS)
def test_what_one_rank_of_two_holds(name: str) -> None:
    hidden_size = 12 if name in ("rwkv7", "short_conv") else 11
    weights, cache = HALF[name]
    tensors = list(layer(name).parameters(hidden_size))
    assert {tensor.name: tensor.per_rank(2) for tensor in tensors} == weights
    assert {
        tensor.name: (tensor.per_rank(2), tensor.role, tensor.row_axis, tensor.dtype)
        for tensor in layer(name).cache()
    } == cache


@pytest.mark.parametrize("name", ["mamba1", "mamba2"])
def test_a_convolution_without_a_bias(name: str) -> None:
    names = {tensor.name for tensor in replace(layer(name), conv_bias=False).parameters(11)}
    assert set(HALF[name][0]) - names == {"conv1d.bias"}
