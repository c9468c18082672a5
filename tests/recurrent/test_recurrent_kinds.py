"""What holds for every recurrent mechanism: its registration, its fields and its equation."""

import dataclasses
import inspect
import re
from importlib import import_module
from math import prod
from typing import Any, get_args

import pytest

from kvcalc.recurrent import KINDS
from tests.verify.specs import mechanism_of

# Sizes that differ wherever they can, so that a swapped symbol shows. A kind that is not here is as the
# small spec of it has it.
SIZES: dict[str, dict[str, Any]] = {
    "mamba1": {"intermediate_size": 96, "state_size": 5, "conv_kernel": 4, "time_step_rank": 7},
    "mamba2": {"num_heads": 6, "head_dim": 8, "state_size": 5, "n_groups": 2, "conv_kernel": 4},
    "gated_deltanet": {
        "linear_num_key_heads": 2, "linear_num_value_heads": 6, "linear_key_head_dim": 8,
        "linear_value_head_dim": 10, "linear_conv_kernel_dim": 4,
    },
    "delta_net": {"num_heads": 6, "head_k_dim": 8, "head_v_dim": 10, "conv_size": 4},
    "kda": {"num_heads": 6, "head_dim": 10, "short_conv_kernel_size": 4},
    "lightning": {"num_attention_heads": 6, "head_dim": 10},
    "retnet": {"num_heads": 6, "head_k_dim": 8, "head_v_dim": 10},
    "rwkv4": {"hidden_size": 48, "attention_hidden_size": 56},
    "rwkv6": {
        "hidden_size": 48, "num_heads": 5, "head_dim": 8, "proj_low_rank_dim": 3,
        "gate_low_rank_dim": 7,
    },
    "rwkv7": {
        "hidden_size": 48, "num_heads": 6, "head_dim": 8, "decay_low_rank_dim": 3,
        "a_low_rank_dim": 4, "v_low_rank_dim": 5, "gate_low_rank_dim": 7,
    },
    "rg_lru": {"lru_width": 60, "num_attention_heads": 6, "conv1d_width": 4},
    "short_conv": {"hidden_size": 48, "conv_L_cache": 3},
    "mlstm": {"num_heads": 4, "qk_head_dim": 8, "v_head_dim": 10},
}  # fmt: skip


def mechanism(kind: str) -> Any:
    module, name = KINDS[kind]
    return getattr(import_module(module), name)


def layer_of(kind: str) -> Any:
    return mechanism(kind)(kind=kind, **SIZES[kind]) if kind in SIZES else mechanism_of(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_kind_is_the_class_own(kind: str) -> None:
    cls = mechanism(kind)
    assert get_args(cls.__dataclass_fields__["kind"].type) == (kind,)


@pytest.mark.parametrize("kind", KINDS)
def test_docstring_lists_every_field(kind: str) -> None:
    cls = mechanism(kind)
    doc = inspect.cleandoc(cls.__doc__)
    listed = re.findall(r"^    (\w+): ", doc, flags=re.MULTILINE)
    assert listed == [field.name for field in dataclasses.fields(cls)]


@pytest.mark.parametrize("kind", KINDS)
def test_equation_evaluates_to_the_inventory(kind: str) -> None:
    layer = layer_of(kind)
    assert not list(layer.check())
    explanation = layer.explain()
    assert re.fullmatch(r"[\w+\-*/() ]+", explanation.fixed)
    elements = eval(explanation.substituted(explanation.fixed))
    assert elements == sum(prod(tensor.shape) for tensor in layer.cache())
    for symbol in explanation.symbols:
        assert getattr(layer, symbol.field) == symbol.value


@pytest.mark.parametrize("kind", KINDS)
def test_state_is_held_once_and_one_rank_holds_all(kind: str) -> None:
    layer = layer_of(kind)
    for tensor in layer.cache():
        assert str(tensor.extent) == "once per sequence"
        assert tensor.per_rank(1) == tensor.shape
    names = [tensor.name for tensor in layer.parameters(48)]
    assert len(names) == len(set(names))
    for tensor in layer.parameters(48):
        assert tensor.component == "recurrent"
        assert tensor.per_rank(1) == tensor.shape
