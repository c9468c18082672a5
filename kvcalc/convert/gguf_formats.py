"""The formats of a GGUF file's tensors as rules of its spec. Names: llama.cpp src/llama-arch.cpp."""

from collections.abc import Iterable, Iterator, Mapping

from kvcalc.convert.assign import Group, Piece, Slot, slots_of, with_files_formats
from kvcalc.convert.gguf_layers import LayerTensors
from kvcalc.convert.stored import StoredTensor
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Component

# llama.cpp's names without .weight -> what the inventory may call what they hold; those that a place
# does not have are passed over.
_NAMES: dict[str, tuple[str, ...]] = {
    "attn_q": ("attention.q_proj",), "attn_k": ("attention.k_proj",),
    "attn_v": ("attention.v_proj",), "attn_output": ("attention.o_proj",),
    "attn_qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj", "recurrent.in_proj_qkv"),
    "attn_gate": ("recurrent.in_proj_z", "attention.g_proj"),
    "attn_q_norm": ("attention.q_norm",), "attn_k_norm": ("attention.k_norm",),
    "attn_sinks": ("attention.sinks",), "attn_q_a": ("attention.q_a_proj",),
    "attn_q_a_norm": ("attention.q_a_layernorm",), "attn_q_b": ("attention.q_b_proj",),
    "attn_kv_a_mqa": ("attention.kv_a_proj_with_mqa",),
    "attn_kv_a_norm": ("attention.kv_a_layernorm",), "attn_kv_b": ("attention.kv_b_proj",),
    "attn_k_b": ("attention.kv_b_proj",), "attn_v_b": ("attention.kv_b_proj",),
    "ffn_gate": ("ffn.gate_proj",), "ffn_down": ("ffn.down_proj",), "ffn_up": ("ffn.up_proj",),
    "ffn_sub_norm": ("ffn.ffn_sub_norm",), "ffn_gate_inp": ("ffn.router",),
    "exp_probs_b.bias": ("ffn.router.e_score_correction_bias",),
    "ffn_gate_exps": ("ffn.experts.gate_up_proj",), "ffn_gate_up_exps": ("ffn.experts.gate_up_proj",),
    "ffn_up_exps": ("ffn.experts.gate_up_proj", "ffn.experts.up_proj"),
    "ffn_down_exps": ("ffn.experts.down_proj",),
    "ffn_gate_exps.bias": ("ffn.experts.gate_up_proj_bias",),
    "ffn_gate_up_exps.bias": ("ffn.experts.gate_up_proj_bias",),
    "ffn_up_exps.bias": ("ffn.experts.gate_up_proj_bias", "ffn.experts.up_proj_bias"),
    "ffn_down_exps.bias": ("ffn.experts.down_proj_bias",),
    "ffn_gate_shexp": ("ffn.shared_expert.gate_proj",),
    "ffn_up_shexp": ("ffn.shared_expert.up_proj",),
    "ffn_down_shexp": ("ffn.shared_expert.down_proj",),
    "ffn_gate_inp_shexp": ("ffn.shared_expert_gate",),
    "ffn_latent_down": ("ffn.latent_down_proj",), "ffn_latent_up": ("ffn.latent_up_proj",),
    "ssm_in": ("recurrent.in_proj", "recurrent.in_proj_qkv", "recurrent.in_proj_z"),
    "ssm_ba": ("recurrent.in_proj_b", "recurrent.in_proj_a"), "ssm_alpha": ("recurrent.in_proj_a",),
    "ssm_beta": ("recurrent.in_proj_b",), "ssm_conv1d": ("recurrent.conv1d",),
    "ssm_dt": ("recurrent.dt_proj",), "ssm_dt.bias": ("recurrent.dt_proj.bias", "recurrent.dt_bias"),
    "ssm_a": ("recurrent.A_log",), "ssm_d": ("recurrent.D",), "ssm_norm": ("recurrent.norm",),
    "ssm_out": ("recurrent.out_proj",), "ssm_x": ("recurrent.x_proj",),
    "ssm_dt_norm": ("recurrent.dt_layernorm",), "ssm_b_norm": ("recurrent.b_layernorm",),
    "ssm_c_norm": ("recurrent.c_layernorm",), "shortconv.conv": ("recurrent.conv",),
    "shortconv.in_proj": ("recurrent.in_proj",), "shortconv.out_proj": ("recurrent.out_proj",),
    "inp_gate": ("per_layer_input_gate",), "proj": ("per_layer_projection",),
    "post_norm": ("post_per_layer_input_norm",), "altup_correct_coef": ("altup.correction_coefs",),
    "altup_correct_scale": ("altup.correct_output_scale",),
    "altup_predict_coef": ("altup.prediction_coefs",), "altup_router": ("altup.modality_router",),
    "altup_router_norm": ("altup.router_norm",), "laurel_l": ("laurel.linear_left",),
    "laurel_r": ("laurel.linear_right",), "laurel_post_norm": ("laurel.post_laurel_norm",),
    "token_embd": ("embedding",), "output": ("head",), "output_norm": ("final_norm",),
    "token_embd_norm": ("embedding_norm", "final_norm"), "position_embd": ("position_embedding",),
    "per_layer_token_embd": ("embed_tokens_per_layer",),
    "per_layer_model_proj": ("per_layer_model_projection",),
    "per_layer_proj_norm": ("per_layer_projection_norm",),
    "altup_proj": tuple(f"altup_projections.{copy}" for copy in range(8)),
    "altup_unembd_proj": tuple(f"altup_unembed_projections.{copy}" for copy in range(8)),
}  # fmt: skip


def with_gguf_formats(spec: ModelSpec, rest: LayerTensors, layers: list[LayerTensors]) -> ModelSpec:
    """The spec with the formats of a file's tensors: its bytes, tensor by tensor."""
    slots: dict[int | None, dict[str, Component]] = {}
    for (name, layer), tensor in slots_of(spec).items():
        slots.setdefault(layer, {})[name] = tensor.component
    places = [(None, rest), *enumerate(layers)]
    groups = [
        group
        for layer, place in places
        for group in _groups(layer, slots.get(layer, {}), place.taken, place.where)
    ]
    return with_files_formats(spec, groups, "f32")


def _groups(
    layer: int | None,
    slots: Mapping[str, Component],
    taken: Iterable[tuple[StoredTensor, Component]],
    where: str,
) -> Iterator[Group]:
    """What holds what in one place: by name, and what has no name of the table by its component."""
    fused = not any(tensor.name == f"{where}ffn_gate.weight" for tensor, _ in taken)
    holders: list[tuple[set[str], list[Piece]]] = []
    unnamed: dict[Component, list[Piece]] = {}
    for tensor, component in taken:
        piece = Piece(tensor.dtype, tensor.num_bytes)
        names = {name for name in _slots(tensor.name.removeprefix(where), fused) if name in slots}
        if not names:
            unnamed.setdefault(component, []).append(piece)
            continue
        pieces = [piece]
        for other in [held for held in holders if held[0] & names]:
            holders.remove(other)
            names |= other[0]
            pieces = [*other[1], *pieces]
        holders.append((names, pieces))
    named = {name for names, _ in holders for name in names}
    for component, pieces in unnamed.items():
        left = {name for name, own in slots.items() if own == component and name not in named}
        if not left:
            # Held with what the component has by name.
            own = next(held for held in holders if slots[next(iter(held[0]))] == component)
            own[1].extend(pieces)
            continue
        holders.append((left, pieces))
    for names, pieces in holders:
        ordered: list[Slot] = [(name, layer) for name in slots if name in names]
        yield Group(tuple(ordered), tuple(pieces))


def _slots(name: str, fused: bool) -> tuple[str, ...]:
    """What a tensor may hold; a bias of the table's names holds those matrices' biases.

    fused: no gate stands in a tensor of its own, so the one called up holds it, where there is one
    (phi3.cpp, glm4.cpp: ffn_up has twice the rows).
    """
    if name == "ffn_up.weight" and fused:
        return ("ffn.gate_proj", "ffn.up_proj")
    if name in _NAMES:
        return _NAMES[name]
    stem, _, suffix = name.rpartition(".")
    known = _NAMES.get(stem, ())
    return known if suffix == "weight" else tuple(f"{each}.{suffix}" for each in known)
