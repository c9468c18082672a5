"""Configs of models that draft tokens for another: EAGLE, EAGLE-3, DFlash and its heirs, Gemma 4's
assistants, Medusa, MLP.

``architectures`` says which (its first name), or ``speculators_model_type`` in the format of vLLM's
speculators, or a ``model_type`` of its own (eagle, gemma4_assistant, medusa, mlp_speculator). What the
layers are follows the draft's class, whatever ``model_type`` the config has: LlamaForCausalLMEagle3 of a
phi3 config has Llama's projections.

Sources: SafeAILab/EAGLE; vLLM 0.33, model_executor/models/registry.py (_SPECULATIVE_DECODING_MODELS) and
transformers_utils/configs/{eagle,speculators}; sgl-project/SpecForge, specforge/modeling/draft; speculators
0.9; vLLM to 0.32, models/medusa.py and mlp_speculator.py.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from kvcalc.convert.config import Config, reader, short
from kvcalc.convert.draft_names import first_class
from kvcalc.convert.parts import gated, mla, softmax, stack
from kvcalc.errors import Problem, UnsupportedError
from kvcalc.spec.model import Block, ModelSpec
from kvcalc.stack.drafts.dflash import DFlashDraft
from kvcalc.stack.drafts.dflash2 import DFlash2Draft
from kvcalc.stack.drafts.domino import DominoDraft
from kvcalc.stack.drafts.dspark import DSparkDraft
from kvcalc.stack.drafts.eagle import EagleDraft
from kvcalc.stack.drafts.eagle3 import Eagle3Draft
from kvcalc.stack.drafts.gemma4_assistant import Gemma4AssistantDraft
from kvcalc.stack.drafts.medusa import MedusaDraft
from kvcalc.stack.drafts.mlp_speculator import MlpSpeculatorDraft

if TYPE_CHECKING:
    from kvcalc.stack.drafts import Drafter

# architectures -> (kind, whose layers). Names of other classes are refused.
_CLASSES: tuple[tuple[str, str, str], ...] = (
    (r"LlamaForCausalLMEagle3|Eagle3LlamaForCausalLM|Eagle3MiniMaxM2ForCausalLM"
     r"|Eagle3Qwen2_5vlForCausalLM|Eagle3Qwen3vlForCausalLM", "eagle3", "llama"),
    (r"Eagle3Qwen3ForCausalLM", "eagle3", "qwen3"),
    (r"Eagle3Deepseek(V2|V3)ForCausalLM", "eagle3", "deepseek_v3"),
    (r"PEagleDraftModel|PeagleLlamaForCausalLM", "peagle", "llama"),
    (r"PeagleQwen3ForCausalLM", "peagle", "qwen3"),
    (r"EagleLlamaForCausalLM|LlamaForCausalLMEagle", "eagle", "llama"),
    (r"EagleQwen2ForCausalLM|Qwen2ForCausalLMEagle", "eagle", "qwen2"),
    (r"DFlashDraftModel|DFlashQwen3ForCausalLM", "dflash", "qwen3"),
    (r"DFlash2DraftModel", "dflash2", "qwen3"),
    (r"DSparkDraftModel|Qwen3DSparkModel", "dspark", "qwen3"),
    (r"DominoDraftModel", "domino", "qwen3"),
    (r"Medusa\w*", "medusa", ""),
    (r"MLPSpeculator\w*", "mlp_speculator", ""),
)  # fmt: skip
_SPECULATORS = ("eagle3", "peagle", "dflash", "dflash2", "dspark")
# What trains or steers a draft, and changes no tensor of it.
_STEERING = (
    "norm_before_residual", "norm_output", "target_model_type", "num_target_layers", "block_size",
    "layer_types", "max_window_layers", "use_sliding_window", "sliding_window", "tie_word_embeddings",
    "num_lookahead_tokens", "parallel_drafting", "pard_token", "mask_token_id", "is_neox_style",
    "eagle_aux_hidden_state_layer_ids", "max_position_embeddings", "has_no_defaults_at_init",
    "sample_from_anchor", "dspark_bonus_anchor", "ptd_token_id",
    # Copied from the model's own config: none of the classes reads them.
    "decoder_sparse_step", "mlp_only_layers", "num_experts", "num_experts_per_tok",
    "moe_intermediate_size", "shared_expert_intermediate_size", "full_attention_interval",
    "linear_conv_kernel_dim", "linear_key_head_dim", "linear_num_key_heads",
    "linear_num_value_heads", "linear_value_head_dim", "attn_output_gate", "mamba_ssm_dtype",
)  # fmt: skip


def draft_spec(values: Mapping[str, Any], path: str, assumptions: list[str]) -> ModelSpec:
    """The spec of a draft. Raises SpecError for a file that is wrong and UnsupportedError for a draft
    that is not accounted for; both name the field."""
    if str(values.get("model_type")).endswith("_assistant"):
        return _assistant(values, path, assumptions)
    values, kind, layers, stored = _unfolded(values, path)
    if kind == "medusa":
        return _medusa(_own(values, "medusa", path, assumptions))
    if kind == "mlp_speculator":
        return _mlp(_own(values, "mlp_speculator", path, assumptions))
    c = reader(values, layers, path=path, assumptions=assumptions)
    spec = _READERS[kind](c, layers, stored)
    c.skip(*_STEERING, "draft_vocab_size", "target_hidden_size", "truncated_vocab_size", "method")
    c.finish()
    where = (
        "its own" if spec.draft is not None and spec.draft.embedding == "own" else "the target's"
    )
    assumptions.append(f"the draft's token table is {where}, as files of this kind have it")
    return spec


def _unfolded(values: Mapping[str, Any], path: str) -> tuple[Mapping[str, Any], str, str, bool]:
    """(the keys of one level, the kind, whose layers, whether it is in speculators' format)."""
    algorithm = values.get("speculators_model_type")
    if algorithm is not None:
        if algorithm not in _SPECULATORS:
            _refuse(path, "speculators_model_type", algorithm)
        inner = values.get("transformer_layer_config")
        if not isinstance(inner, dict):
            _refuse(
                path, "transformer_layer_config", inner, "expected an object: it has the layers"
            )
        own = inner.get("model_type", "qwen3")
        if own not in ("llama", "qwen3"):
            _refuse(path, "transformer_layer_config.model_type", own)
        outer = {name: value for name, value in values.items() if name not in _SPECULATORS_OWN}
        layers = "qwen3" if algorithm in ("dflash", "dflash2", "dspark") else own
        filled = _SPECULATORS_DEFAULTS[algorithm]
        return {**filled, **inner, **outer, "model_type": layers}, algorithm, layers, True
    if values.get("model_type") == "eagle" and isinstance(values.get("model"), dict):
        # vLLM's EAGLEConfig: the layers' own config inside.
        inner = dict(values["model"])
        names = values.get("architectures") or [
            f"Eagle{name}" for name in inner.get("architectures") or ["LlamaForCausalLM"]
        ]
        outer = {name: value for name, value in values.items() if name != "model"}
        values = {**inner, **outer, "architectures": names}
    if values.get("model_type") in ("medusa", "mlp_speculator"):
        return values, values["model_type"], "", False
    name = first_class(values.get("architectures")) or ""
    for pattern, kind, layers in _CLASSES:
        if re.fullmatch(pattern, name):
            return {**values, "model_type": layers}, kind, layers, False
    _refuse(path, "architectures", name)


# What the configuration classes of speculators 0.9 have where a file says nothing.
_SPECULATORS_DEFAULTS: dict[str, dict[str, Any]] = {
    "eagle3": {"draft_vocab_size": 32000}, "peagle": {"draft_vocab_size": 32000},
    "dflash": {"draft_vocab_size": 32000},
    "dflash2": {"conv_kernel_size": 2, "conv_group_size": 16, "selector_rank": 256},
    "dspark": {"draft_vocab_size": 32000, "markov_rank": 256, "enable_confidence_head": True,
               "confidence_head_with_markov": True},
}  # fmt: skip
_SPECULATORS_OWN = frozenset((
    "transformer_layer_config", "speculators_config", "speculators_model_type", "architectures",
    "speculators_version", "embed_requires_grad", "auto_map", "transformers_version", "dtype",
    "torch_dtype",
    "sliding_window_non_causal", "attn_mode", "loss_config",
))  # fmt: skip


def _refuse(path: str, field: str, value: Any, why: str = "") -> NoReturn:
    """Raise UnsupportedError for a draft that is not accounted for."""
    reason = why or (
        "a model that drafts tokens for another, whose tensors are not accounted for; those of EAGLE, "
        "EAGLE-3, DFlash and DFlash2, DSpark, Domino, Gemma 4's assistants, Medusa and MLP speculators are"
    )
    problem = Problem("KV106", path, 0, 0, field, reason)
    raise UnsupportedError(f"{path}: {field} = {short(value)}: {reason}", (problem,))


def _spec(c: Config, blocks: list[Block], draft: "Drafter", final_norm: bool = True) -> ModelSpec:
    labels = [
        ("next" if index else "first", "local" if block.sliding_window else "global")
        for index, block in enumerate(blocks)
    ]
    if len({block.norms for block in blocks}) == 1:
        labels = [("", kind) for _, kind in labels]
    made, groups = stack(list(zip(labels, blocks, strict=True)), "draft") if blocks else ({}, ())
    return ModelSpec(
        name="", source=("",), model_type=None, hidden_size=c.hidden_size,
        vocab_size=c.number("vocab_size"), head="none", final_norm=final_norm,
        max_position_embeddings=c.maybe("max_position_embeddings", None), blocks=made, layers=groups,
        draft=draft,
    )  # fmt: skip


def _windows(c: Config) -> list[int | None]:
    """The window of each layer, by ``layer_types``; none where the config has no list."""
    types = c.words("layer_types", c.num_layers, None)
    c.skip("sliding_window", "use_sliding_window", "max_window_layers")
    for word in types or ():
        if word not in ("full_attention", "sliding_attention"):
            c.refuse("layer_types", f"layers of type '{word}' are not accounted for here")
    if types is None or "sliding_attention" not in types:
        return [None] * c.num_layers
    window = c.maybe("sliding_window", None)
    if window is None:
        c.wrong("sliding_window", "layer_types has sliding layers, and there is no window")
    return [window if word == "sliding_attention" else None for word in types]


# ---------------------------------------------------------------- EAGLE


def _attention(c: Config, layers: str, width: int | None, window: int | None) -> Any:
    """One layer's attention. width: what q, k and v read, where it is not hidden_size."""
    if layers == "deepseek_v3":
        # Its layers are dense, whatever experts the model's own config counts.
        c.skip("num_key_value_heads", "n_routed_experts", "n_shared_experts", "first_k_dense_replace",
               "n_group", "topk_group", "routed_scaling_factor", "scoring_func", "topk_method",
               "norm_topk_prob", "moe_layer_freq", "ep_size", "num_nextn_predict_layers")  # fmt: skip
        return mla(c, attention_hidden_size=width)
    norm: Literal["none", "per_head"] = "per_head" if layers == "qwen3" else "none"
    bias: Any = ("q", "k", "v") if layers == "qwen2" else c.flag("attention_bias", False)
    return softmax(c, bias=bias, qk_norm=norm, attention_hidden_size=width, sliding_window=window)


def _eagle(c: Config, layers: str, stored: bool) -> ModelSpec:
    first = Block(attention=_attention(c, layers, None, None), ffn=gated(c), norms=1)
    blocks = [first] + [replace(first, norms=2)] * (c.num_layers - 1)
    # SafeAILab's class takes "bias", true where the file says nothing; vLLM and SGLang build none.
    bias = c.flag("bias", False)
    return _spec(c, blocks, EagleDraft(kind="eagle", fc_bias=bias), final_norm=False)


def _eagle3(c: Config, layers: str, stored: bool) -> ModelSpec:
    return _of_eagle3(c, layers, stored, mask=False)


def _peagle(c: Config, layers: str, stored: bool) -> ModelSpec:
    return _of_eagle3(c, layers, stored, mask=True)


def _of_eagle3(c: Config, layers: str, stored: bool, mask: bool) -> ModelSpec:
    width, windows = 2 * c.hidden_size, _windows(c)
    # vLLM's class of DeepSeek's drafts has the third norm in every layer.
    later = 3 if layers == "deepseek_v3" else 2
    blocks = [
        Block(attention=_attention(c, layers, None if index else width, window), ffn=gated(c),
              norms=later if index else 3)
        for index, window in enumerate(windows)
    ]  # fmt: skip
    inside = c.table("eagle_config")
    ids = _target_layers(c, "eagle_config", ("eagle_aux_hidden_state_layer_ids",))
    count: int | None = c.maybe("num_aux_hidden_states", None) or len(ids or (0, 0, 0))
    if inside.get("use_aux_hidden_state") is False:
        count = None
    return _spec(c, blocks, Eagle3Draft(
        kind="eagle3", num_aux_hidden_states=count,
        target_hidden_size=c.maybe("target_hidden_size", None),
        draft_vocab_size=c.maybe("draft_vocab_size", None),
        embedding="own" if stored else "target",
        norm_before_fc=bool(inside.get("norm_before_fc")) or c.flag("norm_before_fc", False),
        fc_norm=c.flag("fc_norm", False), mask_hidden=mask,
    ))  # fmt: skip


# ---------------------------------------------------------------- blocks of tokens at once


def _dflash_layers(c: Config) -> tuple[list[Block], int]:
    """The layers, and of how many of the model's layers the draft reads the hidden states."""
    inside = c.table("dflash_config")
    windows = _windows(c)
    if inside.get("use_swa") and not any(windows):
        window = inside.get("swa_window_size") or c.maybe("sliding_window", None)
        if not isinstance(window, int) or isinstance(window, bool):
            c.wrong("dflash_config.swa_window_size", "use_swa is on, and there is no window")
        windows = [window] * c.num_layers
    elif any(windows) and isinstance(own := inside.get("swa_window_size"), int):
        windows = [own if window else None for window in windows]
    sinks = bool(inside.get("attention_sink_bias") or c.flag("add_swa_attention_sink_bias", False))
    bias = c.flag("attention_bias", False)
    blocks = [
        Block(attention=softmax(c, bias=bias, qk_norm="per_head", sliding_window=window, sinks=sinks),
              ffn=gated(c))
        for window in windows
    ]  # fmt: skip
    c.maybe("block_size", None)
    ids = _target_layers(c, "dflash_config", (
        "aux_hidden_state_layer_ids", "target_layer_ids", "eagle_aux_hidden_state_layer_ids",
    ))  # fmt: skip
    return blocks, len(ids) if ids else c.num_layers


def _target_layers(c: Config, table: str, keys: Sequence[str]) -> list[int] | None:
    """Whose hidden states the draft reads: layers of the model that it drafts for, of which the file may
    say how many there are (hidden states are one more: the embedding's). None where it does not say."""
    inside, layers = c.table(table), c.maybe("num_target_layers", None)
    said: dict[str, Any] = {}
    for key in keys:
        for name, ids in ((f"{table}.{key}", inside.get(key)), (key, c.listed(key, None, None))):
            if ids is None or ids == []:
                continue
            if not isinstance(ids, list) or not all(
                type(each) is int and each >= 0 for each in ids
            ):
                c.wrong(name, f"expected a list of layers, found {short(ids)}")
            if layers is not None and max(ids) > layers:
                c.wrong(name, f"layer {max(ids)} of a model of {layers} (num_target_layers)")
            said[name] = ids
    first = next(iter(said), None)
    for name, ids in said.items():
        if len(ids) != len(said[first or name]):
            c.wrong(name, f"{len(ids)} layers, and {first} has {len(said[first or name])}")
    return said[first] if first is not None else None


def _dflash(c: Config, layers: str, stored: bool) -> ModelSpec:
    blocks, count = _dflash_layers(c)
    projector = c.table("dflash_config").get("projector_type")
    if projector not in (None, "dflash"):
        c.refuse("dflash_config", f"a projector of type {short(projector)} has tensors of its own")
    return _spec(c, blocks, DFlashDraft(
        kind="dflash", num_target_states=count,
        target_hidden_size=c.maybe("target_hidden_size", None), draft_vocab_size=_fewer_tokens(c),
    ))  # fmt: skip


def _dflash2(c: Config, layers: str, stored: bool) -> ModelSpec:
    blocks, count = _dflash_layers(c)
    inside = c.table("dflash_config")
    c.skip(
        "selector_top_k", "input_embedding_scale", "final_logit_softcapping", "output_multiplier"
    )
    keys = ("conv_kernel_size", "conv_group_size", "selector_rank")
    c.skip(*keys)
    taps, group, rank = (
        c.whole(key, inside[key] if inside.get(key) is not None else c.maybe(key, None))
        for key in keys
    )
    if c.hidden_size % group:
        c.wrong("conv_group_size", f"{group} does not divide hidden_size {c.hidden_size}")
    if _fewer_tokens(c) is not None:
        c.refuse("draft_vocab_size", "a DFlash2 draft has all of the model's tokens")
    return _spec(c, blocks, DFlash2Draft(
        kind="dflash2", num_target_states=count, num_layers=c.num_layers, conv_kernel_size=taps,
        conv_group_size=group, selector_rank=rank, target_hidden_size=c.maybe("target_hidden_size", None),
    ))  # fmt: skip


def _dspark(c: Config, layers: str, stored: bool) -> ModelSpec:
    blocks, count = _dflash_layers(c)
    inside = c.table("dflash_config")

    def own(key: str, read: Callable[[str], Any], least: Any) -> Any:
        return inside[key] if inside.get(key) is not None else read(key) or least

    rank = own("markov_rank", lambda key: c.maybe(key, None), None)
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        c.wrong("markov_rank", f"a Markov head has a width, found {short(rank)}")
    head = own("markov_head_type", lambda key: c.word(key, None), "vanilla")
    if head not in ("vanilla", "gated", "rnn"):
        c.refuse("markov_head_type", "a Markov head is vanilla, gated or rnn")
    enabled = own("enable_confidence_head", lambda key: c.flag(key, False), False)
    with_markov = own("confidence_head_with_markov", lambda key: c.flag(key, False), False)
    return _spec(c, blocks, DSparkDraft(
        kind="dspark", num_target_states=count,
        target_hidden_size=c.maybe("target_hidden_size", None), draft_vocab_size=_fewer_tokens(c),
        markov_rank=rank, markov_head=head,
        confidence_head=("markov" if with_markov else "hidden") if enabled else "none",
    ))  # fmt: skip


def _domino(c: Config, layers: str, stored: bool) -> ModelSpec:
    blocks, count = _dflash_layers(c)
    inside = c.table("dflash_config")
    c.skip("gru_hidden_dim", "emb_dim")
    widths = [
        c.whole(f"dflash_config.{key}", inside.get(key)) for key in ("gru_hidden_dim", "emb_dim")
    ]
    return _spec(c, blocks, DominoDraft(
        kind="domino", num_target_states=count,
        target_hidden_size=c.maybe("target_hidden_size", None), gru_hidden_dim=widths[0], emb_dim=widths[1],
    ))  # fmt: skip


def _fewer_tokens(c: Config) -> int | None:
    """Rows of a head of the draft's own: only where it has fewer tokens than the model."""
    rows = c.maybe("draft_vocab_size", None)
    return None if rows is None or rows >= c.number("vocab_size") else rows


_READERS: dict[str, Callable[[Config, str, bool], ModelSpec]] = {
    "eagle": _eagle, "eagle3": _eagle3, "peagle": _peagle, "dflash": _dflash, "dflash2": _dflash2,
    "dspark": _dspark, "domino": _domino,
}  # fmt: skip

# ---------------------------------------------------------------- Gemma 4's assistants


def _assistant(values: Mapping[str, Any], path: str, assumptions: list[str]) -> ModelSpec:
    """Gemma 4's own layers, all of which read the keys and values of the model."""
    from kvcalc.convert.families.gemma import gemma4

    outer = _own(values, "gemma4_assistant", path, assumptions)
    inner = outer.table("text_config")
    if not inner:
        outer.wrong("text_config", "expected an object: it has the layers")
    kind = str(values["model_type"]).replace("assistant", "text")
    c = reader({**inner, "model_type": kind, "num_kv_shared_layers": 0}, kind, path=path,
               assumptions=assumptions)  # fmt: skip
    for field in ("hidden_size_per_layer_input", "enable_moe_block", "use_double_wide_mlp"):
        if inner.get(field):
            c.refuse(field, "an assistant has dense layers alone, all of one width")
    if not outer.flag("tie_word_embeddings", True):
        outer.refuse("tie_word_embeddings", "an assistant's table is its head")
    spec = gemma4(c)
    c.finish()
    outer.skip("text_config", "centroid_intermediate_top_k", "num_centroids")
    ordered = outer.flag("use_ordered_embeddings", False)
    draft = Gemma4AssistantDraft(
        kind="gemma4_assistant", target_hidden_size=outer.number("backbone_hidden_size", 1536),
        num_centroids=outer.number("num_centroids", 2048) if ordered else None,
    )  # fmt: skip
    outer.finish()
    blocks: dict[str, Block] = {}
    for name, block in spec.blocks.items():
        attention: Any = block.attention
        blocks[name] = replace(block, attention=replace(attention, shared_kv="target"))
    return replace(
        spec, model_type=None, head="none", tie_word_embeddings=None, draft=draft, blocks=blocks
    )


# ---------------------------------------------------------------- heads alone


def _own(values: Mapping[str, Any], kind: str, path: str, assumptions: list[str]) -> Config:
    return Config(values, kind, path=path, assumptions=assumptions, nested=True)


def _medusa(c: Config) -> ModelSpec:
    """FasterDecoding's and vLLM's keys; a head's block has biases unless vLLM's own key says no."""
    key = "medusa_num_layers" if c.has("medusa_num_layers") else "num_hidden_layers"
    heads = "medusa_num_heads" if c.has("medusa_num_heads") else "num_heads"
    rows = c.maybe("truncated_vocab_size", None)
    one = c.flag("original_lm_head", False)
    draft = MedusaDraft(
        kind="medusa", num_heads=c.number(heads), num_residual_layers=c.number(key, 1),
        bias=c.flag("medusa_fc_bias", True), original_lm_head=one,
        draft_vocab_size=rows if one and rows != c.number("vocab_size") else None,
    )  # fmt: skip
    c.skip("base_model_name_or_path", "version", "medusa_num_heads", "num_hidden_layers", "num_heads",
           "max_paths", "topk", "num_lookahead_tokens", "max_seq_len")  # fmt: skip
    return _heads_alone(c, c.number("hidden_size"), draft)


def _mlp(c: Config) -> ModelSpec:
    """IBM's accelerators: emb_dim is the model's hidden size."""
    width = c.number("emb_dim")
    steps = c.number("n_predict")
    draft = MlpSpeculatorDraft(
        kind="mlp_speculator", num_lookahead_tokens=steps,
        inner_dim=c.count("inner_dim", 0) or width, tie_weights=c.flag("tie_weights", False),
    )  # fmt: skip
    c.skip(
        "scale_input", "top_k_tokens_per_head", "n_candidates", "num_lookahead_tokens", "tie_wts"
    )
    return _heads_alone(c, width, draft)


def _heads_alone(c: Config, width: int, draft: "Drafter") -> ModelSpec:
    spec = ModelSpec(
        name="", source=("",), hidden_size=width, vocab_size=c.number("vocab_size"), head="none",
        final_norm=False, blocks={}, layers=(), draft=draft,
    )  # fmt: skip
    c.finish()
    return spec
