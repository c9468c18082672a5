"""config.json -> ModelSpec: find the family, let it read, check what came out."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from kvcalc.convert.config import Config, class_defaults, reader, short
from kvcalc.convert.draft_names import is_draft
from kvcalc.convert.heads import with_class
from kvcalc.convert.imported import Imported
from kvcalc.convert.model_types import (
    CONVERTERS,
    FLAT,
    INEXPRESSIBLE,
    OUTSIDE,
    REMOTE,
    REMOTE_FLAT,
    REMOTE_TEXT,
    TEXT_CONFIGS,
)
from kvcalc.convert.quantization import Published, declared_alone, published_formats
from kvcalc.errors import Problem, SpecError, UnsupportedError
from kvcalc.frozen import changed
from kvcalc.names import hint
from kvcalc.spec.consistency import unread_findings
from kvcalc.spec.model import ModelSpec

TRANSFORMERS = "5.23.0"


def spec_from_config(
    values: Mapping[str, Any],
    name: str,
    source: str | tuple[str, ...],
    path: str = "config.json",
    *,
    stored: bool = False,
) -> Imported:
    """The spec of the model that transformers builds from a config.

    stored: the tensors' own headers say what they take, so a quantization that the spec language
    cannot express is no obstacle.

    Raises SpecError for a file that is wrong and UnsupportedError for one that kvcalc cannot
    account for; both name the field.

    >>> spec_from_config({"model_type": "llama", ...}, "mine", "config.json").spec.hidden_size
    """
    if isinstance(values, Mapping) and is_draft(values):
        return _draft(values, name, source, path, stored=stored)
    model_type = _model_type(values, path)
    assumptions: list[str] = []
    left_out: tuple[str, ...] = ()
    if model_type in TEXT_CONFIGS or model_type in REMOTE_TEXT:
        config, left_out = _text_config(values, model_type, path, assumptions)
    else:
        own = OUTSIDE.get(model_type, model_type)
        config = reader(values, own, path=path, assumptions=assumptions)
    spec = _decoder(config, path)
    spec, left_out = _whole(spec, config, values, model_type, left_out, path, assumptions)
    if config.mtp_modules():
        from kvcalc.convert.mtp import with_mtp

        spec = with_mtp(spec, config, model_type, config.values)
    config.finish()
    spec = changed(
        spec,
        name=name,
        model_type=model_type,
        source=(source,) if isinstance(source, str) else source,
        left_out=(*left_out, *spec.left_out),
    )
    published = _published(values, config, spec, stored, assumptions)
    if published.dtypes and spec.towers:
        assumptions.append("towers and projectors in bf16, as quantised checkpoints keep them")
    spec = changed(spec, weight_dtypes=published.dtypes, weight_formats=published.rules,
                   declared_cache=published.cache, quantized_by=published.by)  # fmt: skip
    problems = [
        Problem(code, path, 0, 0, where, text) for code, where, text in unread_findings(spec)
    ]
    if problems:
        raise SpecError(f"{path}: {problems[0].field}: {problems[0].message}", tuple(problems))
    return Imported(spec, tuple(dict.fromkeys(assumptions)))


def _model_type(values: Mapping[str, Any], path: str) -> str:
    if not isinstance(values, Mapping):
        raise SpecError(f"{path}: a config is a JSON object, not {short(values)}")
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        message = "required and missing: it says which architecture the other keys describe"
        problem = Problem("KV103", path, 0, 0, "model_type", message)
        raise SpecError(f"{path}: model_type: {message}", (problem,))
    return model_type


def _published(
    values: Mapping[str, Any], config: Config, spec: ModelSpec, stored: bool, assumptions: list[str]
) -> Published:
    try:
        return published_formats(values, config, spec)
    except UnsupportedError:
        if not stored:
            raise
        return declared_alone(values)


def _draft(
    values: Mapping[str, Any], name: str, source: str | tuple[str, ...], path: str, *, stored: bool
) -> Imported:
    """The spec of a model that drafts for another."""
    assumptions: list[str] = []
    from kvcalc.convert.drafts import draft_spec

    spec = draft_spec(values, path, assumptions)
    spec = changed(spec, name=name, source=(source,) if isinstance(source, str) else source)
    if values.get("quantization_config") and not stored:
        raise UnsupportedError(
            f"{path}: quantization_config: a quantised draft is not accounted for by its config; give "
            "the safetensors, whose headers say what the weights take"
        )
    problems = [
        Problem(code, path, 0, 0, where, text) for code, where, text in unread_findings(spec)
    ]
    if problems:
        raise SpecError(f"{path}: {problems[0].field}: {problems[0].message}", tuple(problems))
    return Imported(spec, tuple(dict.fromkeys(assumptions)))


def _decoder(config: Config, path: str) -> ModelSpec:
    """The language model, by the function of its type. Raises UnsupportedError where there is none."""
    converter = CONVERTERS.get(config.model_type) or REMOTE.get(config.model_type)
    if converter is None:
        raise UnsupportedError(unknown_type(path, config.model_type))
    module, function = converter.split(".")
    convert = getattr(import_module(f"kvcalc.convert.families.{module}"), function)
    spec: ModelSpec = convert(config)
    return spec


def _whole(
    spec: ModelSpec, config: Config, values: Mapping[str, Any], model_type: str,
    left_out: tuple[str, ...], path: str, assumptions: list[str],
) -> tuple[ModelSpec, tuple[str, ...]]:  # fmt: skip
    """The class that the file asks for: a text model's head, or the towers of a multimodal one."""
    if not left_out and model_type not in REMOTE_FLAT:
        spec = _with_own_head(spec, config, values.get("architectures"), path, assumptions)
    if left_out or model_type in FLAT:
        beside = left_out or _beside(model_type)
        return _with_towers(spec, values, model_type, beside, path, assumptions)
    return spec, left_out


def _beside(model_type: str) -> tuple[str, ...]:
    """What stands beside a language model whose keys are at the top."""
    return tuple(f"{_TOWERS[key]} ({key} of the config)" for key in FLAT[model_type])


def _with_own_head(
    spec: ModelSpec, config: Config, architectures: Any, path: str, assumptions: list[str]
) -> ModelSpec:
    """The spec of the class that ``architectures`` names first."""
    name = architectures[0] if isinstance(architectures, list) and architectures else None
    if not isinstance(name, str):
        return spec
    return with_class(changed(spec, model_type=config.model_type), config, name, assumptions)


def unknown_type(path: str, model_type: str) -> str:
    """The message about a model_type that has no family."""
    if model_type in INEXPRESSIBLE:
        return (
            f"{path}: model_type '{model_type}' cannot be said in the spec language, which lacks "
            f"{INEXPRESSIBLE[model_type]}"
        )
    shipped = _shipped_of(model_type)
    if shipped:
        return (
            f"{path}: no reader for configs of model_type '{model_type}', whose code is outside "
            f"transformers; {' and '.join(shipped)} is shipped: change a copy of that spec"
        )
    near = hint(model_type, [*CONVERTERS, *TEXT_CONFIGS, *REMOTE])
    said = f" ({near})" if near else ""
    return (
        f"{path}: model_type '{model_type}' is not accounted for{said}; its layers, heads and cache "
        f"could be anything. Write the spec by hand: 'kvcalc schema' has the language"
    )


def _shipped_of(model_type: str) -> list[str]:
    """The shipped specs that were written by hand for a type."""
    from kvcalc.spec.catalog import load, shipped

    return [name for name in shipped() if load(name).model_type == model_type]


# What a multimodal config calls the parts that are not the language model.
_TOWERS = {
    "vision_config": "vision tower",
    "vision_tower": "vision tower",
    "visual": "vision tower",
    "audio_config": "audio tower",
    "sound_config": "audio tower",
    "vq_config": "image tokenizer",
    "qformer_config": "Q-Former",
    "talker_config": "speech decoder",
    "token2wav_config": "vocoder",
    "code2wav_config": "vocoder",
    "mm_vision_config": "vision tower",
    "vit_config": "vision tower",
    "embd_layer": "image embedding",
}


def _text_config(
    values: Mapping[str, Any], model_type: str, path: str, assumptions: list[str], depth: int = 0
) -> tuple[Config, tuple[str, ...]]:
    """The language model inside a multimodal config, and the names of what is left out."""
    key, text_type, _ = _language_model(model_type)
    inner = values.get(key)
    towers = tuple(
        dict.fromkeys(
            f"{name} ({tower} of the config){_share(tower, values[tower])}"
            for tower, name in _TOWERS.items()
            if isinstance(values.get(tower), dict)
        )
    ) or (f"the towers of {model_type} other than its language model",)
    if inner is None and model_type in TEXT_CONFIGS:
        # Written before the text model had a config of its own: all keys stand at the top.
        if not any(name in values for name in ("hidden_size", "num_hidden_layers")):
            message = f"required and missing: the language model of {model_type} is described there"
            problem = Problem("KV103", path, 0, 0, key, message)
            raise SpecError(f"{path}: {key}: {message}", (problem,))
        flat = {name: value for name, value in values.items() if name not in _TOWERS}
        flat["tie_word_embeddings"] = _tied(values, values, model_type, text_type, assumptions)
        return reader(flat, text_type, path=path, assumptions=assumptions), towers
    if not isinstance(inner, dict):
        problem = Problem("KV104", path, 0, 0, key, f"expected an object, found {short(inner)}")
        raise SpecError(f"{path}: {key}: expected an object", (problem,))
    own = inner.get("model_type", text_type)
    if not isinstance(own, str):
        problem = Problem("KV104", path, 0, 0, f"{key}.model_type", "expected text")
        raise SpecError(f"{path}: {key}.model_type: expected text", (problem,))
    merged = _with_text_defaults(inner, model_type, key, assumptions)
    if model_type == "paligemma":
        # The prompt is seen both ways; what follows it is not, and keeps a cache as usual.
        merged.pop("use_bidirectional_attention", None)
    if not own:
        message = "required and missing: it says which language model this is"
        problem = Problem("KV103", path, 0, 0, f"{key}.model_type", message)
        raise SpecError(f"{path}: {key}.model_type: {message}", (problem,))
    if own in TEXT_CONFIGS and depth < 2:
        # A multimodal config inside another: Qwen-Omni's thinker.
        config, parts = _text_config(inner, own, path, assumptions, depth + 1)
        stated = (name for name in towers if " of the config)" in name)
        return config, tuple(dict.fromkeys((*parts, *stated)))
    own = OUTSIDE.get(own, own)
    if own == "deepseek_v2" and inner.get("use_mla") is False:
        own = "deepseek"
    merged["tie_word_embeddings"] = _tied(values, inner, model_type, own, assumptions)
    config = reader(merged, own, path=path, where=key, nested=True, assumptions=assumptions)
    return config, towers


def _share(key: str, part: Mapping[str, Any]) -> str:
    """What a part that is left out has, where its config says it."""
    from kvcalc.convert.towers.speech_out import parameters_of

    found = parameters_of(key, part)
    return "" if found is None else f": {found:,} parameters"


def _with_towers(
    spec: ModelSpec, values: Mapping[str, Any], model_type: str, left_out: tuple[str, ...], path: str,
    assumptions: list[str],
) -> tuple[ModelSpec, tuple[str, ...]]:  # fmt: skip
    """The model with the towers that can be counted, and the names of those that cannot."""
    from kvcalc.convert.towers import towers_of

    if isinstance(values.get("quantization"), Mapping):
        said = "files that mlx_lm makes have none (those of mlx_vlm keep it)"
        return spec, (*(f"{name}; {said}" for name in left_out),)
    found = towers_of(*_innermost(values, model_type), spec, path, assumptions)
    if found.reason:
        return spec, (*(f"{name}; {found.reason}" for name in left_out),)
    if not found.towers:
        return spec, left_out
    rest = tuple(name for name in left_out if not any(f"({key} " in name for key in found.keys))
    others = tuple(name for name in rest if " of the config)" in name)
    return changed(spec, towers=found.towers), others


def _innermost(values: Mapping[str, Any], model_type: str) -> tuple[Mapping[str, Any], str]:
    """The multimodal config that holds the language model itself: Qwen-Omni's thinker, or the file."""
    if model_type in FLAT:
        return values, model_type
    inner = values.get(_language_model(model_type)[0])
    own = inner.get("model_type", "") if isinstance(inner, dict) else ""
    return (inner, own) if isinstance(inner, dict) and own in TEXT_CONFIGS else (values, model_type)


def _language_model(model_type: str) -> tuple[str, str, str]:
    """Where a multimodal type has its language model, that one's type, and whose head counts."""
    return TEXT_CONFIGS.get(model_type) or (REMOTE_TEXT[model_type], "", "text")


def _with_text_defaults(
    inner: Mapping[str, Any], model_type: str, key: str, assumptions: list[str]
) -> dict[str, Any]:
    """A language model's config over what its multimodal class fills in (Voxtral, GLM-ASR)."""
    entry = class_defaults().get(model_type, {})
    filled = {name: value for name, value in entry.get("text", {}).items() if name not in inner}
    for name, value in filled.items():
        assumptions.append(
            f"{key}.{name} = {short(value)}: not in the file; the default of transformers' "
            f"{entry['class']}"
        )
    return {**inner, **filled}


def _tied(
    values: Mapping[str, Any], inner: Mapping[str, Any], model_type: str, text_type: str,
    assumptions: list[str],
) -> Any:  # fmt: skip
    """Whether the head uses the token table: whose word counts depends on the multimodal class."""
    rule = _language_model(model_type)[2]
    if rule == "never":
        return False
    outer, text = class_defaults().get(model_type, {}), class_defaults().get(text_type, {})
    own = inner.get(
        "tie_word_embeddings", text.get("defaults", {}).get("tie_word_embeddings", False)
    )
    if rule == "text":
        return own
    if "tie_word_embeddings" in values:
        top = values["tie_word_embeddings"]
    else:
        top = outer.get("defaults", {}).get("tie_word_embeddings", False)
        if top is None:
            # Perception LM's class asks its language model where nobody says.
            return own
        assumptions.append(
            f"tie_word_embeddings = {short(top)}: not in the file; the default of transformers' "
            f"{outer.get('class', model_type)}"
        )
    if rule == "both":
        return top and own
    return top or own if rule == "either" else top
