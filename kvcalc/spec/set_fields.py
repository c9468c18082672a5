"""What if: the same model with any field changed."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import yaml

from kvcalc.errors import SpecError, UsageError
from kvcalc.spec.catalog import Found
from kvcalc.spec.dump import flow, to_plain
from kvcalc.spec.file_spec import of_type
from kvcalc.spec.loader import load_spec_text
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.words import near

# Long enough for a mapping on a command line; short enough that its nesting cannot be deep.
MAX_VALUE = 400


def with_fields(spec: ModelSpec, changes: tuple[str, ...]) -> ModelSpec:
    """The model with fields set, as ``blocks.local.attention.num_key_value_heads=4`` says.

    The result is checked like a file. Raises UsageError for a path that does not exist and
    SpecError when the changed spec has problems.
    """
    plain = to_plain(spec)
    file_type = plain.pop("file_type", None)
    # No published files are those of a changed model.
    plain.pop("checkpoint", None)
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            raise UsageError(f"--set {change}: write PATH=VALUE")
        try:
            if len(text) > MAX_VALUE:
                raise UsageError(f"--set {path}: a value this long belongs into a file")
            yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError:
            raise UsageError(f"--set {change}: {text!r} is not a value") from None
        _assign(plain, path, _Raw(text))
    try:
        changed = load_spec_text(_to_text(plain), f"{spec.name} with --set")
        return changed if file_type is None else of_type(changed, file_type)
    except SpecError as error:
        # Nobody has seen the text that the lines and columns are of; the fields say where.
        problems = tuple(replace(problem, line=0, column=0) for problem in error.problems)
        raise SpecError(error.message, problems) from None


def with_set(found: Found, changes: tuple[str, ...]) -> Found:
    """A model that was found, with fields set: no files are its own any more. Raises as ``with_fields``."""
    spec = with_fields(found.spec, changes)
    return Found(spec, found.path, (*found.assumptions, *(f"set {change}" for change in changes)))


class _Raw(str):
    """YAML text that stands in the result as it was typed."""


def _indices(items: list[Any]) -> list[str]:
    return [str(index) for index in range(len(items))]


def _places(plain: Any, key: str, walked: str = "") -> Iterator[str]:
    """Where a field stands that is no field of the spec itself."""
    items = enumerate(plain) if isinstance(plain, list) else plain.items()
    for name, item in items:
        if name == key and walked:
            yield walked + key
        if isinstance(item, (dict, list)):
            yield from _places(item, key, f"{walked}{name}.")


def _assign(plain: Any, path: str, value: Any) -> None:
    keys = path.replace("[", ".").replace("]", "").split(".")
    own = {field.name for field in fields(ModelSpec)}
    if len(keys) == 1 and path not in own and (places := list(_places(plain, path))):
        raise UsageError(f"--set {path}: say where it stands: {' or '.join(places[:4])}")
    here, walked = plain, ""
    for key in keys[:-1]:
        if isinstance(here, list) and key in _indices(here):
            here = here[int(key)]
        elif isinstance(here, dict) and key in here:
            here = here[key]
        else:
            known = here if isinstance(here, dict) else {}
            where = walked or "the spec"
            raise UsageError(f"--set {path}: no '{key}' in {where}{near(key, known)}")
        walked = f"{walked}.{key}".strip(".")
    if isinstance(here, list) and keys[-1] in _indices(here):
        here[int(keys[-1])] = value
    elif isinstance(here, dict):
        here[keys[-1]] = value
    else:
        raise UsageError(f"--set {path}: '{walked}' has no fields")


def _to_text(plain: Any, indent: str = "") -> str:
    """Plain values as block YAML, with raw text put in untouched."""
    if isinstance(plain, _Raw):
        return f" {plain}\n"
    if isinstance(plain, dict) and plain:
        body = "".join(
            f"{indent}{flow(key)}:{_to_text(item, indent + '  ')}" for key, item in plain.items()
        )
        return f"\n{body}" if indent else body
    if isinstance(plain, list) and plain:
        return "\n" + "".join(f"{indent}-{_to_text(item, indent + '  ')}" for item in plain)
    return f" {flow(plain)}\n"
