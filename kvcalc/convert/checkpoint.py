"""A checkpoint's tensors against the spec of its config: exact bytes, and every difference named.

Names of checkpoints are the libraries', and theirs differ; shapes do not. So each layer's tensors
are compared with the inventory as multisets of shapes (axes in any order), then by the elements of
each component, which settles what libraries fuse (Q with K and V, gate with up) or stack (experts).
What is left on either side is listed.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from kvcalc.convert.assign import Group, Piece, Slot, with_files_formats
from kvcalc.convert.config_file import from_file, read_json
from kvcalc.convert.imported import Imported
from kvcalc.convert.safetensors import LAYER, Checkpoint, hub_tensors, read_checkpoint
from kvcalc.convert.stored import StoredTensor, count_of, stored_weights
from kvcalc.convert.tower_files import (
    taken_with,
    tower_format,
    with_tower_format,
    without_towers,
)
from kvcalc.errors import KvcalcError, NotFoundError
from kvcalc.frozen import frozen
from kvcalc.memory.inventory import parameter_groups
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.tensor_formats import rule_name
from kvcalc.tensors import Component

# Where a tensor stands: ("decoder" or "encoder", layer), or ("", -1) beside the layers.
Place = tuple[str, int]
BESIDE: Place = ("", -1)

_TOWER = re.compile(
    r"(?:^|\.)(vision_tower|vision_model|vision_encoder|vision_embed_tokens|visual|vit|image_newline"
    r"|multi_modal_projector|mm_projector|embed_vision|img_processor|image_embed\w*|patch_embed\w*"
    r"|audio_tower|audio_model|audio_encoder|audio_projector|embed_audio|speech_\w+|aligner|mlp1"
    r"|talker|token2wav|code2wav|vqmodel|resampler|qformer|connector)(?:\.|$)"
)
_MTP = re.compile(r"(?:^|\.)(mtp|mtp_layers|nextn|mtp_block|multi_token_predictor)\w*(?:\.|$)")
# What quantised checkpoints keep beside a matrix: scales, zero points, permutations, states.
_SCALES = re.compile(
    r"\.(weight_scale\w*|weight_zero_point|weight_shape|weight_g_idx|weight_global_scale"
    r"|input_scale\w*|input_global_scale|output_scale|[kqv]_scale|scale_inv|scales|scale|qzeros|g_idx"
    r"|zeros|SCB|weight_format|absmax|nested_absmax|quant_map|nested_quant_map|\w*_proj_scales"
    r"|quant_state\.\w+|activation_scale\w*)$"
)
# What libraries compute, and old checkpoints saved with the weights.
_COMPUTED = re.compile(
    r"(rotary_emb\.\w*inv_freq|rotary_pos_emb\.inv_freq|inv_freq|masked_bias|position_ids"
    r"|attn\.bias|attention\.bias|embed_positions\.weights|num_batches_tracked|alibi"
    r"|final_logits_bias|slope_rate|(query|key|diagonal)_decay|act_fn\.(beta|eps))$"
)
_TABLE = re.compile(r"(lm_head|embed_out|embed_tokens|shared|output|wte|word_embeddings)\.weight$")

# Segments of a name -> what the tensor belongs to, the first that fits.
_ROUTERS = {"gate", "router", "wg", "gate_weight", "e_score_correction_bias"}
_ATTENTION = {"self_attn", "attn", "attention", "self_attention", "cross_attn", "encoder_attn",
              "SelfAttention", "EncDecAttention", "crossattention", "mha", "indexer",
              "q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "relative_attention_bias"}  # fmt: skip
_RECURRENT = {"mamba", "linear_attn", "ssm", "conv", "short_conv", "time_mixer", "temporal_block",
              "recurrent_block", "mixer"}  # fmt: skip
_FFN = {"mlp", "ffn", "feed_forward", "feedforward", "block_sparse_moe", "moe", "DenseReluDense",
        "fc1", "fc2", "intermediate", "up_proj", "down_proj", "gate_proj", "gate_up_proj",
        "shared_mlp", "shared_expert", "shared_experts", "shared_expert_gate", "channel_mixer",
        "input_linear", "output_linear"}  # fmt: skip
_HEADS = {"lm_head", "embed_out", "output", "classifier", "score", "cls", "pooler", "qa_outputs",
          "final_logits_bias"}  # fmt: skip
_TABLES = {"embed_tokens", "wte", "wpe", "word_embeddings", "embeddings", "tok_embeddings",
           "embed_positions", "shared", "embed_in", "embedding", "embed", "token_type_embeddings",
           "position_embeddings", "embed_tokens_per_layer", "embed_layer_norm"}  # fmt: skip


# ---------------------------------------------------------------- entry points


def load_safetensors(path: Path) -> Imported:
    """The model of a safetensors file (a shard, an index), told by the config.json beside it."""
    checkpoint = read_checkpoint(path)
    assert checkpoint is not None
    config = path.parent / "config.json"
    if not config.exists():
        tensors = checkpoint.tensors
        raise NotFoundError(
            f"{path} holds {count_of(tensors)} tensors of "
            f"{sum(tensor.num_bytes for tensor in tensors):,} bytes, and no config.json stands beside "
            f"it: a header does not say which architecture it is of, nor how many heads"
        )
    return attach(from_file(config, stored=True), checkpoint, packed_bits(config))


def load_folder(folder: Path) -> Imported:
    """The model of a folder's config.json, with the bytes of the checkpoint that lies there."""
    config = folder / "config.json"
    checkpoint = read_checkpoint(folder)
    imported = from_file(config, stored=checkpoint is not None)
    return imported if checkpoint is None else attach(imported, checkpoint, packed_bits(config))


def attach_hub(
    imported: Imported, repo_id: str, revision: str, config: Path, hub: Any
) -> tuple[Imported, tuple[str, ...]]:
    """The model of a hub repository's config with the bytes that its tensors' headers state.

    config: where its config.json lies, in the hub's cache, perhaps with the tensors beside it.
    hub: the module huggingface_hub, which asks for headers by range; None where it must not.
    The second answer says why there are no bytes, where that is worth saying.
    """
    bits = packed_bits(config)
    try:
        beside = read_checkpoint(config.parent)
    except KvcalcError:
        beside = None  # A download of some shards only.
    if beside is not None:
        return attach(imported, beside, bits), ()
    if hub is None:
        return imported, ()
    try:
        found = hub_tensors(hub, repo_id, revision)
    except Exception as error:
        # huggingface_hub's own errors share no base class with those of its HTTP libraries.
        why = f"the headers of {repo_id} were not read ({type(error).__name__})"
        return imported, (f"{why}: weights by the config and --dtype",)
    return attach(imported, found, bits), ()


def packed_bits(config: Path) -> int:
    """Bits of the elements that int32 words hold: GPTQ's, AWQ's and compressed-tensors' statement."""
    quantization = read_json(config).get("quantization_config")
    found: Any = None
    if isinstance(quantization, dict):
        found = quantization.get("bits", quantization.get("w_bit"))
        groups = quantization.get("config_groups")
        for group in groups.values() if isinstance(groups, dict) else ():
            weights = group.get("weights") if isinstance(group, dict) else None
            if found is None and isinstance(weights, dict):
                found = weights.get("num_bits")
    return found if isinstance(found, int) and found in (2, 3, 4, 8) else 4


def attach(imported: Imported, checkpoint: Checkpoint, bits: int = 4) -> Imported:
    """Count the checkpoint's bytes and list what it has more or less than the spec.

    bits: of the elements that int32 words hold.
    """
    spec = imported.spec
    if spec.draft is not None:
        from kvcalc.convert.draft_files import attach_draft

        return attach_draft(imported, checkpoint)
    sorted_out = _sort_out(spec, checkpoint.tensors)
    matched = _match(spec, sorted_out, bits)
    beside = dict(sorted_out.beside)
    tables = {item.axes for item in matched.tables}
    for item in matched.only_stored:
        copy = _TABLE.search(item.tensor.name) and item.axes in tables
        what = "copies of the token table" if copy else f"not in the config: {item.what}"
        beside.setdefault(what, []).append(item.tensor)
    taken = [(item.tensor, item.component) for item in matched.model]
    taken += [(tensor, component_of(tensor.name)) for tensor in sorted_out.scales]
    notes = list(imported.assumptions)
    tower_word = tower_format(spec, beside)
    if tower_word:
        taken += taken_with(beside)
    elif spec.towers:
        spec, said = without_towers(spec, beside)
        notes.append(said)
    counted = {f"{what} ({_tensors(count_of(found))})": found for what, found in beside.items()}
    weights = stored_weights(checkpoint.path, taken, counted)
    if checkpoint.present_bytes < checkpoint.total_bytes:
        notes.append(
            f"{checkpoint.path} holds {checkpoint.present_bytes:,} of {checkpoint.total_bytes:,} "
            f"bytes: its headers are whole, its tensors are not"
        )
    if sorted_out.scales:
        held = sum(tensor.num_bytes for tensor in sorted_out.scales)
        notes.append(
            f"{_tensors(count_of(sorted_out.scales))} with scales and zero points of quantised matrices "
            f"({held:,} bytes) counted with the weights"
        )
    missing: dict[str, list[_Item]] = {}
    for own in matched.only_own:
        missing.setdefault(own.what, []).append(own)
    notes += [
        f"missing in {checkpoint.path}: {what} ({_tensors(len(items))}, {_elements(items):,} parameters)"
        for what, items in missing.items()
    ]
    held_by = f"{Path(checkpoint.path).name}: {weights.bytes:,} bytes of weights"
    cited = replace(spec, notes=(*spec.notes, f"{held_by} ({weights.describe()})"))
    default = str(spec.weight_dtypes.get("default", "bf16"))
    cited = with_files_formats(cited, _groups(matched, sorted_out.scales), default, hints=True)
    if tower_word:
        cited = with_tower_format(cited, tower_word, default)
    return replace(imported, spec=cited, assumptions=tuple(notes), weights=weights)


def _tensors(count: int) -> str:
    return f"{count} tensor{'s' if count != 1 else ''}"


# ---------------------------------------------------------------- what is what


@frozen
class _SortedOut:
    """The tensors of a checkpoint: the model's with their places, scales, and what is neither."""

    model: list[tuple[Place, StoredTensor]]
    scales: list[StoredTensor]
    beside: dict[str, list[StoredTensor]]


def _sort_out(spec: ModelSpec, tensors: tuple[StoredTensor, ...]) -> _SortedOut:
    result = _SortedOut([], [], {})
    num_layers = _num_layers(spec)
    names = {(tensor.layer, tensor.name) for tensor in tensors}
    for tensor in tensors:
        name = tensor.name
        tower, is_mtp, is_computed, is_scale = _told_by(name)
        stack, layer = _place(spec, tensor)
        if tower is not None and not (tower == "mlp1" and layer >= 0):
            result.beside.setdefault(_tower(tower), []).append(tensor)
        elif is_mtp or layer >= num_layers[stack]:
            result.beside.setdefault("multi-token-prediction layers", []).append(tensor)
        elif is_computed and not (name.endswith(".bias") and len(tensor.shape) < 2):
            # A causal mask saved as attn.bias has two axes of tokens; a bias has one axis.
            result.beside.setdefault("buffers that libraries compute", []).append(tensor)
        elif _is_scale(tensor, names, is_scale):
            result.scales.append(tensor)
        else:
            result.model.append(((stack, layer), tensor))
    return result


@lru_cache(4096)
def _told_by(words: str) -> tuple[str | None, bool, bool, bool]:
    """What a name's pattern tells: its tower, whether it is an extra layer's, computed, a scale."""
    tower = _TOWER.search(words)
    mtp, computed, scale = (bool(each.search(words)) for each in (_MTP, _COMPUTED, _SCALES))
    return tower and tower[1], mtp, computed, scale


def _is_scale(tensor: StoredTensor, names: set[tuple[int, str]], is_scale: bool) -> bool:
    """Whether a tensor belongs to a quantised matrix; a lone ``scale`` is a weight like others."""
    if tensor.name.endswith(".scale"):
        return (tensor.layer, f"{tensor.name.removesuffix('.scale')}.weight") in names
    return is_scale


def _tower(segment: str) -> str:
    if re.search(r"audio|speech|talker|wav", segment):
        return "audio parts"
    return "vision parts"


def _num_layers(spec: ModelSpec) -> dict[str, int]:
    from kvcalc.spec.layers import decoder_layers, encoder_layers

    return {
        "": 1,
        "decoder": len(decoder_layers(spec)),
        "encoder": len(encoder_layers(spec)),
    }


def _place(spec: ModelSpec, tensor: StoredTensor) -> Place:
    if tensor.layer < 0:
        return BESIDE
    before = tensor.name[: LAYER.search(tensor.name).start() + 1]  # type: ignore[union-attr]
    encoder = spec.encoder is not None and re.search(r"(?:^|\.)encoder\.", before)
    return "encoder" if encoder else "decoder", tensor.layer


@lru_cache(4096)
def component_of(name: str) -> Component:
    """What a tensor belongs to, by the words that libraries put into its name, or its pattern."""
    segments = name.split(".")
    words = set(segments)
    if "experts" in words or any(word.endswith("_experts") for word in words - _FFN):
        return "experts"
    if words & {"shared_expert", "shared_experts", "shared_expert_gate"}:
        return "ffn"
    if words & _ROUTERS or (words & {"moe", "block_sparse_moe"} and "layer" in words):
        return "router"
    if words & _RECURRENT and not words & {"q_proj", "k_proj", "v_proj", "o_proj", "up_proj",
                                           "down_proj"}:  # fmt: skip
        return "recurrent"
    leaf = next((word for word in reversed(segments) if word not in ("weight", "bias")), "")
    if "norm" in leaf.lower() or leaf.startswith("ln_") or leaf == "ln_f":
        return "attention" if words & _ATTENTION - {"attention"} else "norm"
    for known, component in _COMPONENTS:
        if words & known:
            return component
    return "other"


_COMPONENTS: tuple[tuple[set[str], Component], ...] = (
    (_ATTENTION, "attention"),
    (_FFN, "ffn"),
    (_TABLES, "embedding"),
    (_HEADS, "head"),
)


# ---------------------------------------------------------------- differences


class _Item(NamedTuple):
    """A tensor of either side: its axes in order of size without those of one; its elements.

    what: its name without numbers. elements: of one. tensor: the stored one, or as many as are alike;
    the inventory's have none.
    slot: the inventory's tensor as rules call it; a stored one has none.
    """

    what: str
    component: Component
    axes: tuple[int, ...]
    elements: int
    tensor: StoredTensor
    buffer: bool = False
    slot: Slot = ("", None)


# Tensors of the inventory, and those of the files that hold them together.
_Pair = tuple[list[_Item], list[_Item]]


@frozen
class _Matched:
    """Stored tensors with the inventory's components, and what only one side has.

    tables: the inventory's token tables and heads. pairs: what holds what.
    """

    model: list[_Item]
    pairs: list[_Pair]
    only_stored: list[_Item]
    only_own: list[_Item]
    tables: list[_Item]


_NOTHING = StoredTensor("", (), "", 0)


def _match(spec: ModelSpec, found: _SortedOut, bits: int) -> _Matched:
    """Match place by place, then what is left of all places (a table that stands in a layer)."""
    ours = _inventory(spec)
    theirs: dict[Place, list[_Item]] = {}
    for place, tensor in found.model:
        theirs.setdefault(place, []).append(_stored_item(tensor, bits, bool(found.scales)))
    pairs: list[_Pair] = []
    only_own: list[_Item] = []
    only_stored: list[_Item] = []
    for place in sorted({*ours, *theirs}):
        own, stored = _residue(ours.get(place, []), theirs.get(place, []), pairs)
        only_own += own
        only_stored += stored
    only_own, only_stored = _residue(only_own, only_stored, pairs)
    model = [item for _, held in pairs for item in held]
    tables = [item for item in ours[BESIDE] if item.component in ("embedding", "head")]
    return _Matched(
        model, pairs, only_stored, [item for item in only_own if not item.buffer], tables
    )


def _inventory(spec: ModelSpec) -> dict[Place, list[_Item]]:
    result: dict[Place, list[_Item]] = {BESIDE: []}
    for group in parameter_groups(spec):
        stack = "encoder" if group.prefix.startswith("encoder.") else "decoder"
        places = [(stack, index) for index in group.layers] or [BESIDE]
        for tensor in group.tensors:
            rule = rule_name(group.prefix + tensor.name)
            for place in places:
                layer = place[1] if group.layers else None
                result.setdefault(place, []).append(_Item(
                    group.prefix.replace("{}", "N") + tensor.name, tensor.component,
                    _axes(tensor.shape), tensor.numel, _NOTHING, tensor.buffer, (rule, layer),
                ))  # fmt: skip
    return result


def _stored_item(tensor: StoredTensor, bits: int, quantised: bool) -> _Item:
    """A stored tensor with the elements that it stands for, packed or not."""
    name, factor = tensor.name, 1
    if tensor.dtype in ("I32", "U32") and re.search(r"\.(qweight|weight_packed)$", name):
        factor = 32 // bits
    elif tensor.dtype in ("U8", "I8") and (
        re.search(r"(_blocks|\.weight_packed)$", name)
        or (tensor.dtype == "U8" and quantised and name.endswith(".weight"))
    ):
        factor = 2
    elements = prod(tensor.shape) * factor
    axes = _axes(tensor.shape) if factor == 1 else (elements,)
    return _Item(name, component_of(name), axes, elements, tensor)


def _axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(size for size in shape if size != 1))


def _residue(
    ours: list[_Item], theirs: list[_Item], pairs: list[_Pair]
) -> tuple[list[_Item], list[_Item]]:
    """What remains of each side when equal tensors, then equal sums, are taken away.

    pairs: receives what was matched, the stored tensors with the inventory's components.
    """
    for by_component in (True, False):
        ours, theirs = _equal_axes(ours, theirs, pairs, by_component)
    for component in sorted({item.component for item in theirs}):
        own = [item for item in ours if item.component == component]
        stored = [item for item in theirs if item.component == component]
        if own and _elements(own) == _elements(stored):
            pairs.append((own, stored))
            ours = [item for item in ours if item.component != component]
            theirs = [item for item in theirs if item.component != component]
    if ours and theirs and _elements(ours) == _elements(theirs):
        pairs.append((ours, theirs))
        return [], []
    return ours, theirs


def _equal_axes(
    ours: list[_Item], theirs: list[_Item], pairs: list[_Pair], by_component: bool
) -> tuple[list[_Item], list[_Item]]:
    """Take away tensors that have the same axes, and the same component if that is asked.

    Of several that fit, one of the same last name comes first.
    """
    waiting: dict[tuple[Any, ...], list[_Item]] = {}
    for item in ours:
        waiting.setdefault((item.axes, by_component and item.component), []).append(item)
    left = []
    for item in theirs:
        twins = waiting.get((item.axes, by_component and item.component), [])
        words = item.what.split(".") if twins else []
        fit = min(len(twins), item.tensor.number)
        for _ in range(fit):
            twin = next((each for each in twins if _leaf(each.what) in words), twins[-1])
            twins.remove(twin)
            one = item._replace(component=twin.component, tensor=item.tensor.part(1))
            pairs.append(([twin], [one]))
        if fit < item.tensor.number:
            left.append(item._replace(tensor=item.tensor.part(item.tensor.number - fit)))
    return [item for items in waiting.values() for item in items], left


def _leaf(what: str) -> str:
    """The module's own name: q_proj of layers.N.attention.q_proj.weight."""
    return what.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]


def _elements(items: list[_Item]) -> int:
    return sum(item.elements * item.tensor.number for item in items)


# ---------------------------------------------------------------- formats

# Safetensors' words for formats of plain numbers -> kvcalc's.
_WORDS = {"F64": "f64", "F32": "fp32", "BF16": "bf16", "F16": "fp16", "F8_E4M3": "fp8",
          "F8_E5M2": "fp8", "I8": "int8", "U8": "int8", "I16": "i16", "I32": "i32",
          "I64": "i64"}  # fmt: skip
_PACKED = re.compile(r"\.(weight|qweight|weight_packed|weight_blocks|W_q)$|_blocks$|_packed$")


def _groups(matched: _Matched, scales: list[StoredTensor]) -> Iterator[Group]:
    """What holds what, each matrix with its scales; scales of nothing go with their component."""
    held: dict[tuple[int, str], int] = {}
    for index, (_, stored) in enumerate(matched.pairs):
        for item in stored:
            held[item.tensor.layer, _PACKED.sub("", item.tensor.name)] = index
    extra: dict[int, int] = {}
    for scale in scales:
        layer, whole = scale.layer, _SCALES.sub("", scale.name)
        stem = whole
        while stem and (layer, stem) not in held:
            stem = stem.rpartition(".")[0]
        where = held.get((layer, stem), held.get((layer, whole.removesuffix("_proj"))))
        if where is None:
            component = component_of(scale.name)
            near = (i for i, (own, _) in enumerate(matched.pairs) if own[0].component == component)
            where = next(near, 0)
        extra[where] = extra.get(where, 0) + scale.num_bytes
    for index, (own, stored) in enumerate(matched.pairs):
        more = extra.get(index, 0)
        words = {_WORDS.get(item.tensor.dtype, "") for item in stored}
        total = sum(item.tensor.num_bytes for item in stored) + more
        word = words.pop() if len(words) == 1 and not more else ""
        yield Group(tuple(item.slot for item in own), (Piece(word, total),))
