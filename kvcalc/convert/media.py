"""What a model makes of images and sound: the rule that its files, or its type, name.

A folder or a config.json says which tower there is, and ``preprocessor_config.json`` (or
``processor_config.json``) beside it how the processor is set. A shipped spec has neither: its type names
the processor, whose settings are the published ones where they are known to differ from the class's own
(``kvcalc/media/published.py``), and the answer says which.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from kvcalc.convert.config_file import read_json
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed
from kvcalc.media import asked
from kvcalc.media.asked import MediaWords
from kvcalc.media.convolved_frames import ConvolvedFrames
from kvcalc.media.families import UNHEARD, image_rule
from kvcalc.media.fixed_audio import FixedAudio
from kvcalc.media.frame_by_frame import FrameByFrame
from kvcalc.media.llama_cpp import PROGRAMS, bounded
from kvcalc.media.pixel_budget import PixelBudget
from kvcalc.media.published import Kind, of_type, published, published_config
from kvcalc.media.remote_code import IMAGE_WORDS, OWN_CODE, constants
from kvcalc.media.sounds import audio_rule
from kvcalc.media.source import Source, short
from kvcalc.media.stamps import stamp_tokens
from kvcalc.media.two_views import TwoViews
from kvcalc.media.videos import WORDED, video_rule
from kvcalc.media.words import LargestItem, MediaItem, Placeholders
from kvcalc.memory.workload import Asked
from kvcalc.spec.model import ModelSpec

Settings = Sequence[tuple[str, int]]
# The model_type of a decoder that ships with its tower left out -> that of the whole model.
_WHOLE = {
    "gemma3_text": "gemma3", "gemma3n_text": "gemma3n", "gemma4": "gemma4", "llama4": "llama4",
    "mllama": "mllama", "minimax_m3_vl": "minimax_m3_vl", "qwen3_5": "qwen3_5",
    "qwen3_5_moe": "qwen3_5_moe", "ministral3": "mistral3", "mistral4": "mistral3", "kimi_k25": "kimi_k25",
}  # fmt: skip
_TOWERS = {"image": ("vision",), "audio": ("audio", "speech"), "video": ("vision",)}
_WORDS = {"image": "images", "audio": "sound", "video": "video"}
# Where transformers finds how a processor is set: its part of processor_config.json, else the first of
# these files (5.23.0: image_processing_base.py, feature_extraction_utils.py, video_processing_utils.py).
_PROCESSORS: Mapping[Kind, tuple[str, tuple[str, ...]]] = {
    "image": ("image_processor", ("preprocessor_config.json",)),
    "audio": ("feature_extractor", ("preprocessor_config.json",)),
    "video": (
        "video_processor", ("video_preprocessor_config.json", "preprocessor_config.json")
    ),
}  # fmt: skip


_HANDED = (
    "patch_size", "spatial_merge_size", "image_seq_len", "vision_feature_select_strategy",
    "num_additional_image_tokens",
)  # fmt: skip


def with_media(
    asked: Asked, spec: ModelSpec, where: str, engine: str = ""
) -> tuple[Asked, tuple[str, ...]]:
    """The question with the places of what is put in, and what was assumed. Raises as ``media_items``.

    engine: whose bounds on an image are held, where it has its own.
    """
    media, notes = media_items(spec, where, asked.put)
    if engine in PROGRAMS:
        media, notes = bounded(spec.model_type, media, notes)
    largest = _largest(spec, where, asked.put.processor) if spec.towers else None
    return changed(asked, put=MediaWords(), media=media, largest_item=largest), notes


def _largest(spec: ModelSpec, where: str, processor: Settings) -> LargestItem:
    """The largest item of each modality, as a server plans for it."""
    model_type, source = _source(spec, where, "image")
    from kvcalc.media.largest import largest_item

    _, videos = _source(spec, where, "video")
    if processor:
        source = with_settings(model_type, source, processor)
        # vLLM hands flat settings to the processors of both (_merge_and_resolve_mm_processor_kwargs).
        videos = changed(videos, settings={**(videos.settings or {}), **dict(processor)})
    parts = {str(tower.component) for tower in spec.towers.values()}
    return largest_item(model_type, source, videos, parts)


def media_items(
    spec: ModelSpec, where: str, put: MediaWords
) -> tuple[tuple[MediaItem, ...], tuple[str, ...]]:
    """What is put in, with its places, and what was assumed. where: the path of the model's files.

    Raises UsageError for a model that takes no such thing, UnsupportedError where the processor is
    not known.
    """
    if not put:
        return (), ()
    read: tuple[tuple[Kind, Callable[..., Iterator[MediaItem]], Sequence[str]], ...] = (
        ("image", _images, put.images), ("audio", _sounds, put.audio), ("video", _videos, put.video)
    )  # fmt: skip
    items: list[MediaItem] = []
    notes: list[str] = []
    for kind, made_of, words in read:
        if words:
            model_type, source = _source(spec, where, kind)
            _takes(spec, kind, source)
            if put.processor:
                source = with_settings(model_type, source, put.processor, kind)
            items += made_of(model_type, source, words)
            notes += (*_cut(kind, model_type, source, words), *_assumed(kind, model_type, source))
    return tuple(items), (*map(str, items), *dict.fromkeys(notes))


def _cut(kind: Kind, model_type: str, source: Source, words: Sequence[str]) -> Iterator[str]:
    """What of a sound or of a video the processor leaves out."""
    if kind == "audio":
        sound = audio_rule(model_type, source)
        for one in map(asked.sounds, words):
            samples = int(one.seconds * sound.sampling_rate)
            if isinstance(sound, ConvolvedFrames | FixedAudio) and sound.heard(samples) < samples:
                heard = sound.heard(samples) / sound.sampling_rate
                yield f"of {one.size} of sound {heard:g}s are heard: the processor cuts off the rest"
    if kind == "video":
        rule = video_rule(model_type, source)
        for each in map(asked.videos, words):
            if isinstance(rule, FrameByFrame) and rule.taken(each.num_frames) < each.num_frames:
                taken = rule.taken(each.num_frames)
                yield f"of {each.num_frames} frames the processor takes {taken}, evenly"


def _assumed(kind: Kind, model_type: str, source: Source) -> Iterator[str]:
    """Where the settings are from, when not from a file of the model's, and what they leave open."""
    if kind == "video" and model_type in WORDED:
        yield _said_of_words(model_type, source)
    if kind == "image" and model_type in IMAGE_WORDS:
        yield f"{IMAGE_WORDS[model_type]} beside each image is not counted: a tokenizer divides it"
    if source.typical:
        yield (
            f"{_WORDS[kind]} as the {source.published} of {source.typical} sets the processor "
            f"({_flat(source.settings or {})}): none lies beside this config.json; the model's own decides"
        )
    elif source.published:
        yield (
            f"{_WORDS[kind]} as the published {source.published} sets the processor "
            f"({_flat(source.settings or {})}), unless the server sets it otherwise"
        )
    for key, own in UNHEARD.get(model_type, {}).items() if kind == "image" else ():
        stated = (source.settings or {}).get(key)
        if stated is not None and stated != own:
            yield (
                f"{source.place(key)} = {short(stated)} is not heard: transformers' processor passes "
                f"{own} itself, unless the server sets it otherwise"
            )
    fixed = constants(model_type, source) if kind == "image" else ""
    if fixed:
        yield fixed
    elif source.settings is None:
        whose = (
            "the processor in the own code" if model_type in OWN_CODE else "transformers' processor"
        )
        yield (
            f"sizes as {whose} of {model_type} has them by default: the model's own "
            "preprocessor_config.json, beside its config.json, decides, and may differ much"
        )


def _said_of_words(model_type: str, source: Source) -> str:
    """Whether the words beside a video's frames are counted."""
    what = f"{WORDED[model_type]} beside each group of frames"
    if stamp_tokens(model_type, _text_type(source), 2, Fraction(1)) is None:
        return f"{what} is not counted: a tokenizer divides it"
    whose = "a tokenizer of single digits" if model_type == "glm4v" else "Qwen's tokenizer"
    return f"{what} counts among the separators, as {whose} divides it: the most that it takes"


def _text_type(source: Source) -> str | None:
    """The language model's type, where a config states it."""
    inner = source.config.get("text_config")
    found = inner.get("model_type") if isinstance(inner, Mapping) else None
    return found if isinstance(found, str) else None


def _flat(settings: Mapping[str, Any]) -> str:
    """Settings in words, those inside another by both names."""
    pairs = (
        (f"{key}.{inner}", number)
        for key, value in settings.items()
        for inner, number in (value.items() if isinstance(value, Mapping) else [("", value)])
    )
    return ", ".join(f"{key.rstrip('.')} {number}" for key, number in pairs)


def _images(model_type: str, source: Source, words: Sequence[str]) -> Iterator[MediaItem]:
    read = [asked.images(each) for each in words]
    rule = image_rule(model_type, source)
    if isinstance(rule, TwoViews):
        rule = rule.among(sum(each.count for each in read))
    for each in read:
        size = each.size or rule.largest()
        places = _some(rule.placeholders(size), model_type)
        yield MediaItem(
            kind="image", count=each.count, size=str(size), tokens=places.tokens,
            separators=places.separators, encoder_tokens=getattr(rule, "encoder_tokens", 0),
        )  # fmt: skip


def _sounds(model_type: str, source: Source, words: Sequence[str]) -> Iterator[MediaItem]:
    rule = audio_rule(model_type, source)
    for each in map(asked.sounds, words):
        places = _some(rule.placeholders(int(each.seconds * rule.sampling_rate)), model_type)
        yield MediaItem(kind="audio", count=each.count, size=each.size, tokens=places.tokens,
                        separators=places.separators)  # fmt: skip


def _videos(model_type: str, source: Source, words: Sequence[str]) -> Iterator[MediaItem]:
    rule = video_rule(model_type, source)
    for each in map(asked.videos, words):
        frame = each.frame or rule.largest(each.num_frames)
        places = _some(rule.placeholders(each.num_frames, frame), model_type)
        beside = stamp_tokens(model_type, _text_type(source), each.num_frames, each.seconds) or 0
        yield MediaItem(
            kind="video", count=each.count, size=f"{each.size} of {frame}", tokens=places.tokens,
            separators=places.separators + beside,
        )  # fmt: skip


def _some(places: Placeholders, model_type: str) -> Placeholders:
    """Refuse settings, or a sound, of which nothing is left."""
    if places.tokens < 1:
        raise UnsupportedError(f"{model_type}: its processor, set as stated, leaves no token of it")
    return places


def _source(spec: ModelSpec, where: str, kind: Kind) -> tuple[str, Source]:
    """The model_type that names the processor, and how it is set."""
    path = Path(where)
    config = path / "config.json" if path.is_dir() else path
    if config.suffix == ".json" and config.is_file():
        values = read_json(config)
        stated = values.get("model_type")
        settings, files = _settings(config.parent, kind)
        model_type = str(stated or spec.model_type)
        usual = of_type(model_type, kind) if settings is None else None
        if usual is not None:
            whose, own = usual
            return model_type, Source(values, own.settings, own.file, whose)
        return model_type, Source(values, settings, files=files)
    model_type = spec.model_type or ""
    known = published(spec.hub_id, kind)
    return _WHOLE.get(model_type, model_type), Source(
        published_config(spec.hub_id),
        known.settings if known else None,
        known.file if known else "",
    )


def with_settings(
    model_type: str, source: Source, processor: Settings, kind: Kind = "image"
) -> Source:
    """The processor as a server sets it itself (--mm-processor-kwargs). Raises UnsupportedError for one
    whose images are not bounded by numbers of pixels, or whose other settings are not known."""
    said = "--mm-processor-kwargs " + ", ".join(f"{key} {number}" for key, number in processor)
    if kind == "video":
        raise UnsupportedError(f"{said}: what it does to a video's frames is not known here")
    if kind != "image":
        return source
    if not isinstance(image_rule(model_type, source), PixelBudget):
        raise UnsupportedError(f"{said}: images of {model_type} are not bounded by pixels here")
    if source.settings is None:
        raise UnsupportedError(
            f"{said}: the model's own preprocessor_config.json is not known, which sets the rest"
        )
    made = changed(source, settings={**source.settings, **dict(processor)})
    try:
        image_rule(model_type, made)
    except UnsupportedError as refused:
        raise UsageError(f"{said}: {refused.message}") from refused
    return made


def _settings(folder: Path, kind: Kind) -> tuple[Mapping[str, Any] | None, Mapping[str, str]]:
    """How the processor is set that lies in a model's folder, and in which file each key stands.

    None where no file says it.

    Raises UnsupportedError for a part of processor_config.json that is no object.
    """
    part, files = _PROCESSORS[kind]
    around = folder / "processor_config.json"
    whole = read_json(around) if around.is_file() else {}
    own = whole.get(part)
    if own is not None and not isinstance(own, Mapping):
        raise UnsupportedError(
            f"processor_config.json: {part} = {short(own)}: settings are an object"
        )
    file = around.name
    if own is None:
        file = next((name for name in files if (folder / name).is_file()), file)
        own = read_json(folder / file) if file != around.name else None
    # What the processor of all kinds is told, such as image_seq_len, stands around its parts. What it hands
    # to its parts itself is what they hear (PixtralProcessor, LlavaProcessor).
    handed = {key: whole[key] for key in _HANDED if whole.get(key) is not None}
    home = {
        **dict.fromkeys(whole, around.name), **dict.fromkeys(own or {}, file),
        **dict.fromkeys(handed, around.name),
    }  # fmt: skip
    return ({**whole, **own, **handed} if own is not None else whole or None), home


def _takes(spec: ModelSpec, kind: Kind, source: Source) -> None:
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
