"""Find and read what a user has: a config.json, a folder with one, a checkpoint, or a model on the hub.

Each is read by a module of its own, which is imported only where it is asked for.
"""

from pathlib import Path

from kvcalc.convert.imported import Imported


def load_model(source: str) -> Imported | None:
    """The spec of a config.json, of a folder with one, of a GGUF or safetensors file (or a folder of
    one model's), of ``org/name`` (``@revision``) on the hub, or of what Ollama (``qwen3:32b``) and
    LM Studio keep here. Tensors' headers beside a config give the weights' bytes.

    None where the source is none of these. Raises NotFoundError, FileError, MissingExtraError,
    SpecError or UnsupportedError, each saying what to do.
    """
    if not source:
        from kvcalc.errors import NotFoundError

        raise NotFoundError("a model's name is empty; write . for the current folder")
    path = Path(source)
    if not path.exists():
        from kvcalc.convert.local_stores import is_ollama_name, lm_studio_path, load_ollama

        if is_ollama_name(source):
            return load_ollama(source)
        path = lm_studio_path(source) or path
    if path.is_dir():
        config = path / "config.json"
        if not config.exists():
            return _folder_of_gguf(path)
        from kvcalc.convert.checkpoint import load_folder

        return load_folder(path)
    if path.suffix == ".gguf":
        from kvcalc.convert.gguf_model import load_gguf

        return load_gguf(path)
    if source.endswith((".safetensors", ".safetensors.index.json")):
        from kvcalc.convert.checkpoint import load_safetensors

        return load_safetensors(path)
    if source.endswith(".json"):
        from kvcalc.convert.config_file import from_file

        return from_file(path)
    from kvcalc.convert.hub import HUB_ID, from_hub

    if not path.exists() and (match := HUB_ID.fullmatch(source)):
        return from_hub(f"{match['org']}/{match['name']}", match["revision"])
    return None


def _folder_of_gguf(folder: Path) -> Imported | None:
    from kvcalc.convert.local_stores import gguf_in

    found = gguf_in(folder)
    if found is None:
        return None
    from kvcalc.convert.gguf_model import load_gguf

    return load_gguf(found)
