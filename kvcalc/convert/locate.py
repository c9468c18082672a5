"""Find a model, whatever it is called: a shipped spec, a YAML file, a config, a checkpoint, a hub id."""

from os import PathLike, fsdecode
from os.path import isdir

from kvcalc.errors import FileError, MissingExtraError, NotFoundError
from kvcalc.spec import catalog
from kvcalc.spec.catalog import Found
from kvcalc.spec.model import ModelSpec

_FOREIGN = (".json", ".safetensors", ".gguf")


def locate(model: str) -> Found:
    """Load a model and say where it was found and what was assumed on the way.

    Raises NotFoundError, FileError, SpecError with every problem of a spec, UnsupportedError for a
    config that cannot be accounted for, MissingExtraError where the hub would have to be asked.
    """
    if model.endswith(_FOREIGN) or isdir(model or "."):
        return _imported(model)
    try:
        return catalog.locate(model)
    except NotFoundError:
        from kvcalc.convert.hub import HUB_ID

        if not HUB_ID.fullmatch(model) and ":" not in model:
            from kvcalc.convert.repo_names import from_bare_name

            # A known model's name and a quantiser's suffix, without the organisation.
            named = from_bare_name(model)
            if named is None:
                raise
            return named
    try:
        return _imported(model)
    except (NotFoundError, MissingExtraError, FileError):
        # What cannot be read may still be told by its name.
        from kvcalc.convert.repo_names import from_name

        named = from_name(model)
        if named is None:
            raise
        return named


def load(model: str | PathLike[str]) -> ModelSpec:
    """The spec of a model; see ``locate``."""
    return locate(fsdecode(model)).spec


def _imported(model: str) -> Found:
    from kvcalc.convert import load_model

    imported = load_model(model)
    if imported is None:
        raise NotFoundError(
            f"no model at {model}: expected a spec, a config.json or a folder with one, a "
            f".safetensors or .gguf file, or a hub id"
        )
    return Found(imported.spec, model, imported.assumptions, imported.weights)
