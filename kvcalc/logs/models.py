"""The model that a log names: a hub id, a folder, a file of weights.

A quantised or a tuned checkpoint keeps its model's dimensions, and a cache is made of these: what a name
has at its end (AWQ, Instruct, Q4_K_M, 2507) is taken off, one known word after the other, until a shipped
model or its hub id has the rest, letter for letter. Nothing else is guessed.
"""

import os
import re
from collections.abc import Iterator

from kvcalc.convert.locate import locate
from kvcalc.errors import NotFoundError, UsageError
from kvcalc.logs.facts import Start
from kvcalc.names import parts
from kvcalc.spec import catalog
from kvcalc.spec.catalog import Found

_SNAPSHOT = re.compile(r"models--([\w.-]+?)--([\w.-]+?)(?:/|$)")
_ENDS = re.compile(
    r"[-_.](?:instruct|chat|it|base|hf|pt|thinking|gguf|ggml|awq|gptq|exl[23]|int[48]|fp8|fp4|fp8[-_]dynamic|dynamic|"
    r"block|w4a16|w8a8|w8a16|nvfp4|nvfp4a16|mxfp4|mxfp8|bf16|fp16|f16|f32|bnb|[48]bits?|[234568][-_.]?bpw|auto[-_]?round|quantized|"
    r"modelopt|qat|q4_0-unquantized|g(?:32|64|128)|sym|mixed|ud|i1|imatrix|imat|xl|mtp|text|abliterated|"
    r"i?q\d(?:_[k01])?(?:_(?:s|m|l|xl|xs|xxs|nl))?|tq\d_\d|25\d\d|00\d\d\d-of-00\d\d\d)$"
)
_BEGINS = re.compile(
    r"^(?:meta|unsloth|bartowski|nvidia|openai|google|redhatai|neuralmagic|ggml-org|microsoft|mistralai|qwen)[-_](?=\w)"
)
MOST_WORDS = 8


def model_of(start: Start, asked: str | None) -> tuple[Found, str, tuple[str, ...]]:
    """(the spec and where it is, the model as commands name it, what was taken for granted).

    asked: --model, which holds over the log. Raises UsageError saying what is needed, and for
    ``asked`` as ``locate`` does.
    """
    if asked is not None and (os.path.exists(asked) or _known(asked) is None):
        found = locate(asked)
        _check_dims(found, start, asked)
        return found, asked, found.assumptions
    names = list(_names(start)) if asked is None else [(asked, 0)]
    if not names:
        raise UsageError(
            "the log does not say which model it is of: give --model, a name, a hub id or the path of "
            "its config.json"
        )
    for name, _ in names:
        known = _known(name)
        if known is not None:
            path, cut = known
            found = catalog.locate(path)
            _check_dims(found, start, name)
            said = () if not cut else (
                f"{name.rstrip('/').rsplit('/', 1)[-1]} has {path}'s dimensions; where its files declare a "
                "format for the cache, --model with its config.json reads it",
            )  # fmt: skip
            return found, path, said
    name, line = names[0]
    hub = _hub_id(name)
    where = f" (https://huggingface.co/{hub}/blob/main/config.json)" if hub else ""
    raise UsageError(
        f"line {line} names the model '{name[:120]}', which no shipped spec is: give "
        f"--model NAME, or --model "
        f"with the path of its config.json{where}"
    )


def _known(name: str) -> tuple[str, bool] | None:
    """The shipped model that a name means, and whether words were taken off the name's end."""
    for tried, cut in _readings(name):
        path = _shipped(tried)
        if path is not None:
            return path, cut
    return None


def _names(start: Start) -> Iterator[tuple[str, int]]:
    """What the log calls the model, best first."""
    if start.model is not None:
        yield str(start.model.value), start.model.line
    for key in ("file", "general.name", "general.basename"):
        said = start.dims.get(key)
        if said is not None and not str(said.value).startswith("sha256"):
            yield str(said.value), said.line
    label = start.dims.get("general.size_label")
    base = start.dims.get("general.basename")
    if label is not None and base is not None:
        yield f"{base.value}-{label.value}", base.line


def _hub_id(name: str) -> str | None:
    found = _SNAPSHOT.search(name)
    if found is not None:
        return f"{found[1]}/{found[2]}"
    return name if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) else None


def _readings(name: str) -> Iterator[tuple[str, bool]]:
    """Names to look for, each with whether words were taken off its end."""
    hub = _hub_id(name)
    if hub is not None:
        yield hub, False
    tail = (hub or name).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()
    tail = re.sub(r"\.(?:gguf|safetensors|bin)$", "", tail).replace(" ", "-")
    tail = tail.replace(":", "-")
    yield tail, False
    for _ in range(MOST_WORDS):
        shorter = _ENDS.sub("", tail)
        for each in (shorter, _BEGINS.sub("", shorter)):
            yield each, True
        if shorter == tail:
            return
        tail = shorter


def _shipped(name: str) -> str | None:
    """The shipped model of a name or hub id, letter for letter but for what separates them."""
    try:
        return catalog.find(name).stem
    except NotFoundError:
        pass
    wanted = parts(name.rsplit("/", 1)[-1])
    if "/" in name or len(wanted) < 2:
        return None
    same = {each for each in catalog.shipped() if parts(each) == wanted}
    same |= {
        path.stem
        for hub_id, path in catalog.hub_ids()
        if parts(hub_id.rsplit("/", 1)[-1]) == wanted
    }
    return same.pop() if len(same) == 1 else None


def _check_dims(found: Found, start: Start, name: str) -> None:
    """Raises UsageError where the log itself says other dimensions than the spec has."""
    from kvcalc.spec.layers import decoder_layers

    spec = found.spec
    layers = len(decoder_layers(spec))
    drafts = spec.mtp.num_layers if spec.mtp is not None else 0
    for key, had in (
        ("n_layer", {layers, layers + drafts, layers + 1}),
        ("n_embd", {spec.hidden_size}),
    ):
        said = start.dims.get(key)
        if said is not None and isinstance(said.value, int) and said.value not in had:
            raise UsageError(
                f"line {said.line} says {key} = {said.value}, and {spec.name} has "
                f"{min(had)}: '{name}' is another "
                "model; give --model with its config.json or its GGUF file"
            )
