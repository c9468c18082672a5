"""Models that Ollama and LM Studio keep on this machine, under the names that people use for them.

Ollama keeps manifests (JSON, one per tag) and the files they name as blobs, under ~/.ollama/models,
under OLLAMA_MODELS, or, as a Linux service, under /usr/share/ollama/.ollama/models. Source: ollama
server/modelpath.go and envconfig (v0.13). LM Studio keeps PUBLISHER/REPOSITORY/FILE.gguf under
~/.lmstudio/models, before 0.3 under ~/.cache/lm-studio/models (its documentation, "Import models").
"""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from kvcalc.convert.imported import Imported, model_name
from kvcalc.convert.stored import json_object, wrong_file
from kvcalc.errors import NotFoundError, UsageError
from kvcalc.reading import open_regular

_TAGGED = re.compile(
    r"(?:(?P<host>[\w.-]+(?::\d+)?)/)??(?:(?P<space>[\w-]+)/)?(?P<name>[\w][\w.-]*):(?P<tag>[\w][\w.-]*)"
)
_DIGEST = re.compile(r"sha256[:-][0-9a-f]{64}")
_MODEL = "application/vnd.ollama.image.model"
_BESIDE = {
    "application/vnd.ollama.image.projector": "a projector for images",
    "application/vnd.ollama.image.adapter": "an adapter",
}
# A manifest is a few hundred bytes.
_MAX_MANIFEST_BYTES = 1 << 20
_SPLIT = re.compile(r"-(\d{5})-of-\d{5}\.gguf$")


def is_ollama_name(source: str) -> bool:
    """``qwen3:32b``, ``hf.co/org/repo:Q4_K_M``: a name with a tag, and no path of this machine."""
    return bool(_TAGGED.fullmatch(source)) and not os.path.exists(source)


def load_ollama(source: str) -> Imported:
    """The model of an Ollama name whose files lie on this machine.

    Raises NotFoundError saying where it was looked for, SpecError for a manifest that is wrong.
    """
    match = _TAGGED.fullmatch(source)
    assert match is not None
    parts = (match["host"] or "registry.ollama.ai", match["space"] or "library", match["name"])
    for store in _ollama_stores():
        manifest = store.joinpath("manifests", *parts, match["tag"])
        if manifest.is_file():
            return _from_manifest(store, manifest, f"{match['name']}-{match['tag']}")
    looked = ", ".join(str(store) for store in _ollama_stores())
    same = _same_shape(match["name"], match["tag"]) or f"'kvcalc models {match['name']}'"
    raise NotFoundError(
        f"no model {source} in Ollama's store ({looked}): 'ollama pull {source}' brings it, or name "
        f"a shipped model ({same}) with --dtype q4_k_m"
    )


def _same_shape(name: str, tag: str) -> str:
    """The shipped model that a name and its tag mean: ``gemma3:27b-it-qat`` is gemma-3-27b's shape."""
    from kvcalc.names import parts
    from kvcalc.spec.catalog import shipped

    words = tag.lower().split("-")
    for count in range(len(words), 0, -1):
        wanted = parts("-".join((name, *words[:count])))
        found = [each for each in shipped() if parts(each) == wanted]
        if len(found) == 1:
            return found[0]
    return ""


def _ollama_stores() -> list[Path]:
    own = os.environ.get("OLLAMA_MODELS")
    if own:
        return [Path(own)]
    return [Path.home() / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")]


def _from_manifest(store: Path, manifest: Path, name: str) -> Imported:
    from kvcalc.convert.gguf_model import load_gguf

    with open_regular(manifest) as (file, size):
        if size > _MAX_MANIFEST_BYTES:
            raise wrong_file(str(manifest), f"larger than {_MAX_MANIFEST_BYTES} bytes: no manifest")
        values = json_object(file.read(_MAX_MANIFEST_BYTES), str(manifest), "the manifest")
    layers: Any = values.get("layers")
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise wrong_file(str(manifest), "the manifest has no list of layers")
    models = [layer for layer in layers if layer.get("mediaType") == _MODEL]
    if len(models) != 1:
        raise wrong_file(str(manifest), f"the manifest names {len(models)} models, not one")
    blob = _blob(store, manifest, models[0])
    found = load_gguf(blob)
    beside = [_BESIDE[kind] for layer in layers if (kind := layer.get("mediaType")) in _BESIDE]
    told = tuple(f"not counted: {what} that the manifest names" for what in beside)
    return replace(
        found,
        spec=replace(found.spec, name=model_name(name)),
        assumptions=(f"{name} is {blob}", *found.assumptions, *told),
    )


def _blob(store: Path, manifest: Path, layer: dict[str, Any]) -> Path:
    digest = layer.get("digest")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise wrong_file(str(manifest), f"a layer's digest is {json.dumps(digest)[:80]}")
    blob = store / "blobs" / digest.replace(":", "-")
    if not blob.is_file():
        raise NotFoundError(f"{manifest} names {blob}, which is not there: 'ollama pull' brings it")
    size = layer.get("size")
    if isinstance(size, int) and size != blob.stat().st_size:
        raise wrong_file(
            str(blob), f"{blob.stat().st_size:,} bytes, and its manifest says {size:,}: cut short"
        )
    return blob


# ---------------------------------------------------------------- LM Studio, and folders of files


def lm_studio_path(source: str) -> Path | None:
    """``publisher/repository`` or ``publisher/repository/file.gguf`` in LM Studio's folder."""
    parts = source.split("/")
    if not 2 <= len(parts) <= 3 or not all(parts) or ".." in parts:
        return None
    for store in (Path.home() / ".lmstudio" / "models", Path.home() / ".cache/lm-studio/models"):
        found = store.joinpath(*parts)
        if found.exists():
            return found
    return None


def gguf_in(folder: Path) -> Path | None:
    """The one model among a folder's GGUF files, by its first part where it is split.

    None where there are none. Raises UsageError naming the files where there are several models.
    """
    names = sorted(name for name in os.listdir(folder) if name.endswith(".gguf"))
    models = [name for name in names if not name.lower().startswith("mmproj")]
    first = [name for name in models if (part := _SPLIT.search(name)) is None or part[1] == "00001"]
    if not first and not models:
        return None
    if len(first) != 1:
        shown = ", ".join((first or models)[:4])
        raise UsageError(f"{folder} holds several models: name one of {shown}")
    return folder / first[0]
