"""Find and read what a user has: a config.json, a folder with one, or a model on the Hugging Face hub.

Reading is bounded (a config is small), never follows anything but a regular file, and never runs
code that stands beside it.
"""

import os
import re
from pathlib import Path
from typing import Any

from kvcalc.convert.hf import Imported, spec_from_config
from kvcalc.convert.stored import json_object, wrong_file
from kvcalc.errors import FileError, MissingExtraError, NotFoundError, UnsupportedError
from kvcalc.reading import MAX_CONFIG_BYTES, open_regular

_HUB_ID = re.compile(
    r"(?P<org>[A-Za-z0-9][\w.-]{0,95})/(?P<name>[A-Za-z0-9][\w.-]{0,95})(?:@(?P<revision>[\w./-]{1,100}))?"
)
_HUB_TIMEOUT_SECONDS = 10
_REACH_TIMEOUT_SECONDS = 3


def load_model(source: str) -> Imported | None:
    """The spec of a config.json, of a folder with one, of a GGUF or safetensors file, or of
    ``org/name`` (``@revision``) on the hub. Tensors' headers beside a config give the weights' bytes.

    None where the source is none of these. Raises NotFoundError, FileError, MissingExtraError,
    SpecError or UnsupportedError, each saying what to do.
    """
    path = Path(source)
    if path.is_dir():
        config = path / "config.json"
        if not config.exists():
            return None
        from kvcalc.convert.checkpoint import load_folder

        return load_folder(path)
    if source.endswith(".gguf"):
        from kvcalc.convert.gguf_model import load_gguf

        return load_gguf(path)
    if source.endswith((".safetensors", ".safetensors.index.json")):
        from kvcalc.convert.checkpoint import load_safetensors

        return load_safetensors(path)
    if source.endswith(".json"):
        return from_file(path)
    if not path.exists() and (match := _HUB_ID.fullmatch(source)):
        return from_hub(f"{match['org']}/{match['name']}", match["revision"])
    return None


def from_file(path: Path, *, stored: bool = False) -> Imported:
    """The spec of a local config.json, named after its folder, or after the file.

    stored: see ``spec_from_config``.
    """
    values = read_json(path)
    # ModelOpt states its quantization in a file of its own; bf16 would be a plausible wrong number.
    apart = path.with_name("hf_quant_config.json")
    if not stored and "quantization_config" not in values and apart.is_file():
        found = read_json(apart).get("quantization")
        if not isinstance(found, dict):
            raise UnsupportedError(
                f"{apart}: a quantization that stands apart from {path.name} and has no "
                f"'quantization' is not accounted for; give the safetensors, whose headers say what "
                f"the weights take"
            )
        values["quantization_config"] = {**found, "quant_method": "modelopt"}
    stem = path.resolve().parent.name if path.name == "config.json" else path.stem
    return spec_from_config(values, model_name(stem), str(path), str(path), stored=stored)


def model_name(text: str) -> str:
    """A spec's name: lower case, with hyphens for what names do not hold."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "model"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a regular file of bounded size, without keys that stand twice."""
    with open_regular(path) as (file, size):
        if size > MAX_CONFIG_BYTES:
            raise wrong_file(str(path), f"larger than {MAX_CONFIG_BYTES} bytes: not a config")
        return json_object(file.read(MAX_CONFIG_BYTES), str(path), "the config")


# ---------------------------------------------------------------- the hub


def from_hub(repo_id: str, revision: str | None = None) -> Imported:
    """The spec of a model on the hub: from the local cache, or downloaded with huggingface_hub."""
    from dataclasses import replace

    from kvcalc.convert.checkpoint import attach_hub

    path, commit = _hub_file(repo_id, "config.json", revision)
    name = model_name(repo_id.split("/")[1])
    source = f"https://huggingface.co/{repo_id}/blob/{commit}/config.json"
    shown = f"{repo_id}/config.json"
    values = read_json(path)
    found = spec_from_config(values, name, source, shown, stored=True)
    hub = None if _offline() or not _reachable() else _hub_module()
    found, note = attach_hub(found, repo_id, commit, path, hub)
    if found.weights is None:
        found = spec_from_config(values, name, source, shown)
    return replace(
        found,
        spec=replace(found.spec, hub_id=(repo_id,)),
        assumptions=(*found.assumptions, *note),
    )


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def _hub_module() -> Any:
    """huggingface_hub, or None where it is not installed."""
    try:
        import huggingface_hub
    except ImportError:
        return None
    return huggingface_hub


def _hub_file(repo_id: str, filename: str, revision: str | None) -> tuple[Path, str]:
    """A file of a repository and the commit it is from."""
    offline = _offline()
    hub = None if offline else _hub_module()
    if hub is not None:
        return _download(hub, repo_id, filename, revision)
    cached = _cached(repo_id, filename, revision)
    if cached is not None:
        return cached
    page = f"https://huggingface.co/{repo_id}/blob/{revision or 'main'}/{filename}"
    if offline:
        raise NotFoundError(
            f"{repo_id} is not in the local hub cache, and HF_HUB_OFFLINE is set; "
            f"save {page} and give its path"
        )
    raise MissingExtraError(
        f"{repo_id} is no shipped model and not in the local hub cache; to read it from the hub: "
        f"pip install 'kvcalc[hub]'; without a network, save {page} elsewhere and give its path"
    )


def _download(hub: Any, repo_id: str, filename: str, revision: str | None) -> tuple[Path, str]:
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", str(_HUB_TIMEOUT_SECONDS))
    page = f"https://huggingface.co/{repo_id}"
    try:
        if not _reachable():
            raise ConnectionError
        path = Path(hub.hf_hub_download(repo_id, filename, revision=revision))
    except Exception as error:
        # huggingface_hub's own errors share no base class with requests' and httpx's.
        cached = _cached(repo_id, filename, revision)
        if cached is not None:
            return cached
        kind = type(error).__name__
        if kind in ("RepositoryNotFoundError", "EntryNotFoundError", "RevisionNotFoundError"):
            raise NotFoundError(f"{page} has no {filename} ({kind})") from None
        if kind == "GatedRepoError":
            raise NotFoundError(
                f"{page} is gated: accept its terms there and set HF_TOKEN, or save its {filename} "
                f"and give the path"
            ) from None
        raise FileError(
            f"cannot read {filename} of {repo_id} from the hub ({kind}); "
            f"save {page}/blob/{revision or 'main'}/{filename} and give its path"
        ) from None
    return path, path.parent.name


def _reachable() -> bool:
    """Whether the hub answers; huggingface_hub would go on asking for 23 seconds.

    Behind a proxy that is the proxy's to find out.
    """
    import socket
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    hub = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if getproxies().keys() & {hub.scheme, "all"} or hub.hostname is None:
        return True
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        socket.create_connection((hub.hostname, port), _REACH_TIMEOUT_SECONDS).close()
    except OSError:
        return False
    return True


def _cached(repo_id: str, filename: str, revision: str | None) -> tuple[Path, str] | None:
    """A file in the local hub cache, found by its layout: refs/<revision> names a snapshot."""
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface"
    )
    cache = Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub"))
    repository = cache / f"models--{repo_id.replace('/', '--')}"
    commit = revision or "main"
    reference = repository / "refs" / commit
    if ".." in commit:
        return None
    if reference.is_file():
        with open_regular(reference) as (file, _):
            commit = file.read(200).decode("utf-8", "replace").strip()
    if not re.fullmatch(r"[\w.-]+", commit):
        return None
    path = repository / "snapshots" / commit / filename
    return (path, commit) if path.is_file() else None
