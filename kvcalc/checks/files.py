"""What a file in a repository is: a YAML spec, or the ``config.json`` that Hugging Face keeps.

A ``config.json`` is read as ``kvcalc import`` reads it and held to budgets and bases like a spec. It
states no values to expect and no source, so the rules about those are not for it. In a folder it
counts when it has a ``model_type``; many tools call a file ``config.json``.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from kvcalc.errors import Problem, SpecError, UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.reading import MAX_CONFIG_BYTES, first_bytes
from kvcalc.spec.catalog import SUFFIXES
from kvcalc.spec.loader import Loaded, decode, read_spec, read_text
from kvcalc.spec.reader import MAX_FILE_BYTES, keys_of

# The team's policy, which is no model.
FILE_NAME = "kvcalc.yaml"
CONFIG = "config.json"
# Where ModelOpt states a quantization that config.json then leaves out.
APART = "hf_quant_config.json"
# Files whose headers describe a model: read from disk where they are named.
HEADERS = (".gguf", ".safetensors")

# Keys that every spec has; a file that a folder holds and that has neither is something else.
_LIKE_A_SPEC = re.compile(rb"^(hidden_size|blocks)[ \t]*:", re.MULTILINE)
_SAYS_IT = re.compile(rb"hidden_size")
_KEYS_OF_SPECS = frozenset(("hidden_size", "blocks"))
_LIKE_A_CONFIG = re.compile(rb'"model_type"\s*:')
# Keys of a config.json that say who wrote it.
_WRITER = ("_name_or_path", "transformers_version", "architectures")
# Where a config.json says what a part of a spec is made of.
_STANDS_FOR = {
    "attention": ("num_key_value_heads", "kv_lora_rank", "n_head"),
    "blocks": ("num_hidden_layers", "n_layer"),
}


@frozen
class ModelFile:
    """What came of a file. values: what a config.json says; None of a spec."""

    loaded: Loaded
    values: Any

    @property
    def plain(self) -> Any:
        """What the file says, for comparing; None when it cannot be read."""
        # Who checks a spec compares nothing.
        from kvcalc.spec.dump import to_plain

        spec = self.loaded.spec
        return to_plain(spec) if self.values is None and spec is not None else self.values


def is_config(path: str | Path) -> bool:
    return str(path).endswith(".json")


def is_foreign(path: str | Path) -> bool:
    """Whether a file is another library's: it states no values to expect, and bears its own name."""
    return is_config(path) or str(path).endswith(HEADERS)


def is_named_like_a_model(path: str) -> bool:
    """Whether a folder that is asked for means this file, as far as its name tells."""
    parts = path.split("/")
    hidden = any(part.startswith(".") and part != "." for part in parts)
    named = parts[-1] == CONFIG or path.endswith(SUFFIXES)
    return named and not hidden and parts[-1] != FILE_NAME


def looks_like_a_model(path: str, data: bytes) -> bool:
    """Whether a file of a folder, named like a model, is one.

    A spec whose keys do not stand at the start of lines (indented as a whole, quoted, in braces) is
    told by its keys.
    """
    if is_config(path):
        return bool(_LIKE_A_CONFIG.search(data))
    return bool(_LIKE_A_SPEC.search(data)) or (
        bool(_SAYS_IT.search(data)) and keys_of(data.decode("utf-8", "replace")) >= _KEYS_OF_SPECS
    )


def models_below(folder: Path, *, governed: bool) -> Iterator[tuple[str, str]]:
    """(name, path) of every model below a folder, as far as a glance at the file tells.

    governed: only those that have no policy nearer to them.
    """
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if governed and FILE_NAME in names and root != str(folder):
            folders.clear()
            continue
        for path in (Path(root, name) for name in sorted(names) if is_named_like_a_model(name)):
            data = first_bytes(path, MAX_CONFIG_BYTES if is_config(path) else MAX_FILE_BYTES)
            if looks_like_a_model(path.name, data):
                yield _name_at_a_glance(path, data), str(path)


def _name_at_a_glance(path: Path, data: bytes) -> str:
    if is_config(path):
        from kvcalc.convert.imported import model_name

        return model_name(path.parent.name)
    found = re.search(rb"^name[ \t]*:[ \t]*[\"']?([^\"'#\s]+)", data, re.MULTILINE)
    return found[1].decode("utf-8", "replace") if found else path.stem


def read_model(
    source: bytes | Path, path: str, *, folder: str, apart: bytes | None = None
) -> ModelFile:
    """Read a file, or what git holds of one; problems are collected.

    folder: the name of the folder that it is in. apart: the text of the file beside it in which a
    quantization stands. Raises NotFoundError or FileError when there is nothing to read.
    """
    if path.endswith(HEADERS) and isinstance(source, Path):
        return _header(source, path)
    try:
        limit = MAX_CONFIG_BYTES if is_config(path) else MAX_FILE_BYTES
        what = "a config" if is_config(path) else "a spec"
        if isinstance(source, bytes):
            text = decode(source, Path(path), limit, what)
        else:
            text = read_text(source, limit, what)
    except SpecError as error:
        # No text: not UTF-8, or too large to look at.
        problems = tuple(replace(problem, path=path) for problem in error.problems)
        return ModelFile(Loaded(path, None, problems, lambda _: (1, 1)), None)
    if is_config(path):
        return _config(text, path, folder, apart)
    return ModelFile(read_spec(text, path), None)


def _header(source: Path, path: str) -> ModelFile:
    """The model of a GGUF or safetensors file, whose headers are no text with lines."""
    from kvcalc.convert.locate import locate
    from kvcalc.spec.dump import to_plain

    try:
        spec = locate(str(source)).spec
    except (SpecError, UnsupportedError) as error:
        code = "KV106" if isinstance(error, UnsupportedError) else "KV101"
        found = Problem(code, path, 0, 0, "", error.message.removeprefix(f"{path}: "))
        return ModelFile(Loaded(path, None, error.problems or (found,), lambda _: (1, 1)), None)
    return ModelFile(Loaded(path, spec, (), lambda _: (1, 1)), to_plain(spec))


def _config(text: str, path: str, folder: str, apart: bytes | None) -> ModelFile:
    from kvcalc.convert.config_file import with_apart
    from kvcalc.convert.hf import spec_from_config
    from kvcalc.convert.imported import model_name

    mark = _marks(text)
    name = PurePosixPath(path)
    stem = folder if name.name == CONFIG else name.stem
    read = partial(spec_from_config, name=model_name(stem), source=path, path=path)
    found: Problem
    try:
        values = json.loads(text, object_pairs_hook=_once)
        if apart is not None:
            values = with_apart(values, apart, str(PurePosixPath(path).with_name(APART)))
        spec = read(values).spec
        plain = {key: value for key, value in values.items() if key not in _WRITER}
        return ModelFile(Loaded(path, spec, (), mark), plain)
    except json.JSONDecodeError as error:
        found = Problem("KV101", path, error.lineno, error.colno, "", f"not JSON: {error.msg}")
    except (RecursionError, ValueError) as error:
        found = Problem("KV101", path, 0, 0, "", f"not a config: {error}")
    except UnsupportedError as error:
        problems = tuple(
            replace(problem, line=line, column=column)
            for problem in error.problems
            for line, column in (mark(problem.field),)
        ) or (Problem("KV106", path, 1, 1, "", error.message.removeprefix(f"{path}: ")),)
        return ModelFile(Loaded(path, None, problems, mark), None)
    except SpecError as error:
        problems = tuple(
            problem if problem.line else replace(problem, line=line, column=column)
            for problem in error.problems
            for line, column in (mark(problem.field),)
        ) or (Problem("KV104", path, 0, 0, "", error.message),)
        return ModelFile(Loaded(path, None, problems, mark), None)
    return ModelFile(Loaded(path, None, (found,), mark), None)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _marks(text: str) -> Callable[[str], tuple[int, int]]:
    """Where the key of a field, or one that stands for it, is first: (line, column), or the start."""

    def mark(field: str) -> tuple[int, int]:
        key = re.sub(r"\[\d+\]$", "", field).rpartition(".")[2]
        keys = "|".join(map(re.escape, (key, *_STANDS_FOR.get(key, ()))))
        found = re.search(rf'"({keys})"\s*:', text) if key else None
        if found is None:
            return 1, 1
        return text.count("\n", 0, found.start()) + 1, found.start() - text.rfind(
            "\n", 0, found.start()
        )

    return mark
