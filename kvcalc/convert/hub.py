"""A model on the Hugging Face hub: its config and headers, from the local cache or downloaded."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from kvcalc.convert.checkpoint import attach_hub
from kvcalc.convert.config_file import read_json
from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.imported import Imported, model_name
from kvcalc.errors import FileError, MissingExtraError, NotFoundError
from kvcalc.reading import open_regular
from kvcalc.spec.hub_ids import near

HUB_ID = re.compile(
    r"(?P<org>[A-Za-z0-9][\w.-]{0,95})/(?P<name>[A-Za-z0-9][\w.-]{0,95})(?:@(?P<revision>[\w./-]{1,100}))?"
)
_HUB_TIMEOUT_SECONDS = 10
_REACH_TIMEOUT_SECONDS = 3


def from_hub(repo_id: str, revision: str | None = None) -> Imported:
    """The spec of a model on the hub: from the local cache, or downloaded with huggingface_hub."""
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


def _like(repo_id: str) -> str:
    """The nearest id that is known, as the end of a sentence."""
    found = near(repo_id)
    return f"; {found}" if found else ""


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
            f"save {page} and give its path{_like(repo_id)}"
        )
    raise MissingExtraError(
        f"{repo_id} is no shipped model and not in the local hub cache; to read it from the hub: "
        f"pip install 'kvcalc[hub]'; without a network, save {page} elsewhere and "
        f"give its path{_like(repo_id)}"
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
            f"save {page}/blob/{revision or 'main'}/{filename} and give its path{_like(repo_id)}"
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
