"""The tensors of one layer of a GGUF file -> its mechanisms.

A layer is told by the tensors it has; the keys give what shapes cannot say (heads, windows, experts
per token). Every tensor is taken by exactly one mechanism, with the component it belongs to, and a
tensor that nothing takes is refused by name. Tensor names: llama.cpp src/llama-arch.cpp; what each
architecture has: its file under src/models.
"""

import re
from typing import Any, Literal

from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.attention.mla import MultiHeadLatentAttention
from kvcalc.convert.gguf_keys import Keys
from kvcalc.convert.stored import StoredTensor
from kvcalc.ffn.dense import DenseFeedForward
from kvcalc.ffn.gated import GatedFeedForward
from kvcalc.ffn.moe import MixtureOfExperts
from kvcalc.recurrent.gated_deltanet import GatedDeltaNet
from kvcalc.recurrent.mamba1 import Mamba1
from kvcalc.recurrent.mamba2 import Mamba2
from kvcalc.recurrent.short_conv import ShortConv
from kvcalc.tensors import Component

# Norms of hidden_size that a block has beside its sublayers.
_NORMS = ("attn_norm", "attn_norm_2", "ffn_norm", "post_attention_norm", "post_ffw_norm",
          "post_ffw_norm_1", "pre_ffw_norm_2", "post_ffw_norm_2",
          "attn_output_norm", "layer_output_norm")  # fmt: skip
_LEGACY_EXPERT = re.compile(r"ffn_(gate|up|down)\.(\d+)\.weight")

Shape = tuple[int, ...]


class LayerTensors:
    """The tensors of one place (a layer, or what stands beside the layers), taken one by one.

    taken: tensor -> the component it was taken for. unused: tensors that the model holds and never
    reads.
    """

    def __init__(self, where: str, keys: Keys, tensors: dict[str, StoredTensor]) -> None:
        self.where = where
        self.keys = keys
        self._left = dict(tensors)
        self.taken: list[tuple[StoredTensor, Component]] = []
        self.unused: list[StoredTensor] = []
        self._stack_experts()

    def _stack_experts(self) -> None:
        """Experts in tensors of their own (Mixtral files of 2023 and 2024) as one stack each."""
        stacks: dict[str, list[StoredTensor]] = {}
        for name in list(self._left):
            match = _LEGACY_EXPERT.fullmatch(name)
            if match:
                stacks.setdefault(match[1], []).append(self._left.pop(name))
        for side, experts in stacks.items():
            if len({(expert.shape, expert.dtype) for expert in experts}) != 1:
                self.keys.refuse(f"{self.where}ffn_{side}: its experts differ in shape or format")
            one = experts[0]
            self._left[f"ffn_{side}_exps.weight"] = StoredTensor(
                f"{self.where}ffn_{side}_exps.weight", (len(experts), *one.shape), one.dtype,
                len(experts) * one.num_bytes,
            )  # fmt: skip

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def maybe(self, name: str, component: Component) -> Shape | None:
        """Take a tensor, and say its shape; None where there is none."""
        tensor = self._left.pop(name, None)
        if tensor is None:
            return None
        self.taken.append((tensor, component))
        return tensor.shape

    def take(self, name: str, component: Component, rank: int | None = None) -> Shape:
        """Take a tensor that has to be there, with ``rank`` axes."""
        shape = self.maybe(name, component)
        if shape is None:
            self.keys.refuse(f"the tensor {self.where}{name} is missing")
        if rank is not None and len(shape) != rank:
            self.keys.refuse(f"{self.where}{name} has the shape {list(shape)}, not {rank} axes")
        return shape

    def has(self, name: str, component: Component) -> bool:
        """Take a tensor if it is there."""
        return self.maybe(name, component) is not None

    def leave_unused(self, *names: str) -> None:
        """Tensors that the file holds and the model never reads."""
        self.unused += [self._left.pop(name) for name in names if name in self._left]

    def finish(self) -> None:
        """Refuse what nothing took."""
        for name in self._left:
            self.keys.refuse(
                f"{self.where}{name} is a tensor that kvcalc does not account for in "
                f"{self.keys.architecture} files"
            )

    def elements(self) -> dict[Component, int]:
        """Elements taken so far, by component."""
        counts: dict[Component, int] = {}
        for tensor, component in self.taken:
            counts[component] = counts.get(component, 0) + tensor.numel
        return counts


# ---------------------------------------------------------------- attention


def softmax(
    layer: LayerTensors,
    *,
    heads: int,
    kv_heads: int,
    head_dim: int,
    v_head_dim: int,
    window: int | None,
    gated: bool,
    reads_from: str | None,
) -> SoftmaxAttention:
    """MHA, MQA or GQA. gated: the query projection is twice as wide. reads_from: whose K and V."""
    keys = layer.keys
    if not heads or not kv_heads:
        keys.refuse(f"{layer.where}attn_output.weight: attention without heads by its keys")
    if heads % kv_heads:
        keys.wrong("attention.head_count_kv", f"{heads} heads cannot share {kv_heads} evenly")
    bias: list[Literal["q", "k", "v", "o"]] = []
    sides: tuple[Literal["q", "k", "v"], ...] = ("q", "k", "v")
    if reads_from is not None:
        layer.leave_unused("attn_k.weight", "attn_v.weight", "attn_k.bias", "attn_v.bias",
                           "attn_k_norm.weight")  # fmt: skip
        sides = ("q",)
    shared_values = False
    if layer.has("attn_qkv.weight", "attention"):
        if layer.has("attn_qkv.bias", "attention"):
            bias += sides
    else:
        for side in sides:
            if side == "v" and "attn_v.weight" not in layer:
                shared_values = True
                continue
            layer.take(f"attn_{side}.weight", "attention", 2)
    bias += [side for side in sides if layer.has(f"attn_{side}.bias", "attention")]
    layer.take("attn_output.weight", "attention", 2)
    if layer.has("attn_output.bias", "attention"):
        bias.append("o")
    kind: Literal["mha", "mqa", "gqa"] = "mqa" if kv_heads == 1 else "gqa"
    return SoftmaxAttention(
        kind="mha" if kv_heads == heads else kind,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        v_head_dim=None if v_head_dim == head_dim else v_head_dim,
        bias=tuple(bias),
        qk_norm=_qk_norm(layer, head_dim),
        output_gate="per_element" if gated else "none",
        sinks=layer.has("attn_sinks.weight", "attention"),
        sliding_window=window,
        shared_kv=reads_from,
        attention_k_eq_v=shared_values,
    )


def _qk_norm(
    layer: LayerTensors, head_dim: int
) -> Literal["none", "per_head", "per_head_layernorm", "full"]:
    shape = layer.maybe("attn_q_norm.weight", "attention")
    layer.maybe("attn_k_norm.weight", "attention")
    if shape is None:
        return "none"
    if layer.has("attn_q_norm.bias", "attention"):
        layer.take("attn_k_norm.bias", "attention")
        return "per_head_layernorm"
    return "per_head" if shape == (head_dim,) else "full"


def mla(
    layer: LayerTensors, *, heads: int, key_dim: int, value_dim: int, expanded: bool
) -> MultiHeadLatentAttention:
    """Latent attention, its up-projections whole (before April 2025) or split for absorption.

    expanded: the keys do not say that it is latent, so llama.cpp keeps keys and values per head
    (llama_hparams::is_mla asks for key_length_mla and value_length_mla).
    """
    keys = layer.keys
    rank, rope = keys.number("attention.kv_lora_rank"), keys.number("rope.dimension_count")
    q_rank = None
    if "attn_q_a.weight" in layer:
        q_rank = layer.take("attn_q_a.weight", "attention", 2)[0]
        if keys.maybe("attention.q_lora_rank") != q_rank:
            keys.wrong("attention.q_lora_rank", f"not the {q_rank} rows of {layer.where}attn_q_a")
        layer.take("attn_q_a_norm.weight", "attention")
        layer.take("attn_q_b.weight", "attention", 2)
    else:
        layer.take("attn_q.weight", "attention", 2)
    layer.take("attn_kv_a_mqa.weight", "attention", 2)
    layer.take("attn_kv_a_norm.weight", "attention")
    if not layer.has("attn_kv_b.weight", "attention"):
        layer.take("attn_k_b.weight", "attention", 3)
        layer.take("attn_v_b.weight", "attention", 3)
    layer.take("attn_output.weight", "attention", 2)
    if key_dim <= rope:
        keys.wrong("rope.dimension_count", f"{rope} is not less than a key head's {key_dim}")
    return MultiHeadLatentAttention(
        kind="mla", num_attention_heads=heads, q_lora_rank=q_rank, kv_lora_rank=rank,
        qk_nope_head_dim=key_dim - rope, qk_rope_head_dim=rope, v_head_dim=value_dim,
        cache_layout="latent_whole_kv_b" if expanded else "latent",
    )  # fmt: skip


# ---------------------------------------------------------------- recurrent mixers


def recurrent(layer: LayerTensors, hidden_size: int) -> Any:
    """The recurrent mixer whose tensors the layer has, or None."""
    if "shortconv.conv.weight" in layer:
        for name in ("conv", "in_proj", "out_proj"):
            layer.take(f"shortconv.{name}.weight", "recurrent", 2)
        taps = layer.keys.number("shortconv.l_cache")
        return ShortConv(kind="short_conv", hidden_size=hidden_size, conv_L_cache=taps)
    if "ssm_ba.weight" in layer or "ssm_alpha.weight" in layer:
        return _deltanet(layer)
    if "ssm_x.weight" in layer:
        return _mamba1(layer)
    if "ssm_in.weight" in layer:
        return _mamba2(layer)
    return None


def _deltanet(layer: LayerTensors) -> GatedDeltaNet:
    keys = layer.keys
    if not layer.has("ssm_in.weight", "recurrent"):
        layer.take("attn_qkv.weight", "recurrent", 2)
        layer.take("attn_gate.weight", "recurrent", 2)
    if not layer.has("ssm_ba.weight", "recurrent"):
        layer.take("ssm_alpha.weight", "recurrent")
        layer.take("ssm_beta.weight", "recurrent")
    for name in ("ssm_conv1d.weight", "ssm_dt.bias", "ssm_a", "ssm_norm.weight", "ssm_out.weight"):
        layer.take(name, "recurrent")
    heads = keys.number("ssm.time_step_rank")
    return GatedDeltaNet(
        kind="gated_deltanet",
        linear_num_key_heads=keys.number("ssm.group_count"),
        linear_num_value_heads=heads,
        linear_key_head_dim=keys.number("ssm.state_size"),
        linear_value_head_dim=_divide(keys, "ssm.inner_size", keys.number("ssm.inner_size"), heads),
        linear_conv_kernel_dim=keys.number("ssm.conv_kernel"),
    )


def _mamba1(layer: LayerTensors) -> Mamba1:
    keys = layer.keys
    for name in ("ssm_in.weight", "ssm_conv1d.weight", "ssm_x.weight", "ssm_dt.weight",
                 "ssm_dt.bias", "ssm_a", "ssm_d", "ssm_out.weight"):  # fmt: skip
        layer.take(name, "recurrent")
    norms = [layer.has(f"ssm_{name}_norm.weight", "recurrent") for name in ("dt", "b", "c")]
    inner_norms: Literal["none", "weighted", "weight_free"] = "none"
    if any(norms):
        inner_norms = "weighted"
    elif keys.flag("ssm.dt_b_c_rms"):
        inner_norms = "weight_free"
    return Mamba1(
        kind="mamba1",
        intermediate_size=keys.number("ssm.inner_size"),
        state_size=keys.number("ssm.state_size"),
        conv_kernel=keys.number("ssm.conv_kernel"),
        time_step_rank=keys.number("ssm.time_step_rank"),
        conv_bias=layer.has("ssm_conv1d.bias", "recurrent"),
        inner_norms=inner_norms,
    )


def _mamba2(layer: LayerTensors) -> Mamba2:
    keys = layer.keys
    for name in ("ssm_in.weight", "ssm_conv1d.weight", "ssm_dt.bias", "ssm_a", "ssm_d",
                 "ssm_out.weight"):  # fmt: skip
        layer.take(name, "recurrent")
    heads = keys.number("ssm.time_step_rank")
    return Mamba2(
        kind="mamba2",
        num_heads=heads,
        head_dim=_divide(keys, "ssm.inner_size", keys.number("ssm.inner_size"), heads),
        state_size=keys.number("ssm.state_size"),
        n_groups=keys.number("ssm.group_count"),
        conv_kernel=keys.number("ssm.conv_kernel"),
        conv_bias=layer.has("ssm_conv1d.bias", "recurrent"),
        gated_norm=layer.has("ssm_norm.weight", "recurrent"),
    )


def _divide(keys: Keys, key: str, whole: int, parts: int) -> int:
    if whole % parts:
        keys.wrong(key, f"{whole} cannot be divided among {parts} heads")
    return whole // parts


# ---------------------------------------------------------------- feed-forward layers


def feed_forward(layer: LayerTensors, experts_per_token: int) -> Any:
    """The feed-forward layer whose tensors the layer has, or None."""
    if "ffn_gate_inp.weight" in layer:
        return _experts(layer, experts_per_token)
    if "ffn_up.weight" not in layer:
        return None
    up = layer.take("ffn_up.weight", "ffn", 2)[0]
    width = layer.take("ffn_down.weight", "ffn", 2)[1]
    # Phi-3 and GLM-4 have gate and up in one matrix.
    gated = layer.has("ffn_gate.weight", "ffn") or up == 2 * width
    bias = layer.has("ffn_up.bias", "ffn")
    layer.maybe("ffn_gate.bias", "ffn")
    if layer.has("ffn_down.bias", "ffn") != bias:
        layer.keys.refuse(f"{layer.where}ffn_down.bias: only one of two projections has a bias")
    if gated:
        return GatedFeedForward(
            kind="gated", intermediate_size=width, bias=bias,
            sub_norm=layer.has("ffn_sub_norm.weight", "ffn"),
        )  # fmt: skip
    return DenseFeedForward(kind="dense", intermediate_size=width, bias=bias)


def _experts(layer: LayerTensors, per_token: int) -> MixtureOfExperts:
    keys = layer.keys
    layer.take("ffn_gate_inp.weight", "router", 2)
    router_bias: Literal["none", "parameter", "buffer"] = "none"
    if layer.has("ffn_gate_inp.bias", "router"):
        router_bias = "parameter"
    elif layer.has("exp_probs_b.bias", "router"):
        router_bias = "buffer"
    num_experts, _, width = layer.take("ffn_down_exps.weight", "experts", 3)
    expert_bias = layer.has("ffn_down_exps.bias", "experts")
    gated = False
    if layer.has("ffn_gate_up_exps.weight", "experts"):
        gated = True
        layer.maybe("ffn_gate_up_exps.bias", "experts")
    else:
        layer.take("ffn_up_exps.weight", "experts", 3)
        layer.maybe("ffn_up_exps.bias", "experts")
        gated = layer.has("ffn_gate_exps.weight", "experts")
        layer.maybe("ffn_gate_exps.bias", "experts")
    if not 1 <= per_token <= num_experts:
        keys.wrong("expert_used_count", f"a token cannot pass {per_token} of {num_experts} experts")
    latent = layer.maybe("ffn_latent_down.weight", "ffn")
    if latent is not None:
        layer.take("ffn_latent_up.weight", "ffn", 2)
    router_scale = layer.has("ffn_gate_inp.scale", "router")
    layer.maybe("ffn_down_exps.scale", "router")
    shared = layer.maybe("ffn_down_shexp.weight", "ffn")
    if shared is None and "ffn_down.weight" in layer:  # Gemma 4's dense layer beside the experts
        shared = layer.take("ffn_down.weight", "ffn", 2)
        layer.take("ffn_up.weight", "ffn", 2)
        layer.take("ffn_gate.weight", "ffn", 2)
    elif shared is not None:
        layer.take("ffn_up_shexp.weight", "ffn", 2)
        layer.maybe("ffn_gate_shexp.weight", "ffn")
    return MixtureOfExperts(
        kind="moe",
        num_experts=num_experts,
        num_experts_per_tok=per_token,
        moe_intermediate_size=width,
        expert="gated" if gated else "dense",
        expert_bias=expert_bias,
        router_bias=router_bias,
        router_scale=router_scale,
        shared_expert_intermediate_size=shared[-1] if shared else None,
        shared_expert_gate=layer.has("ffn_gate_inp_shexp.weight", "ffn"),
        latent_size=latent[0] if latent else None,
    )


# ---------------------------------------------------------------- norms


def norms(layer: LayerTensors, num_sublayers: int) -> tuple[int | None, bool | None]:
    """How many norms of hidden_size (None where it is one per sublayer), and whether with biases."""
    found = [name for name in _NORMS if layer.has(f"{name}.weight", "norm")]
    if layer.has("ffn_norm", "norm"):  # Falcon-H1's has no suffix
        found.append("ffn_norm")
    biased = {layer.has(f"{name}.bias", "norm") for name in found}
    if len(biased) > 1:
        layer.keys.refuse(f"{layer.where}: some of its norms have biases and some have none")
    count = len(found)
    return None if count == num_sublayers else count, next(iter(biased), None)
