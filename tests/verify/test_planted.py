"""Wrong formulas planted in the calculator, and wrong modules: each is caught, by name."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("torch")

from kvcalc.attention.cross import CrossAttention
from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.attention.mla import MultiHeadLatentAttention
from kvcalc.memory import inventory
from kvcalc.proofs import Proof
from kvcalc.recurrent.mamba2 import Mamba2
from kvcalc.spec.layers import Layer
from kvcalc.spec.loader import load_spec_text
from kvcalc.tensors import EVERY_TOKEN, CacheTensor, ParamTensor, Window
from kvcalc.verify import parts
from kvcalc.verify.attention import mha_mqa_gqa as reference
from kvcalc.verify.runner import verify
from tests.verify.specs import SPECS

pytestmark = pytest.mark.torch


def proofs(name: str) -> dict[str, Proof]:
    return {proof.name: proof for proof in verify(load_spec_text(SPECS[name])).proofs}


def caught(found: dict[str, Proof], by: str, naming: str) -> None:
    """Exactly this proof failed, and its first sentence names the tensor."""
    assert [name for name, proof in found.items() if not proof.passed] == [by]
    assert naming in found[by].failures[0]


def patch_cache(
    monkeypatch: pytest.MonkeyPatch, cls: type, change: Callable[[Any, CacheTensor], Any]
) -> None:
    """Make a mechanism list ``change(self, tensor)`` for each cached tensor; None leaves it out."""
    right = cls.cache  # type: ignore[attr-defined]

    def wrong(self: Any) -> Iterator[CacheTensor]:
        for tensor in right(self):
            changed = change(self, tensor)
            if changed is not None:
                yield changed

    monkeypatch.setattr(cls, "cache", wrong)


def test_one_kv_head_more(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_cache(
        monkeypatch,
        SoftmaxAttention,
        lambda self, tensor: replace(tensor, shape=(tensor.shape[0] + 1, tensor.shape[1])),
    )
    found = proofs("gqa")
    caught(found, "cache", "layers.0.attention.key after 69 tokens, true size: formula [1, 3")
    assert "measured [1, 2, 69, 8]" in found["cache"].failures[0]


@pytest.mark.parametrize("apart", [-1, 1])
def test_a_window_off_by_one(monkeypatch: pytest.MonkeyPatch, apart: int) -> None:
    patch_cache(
        monkeypatch,
        SoftmaxAttention,
        lambda self, tensor: replace(tensor, extent=Window(self.sliding_window + apart)),
    )
    caught(proofs("window"), "cache", "layers.0.attention.key after")


def test_a_forgotten_rotary_key(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_cache(
        monkeypatch,
        MultiHeadLatentAttention,
        lambda self, tensor: None if tensor.name == "rope_key" else tensor,
    )
    found = proofs("mla")
    caught(found, "cache", "layers.0.attention.rope_key after 69 tokens, true size: the model")
    assert (
        "keeps [1, 69, 4] bf16, 552 bytes; the formula leaves it out" in found["cache"].failures[0]
    )


def test_a_latent_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: MultiHeadLatentAttention) -> Iterator[CacheTensor]:
        heads = self.num_attention_heads
        yield CacheTensor("key", (heads, self.qk_head_dim), EVERY_TOKEN, "key", None, 1)
        yield CacheTensor("value", (heads, self.v_head_dim), EVERY_TOKEN, "value", None, 1)

    monkeypatch.setattr(MultiHeadLatentAttention, "cache", wrong)
    found = proofs("mla")
    caught(found, "cache", "layers.0.attention.key after 69 tokens, true size: in the formula")
    assert any("attention.latent" in failure for failure in found["cache"].failures)


def test_a_halved_state_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_cache(
        monkeypatch,
        Mamba2,
        lambda self, tensor: replace(tensor, dtype="bf16") if tensor.role == "state" else tensor,
    )
    found = proofs("mamba2")
    caught(found, "cache", "layers.0.recurrent.ssm_state after 5 tokens, true size: formula")
    assert "fp32" in found["cache"].failures[0]


def test_a_convolution_column_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_cache(
        monkeypatch,
        Mamba2,
        lambda self, tensor: (
            replace(tensor, shape=(tensor.shape[0], self.conv_kernel))
            if tensor.role == "conv"
            else tensor
        ),
    )
    caught(proofs("mamba2"), "cache", "layers.0.recurrent.conv_state after")


def test_a_sharing_layer_counted_as_if_it_kept_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    right = SoftmaxAttention.cache
    monkeypatch.setattr(
        SoftmaxAttention, "cache", lambda self: right(replace(self, shared_kv=None))
    )
    found = proofs("shared-kv")
    caught(found, "cache", "layers.1.attention.key after 69 tokens, true size: in the formula")
    assert "the model keeps no such tensor" in found["cache"].failures[0]


def test_shared_weights_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    right = inventory.decoder_layers

    def wrong(spec: Any) -> tuple[Layer, ...]:
        return tuple(replace(layer, weights=layer.index) for layer in right(spec))

    monkeypatch.setattr(inventory, "decoder_layers", wrong)
    found = proofs("loops")
    caught(found, "parameters", "layers.2.attention.q_proj.weight: in the formula")
    assert "not in the model" in found["parameters"].failures[0]


def test_a_cross_cache_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    patch_cache(monkeypatch, CrossAttention, lambda self, tensor: None)
    caught(proofs("encoder-decoder"), "cache", "layers.0.cross_attention.cross_key after")


def test_a_missing_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    right = SoftmaxAttention.parameters

    def wrong(self: SoftmaxAttention, hidden_size: int) -> Iterator[ParamTensor]:
        return (tensor for tensor in right(self, hidden_size) if tensor.name != "q_proj.bias")

    monkeypatch.setattr(SoftmaxAttention, "parameters", wrong)
    found = proofs("gqa")
    caught(found, "parameters", "layers.0.attention.q_proj.bias: a parameter of the model")


def test_a_weight_transposed_keeps_the_total_and_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = SoftmaxAttention.parameters

    def wrong(self: SoftmaxAttention, hidden_size: int) -> Iterator[ParamTensor]:
        for tensor in right(self, hidden_size):
            turned = tensor.name == "k_proj.weight"
            yield replace(tensor, shape=tensor.shape[::-1]) if turned else tensor

    monkeypatch.setattr(SoftmaxAttention, "parameters", wrong)
    found = proofs("window")
    caught(found, "parameters", "layers.0.attention.k_proj.weight: formula [64, 16], measured")
    assert found["parameters"].formula_total == found["parameters"].measured_total


# ---------------------------------------------------------------- modules that keep the wrong things


def test_a_module_that_forgets_something_is_not_sufficient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = parts.CausalConv.forward

    def wrong(self: parts.CausalConv, x: Any, cache: parts.State | None) -> Any:
        y = right(self, x, cache)
        if cache is not None:
            cache["conv_state"].zero_()
        return y

    monkeypatch.setattr(parts.CausalConv, "forward", wrong)
    found = proofs("short-conv")
    assert found["cache"].passed  # its shape is right, and that is not enough
    assert not found["sufficient"].passed
    assert "something that is needed is not kept" in found["sufficient"].failures[0]


def test_a_window_kept_too_short_is_not_sufficient(monkeypatch: pytest.MonkeyPatch) -> None:
    # W - 1 positions would do, the next token being the W-th; W - 2 do not.
    right = parts.Sight.held
    monkeypatch.setattr(
        parts.Sight,
        "held",
        lambda self, tokens: right(replace(self, window=self.window - 2), tokens),
    )
    found = proofs("window")
    assert not found["sufficient"].passed
    assert not found["cache"].passed


def test_a_window_kept_too_long_is_not_necessary(monkeypatch: pytest.MonkeyPatch) -> None:
    right = parts.Sight.held
    monkeypatch.setattr(
        parts.Sight,
        "held",
        lambda self, tokens: right(replace(self, window=self.window + 1), tokens),
    )
    patch_cache(
        monkeypatch,
        SoftmaxAttention,
        lambda self, tensor: replace(tensor, extent=Window(self.sliding_window + 1)),
    )
    # The formula agrees with the module, and both are wrong: only this proof can tell.
    found = proofs("window")
    caught(found, "necessary", "layers.0.attention.key [1, 2, 7, 4]: positions 0-1 of 7 change no")


def test_a_tensor_kept_for_nothing_is_not_necessary(monkeypatch: pytest.MonkeyPatch) -> None:
    right = reference.SoftmaxAttention.forward

    def wrong(self: Any, x: Any, cache: parts.State | None, step: Any, extra: Any = None) -> Any:
        y = right(self, x, cache, step, extra)
        parts.remember(cache, "query", parts.append(cache, "query", x[..., :32], 1))
        return y

    monkeypatch.setattr(reference.SoftmaxAttention, "forward", wrong)
    right_cache = SoftmaxAttention.cache

    def counted(self: SoftmaxAttention) -> Iterator[CacheTensor]:
        yield from right_cache(self)
        yield CacheTensor("query", (32,), EVERY_TOKEN, "key")

    monkeypatch.setattr(SoftmaxAttention, "cache", counted)
    found = proofs("mha")
    caught(
        found, "necessary", "layers.0.attention.query [1, 12, 32]: changing it changes no output"
    )


def test_a_view_that_pins_more_than_it_shows_is_measured_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wrong(cache: parts.State | None, name: str, tensor: Any) -> None:
        if cache is not None:
            cache[name] = tensor

    monkeypatch.setattr(parts, "remember", wrong)
    caught(proofs("window"), "cache", "layers.0.attention.key after")
