"""What a model makes of images and sound: the rule that its files, or its type, name.

A folder or a config.json says which tower there is, and ``preprocessor_config.json`` (or
``processor_config.json``) beside it how the processor is set. A shipped spec has neither: its type names
the processor, whose settings are the published ones where they are known to differ from the class's own
(``kvcalc/media/published.py``), and the answer says which.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kvcalc.convert.config_file import read_json
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.media import asked
from kvcalc.media.asked import MediaWords
from kvcalc.media.families import image_rule
from kvcalc.media.llama_cpp import PROGRAMS, bounded
from kvcalc.media.published import image_settings
from kvcalc.media.sounds import audio_rule
from kvcalc.media.source import Source
from kvcalc.media.videos import WORDED, video_rule
from kvcalc.media.words import MediaItem, Placeholders
from kvcalc.memory.workload import Asked
from kvcalc.spec.model import ModelSpec

# The model_type of a decoder that ships with its tower left out -> that of the whole model.
_WHOLE = {
    "gemma3_text": "gemma3", "gemma3n_text": "gemma3n", "gemma4": "gemma4", "llama4": "llama4",
    "mllama": "mllama", "minimax_m3_vl": "minimax_m3_vl", "qwen3_5": "qwen3_5",
    "qwen3_5_moe": "qwen3_5_moe", "ministral3": "mistral3", "kimi_k25": "kimi_k25",
}  # fmt: skip
_TOWERS = {"image": ("vision",), "audio": ("audio", "speech"), "video": ("vision",)}
_WORDS = {"image": "images", "audio": "sound", "video": "video"}
# Files that say how a processor is set, and the parts of them that are one processor's.
_FILES, _PARTS = (
    ("processor_config.json", "preprocessor_config.json"), ("image_processor", "feature_extractor")
)  # fmt: skip
_VIDEO_FILES = ("processor_config.json", "video_preprocessor_config.json")


def with_media(
    asked: Asked, spec: ModelSpec, where: str, engine: str = ""
) -> tuple[Asked, tuple[str, ...]]:
    """The question with the places of what is put in, and what was assumed. Raises as ``media_items``.

    engine: whose bounds on an image are held, where it has its own.
    """
    media, notes = media_items(spec, where, asked.put)
    if engine in PROGRAMS:
        media, notes = bounded(spec.model_type, media, notes)
    largest = _largest(spec, where) if spec.towers else None
    return replace(asked, put=MediaWords(), media=media, largest_item=largest), notes


def _largest(spec: ModelSpec, where: str) -> int | None:
    """Tokens of the largest image; None for a model that sees none, or whose processor is not known."""
    model_type, source = _source(spec, where)
    try:
        rule = image_rule(model_type, source)
        return rule.placeholders(rule.largest()).tokens
    except UnsupportedError:
        return None


def media_items(
    spec: ModelSpec, where: str, put: MediaWords
) -> tuple[tuple[MediaItem, ...], tuple[str, ...]]:
    """What is put in, with its places, and what was assumed. where: the path of the model's files.

    Raises UsageError for a model that takes no such thing, UnsupportedError where the processor is
    not known.
    """
    if not put:
        return (), ()
    model_type, source = _source(spec, where)
    items: list[MediaItem] = []
    if put.images:
        _takes(spec, "image", source)
        rule = image_rule(model_type, source)
        for each in map(asked.images, put.images):
            size = each.size or rule.largest()
            places = _some(rule.placeholders(size), model_type)
            items.append(
                MediaItem(
                    kind="image", count=each.count, size=str(size), tokens=places.tokens,
                    separators=places.separators, encoder_tokens=getattr(rule, "encoder_tokens", 0),
                )
            )  # fmt: skip
    if put.audio:
        _takes(spec, "audio", source)
        hears = audio_rule(model_type, source)
        for sound in map(asked.sounds, put.audio):
            heard = hears.placeholders(int(sound.seconds * hears.sampling_rate))
            places = _some(heard, model_type)
            items.append(
                MediaItem(kind="audio", count=sound.count, size=sound.size, tokens=places.tokens,
                          separators=places.separators)
            )  # fmt: skip
    items += _videos(spec, where, model_type, put.video)
    notes = [str(item) for item in items]
    if put.video and model_type in WORDED:
        notes.append(
            f"{WORDED[model_type]} beside each group of frames is not counted: a tokenizer divides it"
        )
    if source.published and source.settings and put.images:
        bounds = ", ".join(f"{key} {value}" for key, value in source.settings.items())
        notes.append(
            f"images as the published preprocessor_config.json has them ({bounds}): a server that sets "
            "less makes fewer tokens of a large one"
        )
    if source.settings is None or (source.published and put.video):
        notes.append(
            f"sizes as transformers' processor of {model_type} has them by default: the model's own "
            "preprocessor_config.json, beside its config.json, decides, and may differ much"
        )
    return tuple(items), tuple(notes)


def _videos(
    spec: ModelSpec, where: str, model_type: str, words: Sequence[str]
) -> Iterator[MediaItem]:
    """Videos as their processor has them, whose settings are in a file of their own."""
    if not words:
        return
    _, source = _source(spec, where, _VIDEO_FILES, ("video_processor",))
    _takes(spec, "video", source)
    rule = video_rule(model_type, source)
    for each in map(asked.videos, words):
        frame = each.frame or rule.largest(each.num_frames)
        places = _some(rule.placeholders(each.num_frames, frame), model_type)
        yield MediaItem(
            kind="video", count=each.count, size=f"{each.size} of {frame}", tokens=places.tokens,
            separators=places.separators,
        )  # fmt: skip


def _some(places: Placeholders, model_type: str) -> Placeholders:
    """Refuse settings, or a sound, of which nothing is left."""
    if places.tokens < 1:
        raise UnsupportedError(f"{model_type}: its processor, set as stated, leaves no token of it")
    return places


def _source(
    spec: ModelSpec, where: str, files: Sequence[str] = _FILES, parts: Sequence[str] = _PARTS
) -> tuple[str, Source]:
    path = Path(where)
    config = path / "config.json" if path.is_dir() else path
    if config.suffix == ".json" and config.is_file():
        values = read_json(config)
        stated = values.get("model_type")
        return str(stated or spec.model_type), Source(
            values, _settings(config.parent, files, parts)
        )
    model_type = spec.model_type or ""
    settings = image_settings(spec.hub_id) if files is _FILES else None
    return _WHOLE.get(model_type, model_type), Source({}, settings, settings is not None)


def _settings(folder: Path, files: Sequence[str], parts: Sequence[str]) -> Mapping[str, Any] | None:
    """The processor's settings that lie in a model's folder."""
    found: dict[str, Any] = {}
    for name in files:
        if (folder / name).is_file():
            values = read_json(folder / name)
            for part in parts:
                inner = values.get(part)
                if isinstance(inner, Mapping):
                    found |= inner
            found |= values
    return found or None


def _takes(spec: ModelSpec, kind: str, source: Source) -> None:
    """Refuse what the model has no tower for."""
    words = _TOWERS[kind]
    stated = any(key.startswith(words) and source.config[key] for key in source.config)
    named = any(word in part for part in spec.left_out for word in words)
    counted = any(tower.component in words for tower in spec.towers.values())
    if not stated and not named and not counted:
        heard = kind == "audio" and spec.encoder is not None and spec.encoder.conv_stem
        also = (
            ": its encoder is counted, and has the same positions whatever the length; leave it out"
        )
        raise UsageError(f"{spec.name} has no tower for {_WORDS[kind]}{also if heard else ''}")
