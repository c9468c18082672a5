"""What changed in an engine's release: `python -m tests.engines.releases ENGINE FOLDER`.

FOLDER is an unpacked wheel (`pip download --no-deps PACKAGE`, then `unzip`); nothing of it is imported. Of
the files that kvcalc's rules follow it reads classes with their fields, words that a flag takes, names of
models, and the functions, each by a digest of its code; what differs from tests/engines/releases.json
is printed,
added, gone and altered. `--write` puts the new facts there, once the rules were read against them.

    python -m tests.engines.releases vllm vllm-0.34.0
    python -m tests.engines.releases lmdeploy lmdeploy-0.19.0 --write
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.engines.measured import modules

FILE = Path(__file__).with_name("releases.json")
# Facts of one release: what kind -> name -> what it is (fields of a class, a function's digest, "").
Facts = dict[str, dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where an engine's facts stand, by file of its wheel.

    package: its folder in the wheel. classes, functions: files whose all are facts. words: (file, name)
    of a Literal, a list or a dictionary's keys. models: the same for names of models.
    """

    package: str
    classes: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    words: tuple[tuple[str, str], ...] = ()
    models: tuple[tuple[str, str], ...] = ()


_VLLM_MODELS = "model_executor/models/registry.py"
_SOURCES = {
    "vllm": Sources(
        package="vllm",
        classes=("v1/kv_cache_interface.py", "config/cache.py", "config/scheduler.py"),
        functions=("v1/core/kv_cache_planning.py", "platforms/interface.py"),
        words=(("config/cache.py", "CacheDType"), ("config/cache.py", "MambaDType")),
        models=tuple((_VLLM_MODELS, name) for name in (
            "_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_SPECULATIVE_DECODING_MODELS")),
    ),
    "sglang": Sources(
        package="sglang/srt",
        classes=("model_executor/pool_configurator.py",),
        functions=("model_executor/pool_configurator.py", "mem_cache/kv_cache_dtype.py",
                   "distributed/utils.py"),
        words=(("arg_groups/choices.py", "ATTENTION_BACKEND_CHOICES"),),
    ),
    "transformers": Sources(
        package="transformers", classes=("cache_utils.py",), functions=("cache_utils.py",),
    ),
}  # fmt: skip


def sources() -> dict[str, Sources]:
    """Of every engine whose wheel is read: of those that were run, in the module that ran them."""
    return _SOURCES | {name: module.SOURCES for name, module in modules().items()}


def facts_of(engine: str, folder: Path) -> Facts:
    """The facts of an unpacked wheel. Raises SystemExit where it is none of that engine."""
    own = sources()[engine]
    root = folder / own.package
    if not root.is_dir():
        raise SystemExit(f"{folder} holds no {own.package}: unpack the wheel of {engine} there")
    found: Facts = {"classes": {}, "functions": {}, "words": {}, "models": {}}
    for file in own.classes:
        found["classes"] |= dict(_classes(_tree(root, file)))
    for file in own.functions:
        found["functions"] |= dict(_functions(_tree(root, file), file))
    for part, places in (("words", own.words), ("models", own.models)):
        for file, name in places:
            found[part] |= dict.fromkeys(_named(_tree(root, file), name), "")
    return found


def _tree(root: Path, file: str) -> ast.Module:
    path = root / file
    return ast.parse(path.read_text("utf-8")) if path.exists() else ast.Module([], [])


def _classes(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Class -> its bases and annotated fields with what they are without being said."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            fields = []
            for each in node.body:
                if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                    value = f" = {ast.unparse(each.value)}" if each.value is not None else ""
                    fields.append(f"{each.target.id}{value}"[:80])
            bases = ", ".join(ast.unparse(base) for base in node.bases)
            yield node.name, f"({bases}) {'; '.join(fields)}"


def _functions(tree: ast.Module, file: str) -> Iterator[tuple[str, str]]:
    """Function or method -> a digest of its code, docstrings and comments apart."""
    for node in ast.walk(tree):
        owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        if not isinstance(node, ast.ClassDef | ast.Module):
            continue
        for each in node.body:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                body = each.body[1:] if ast.get_docstring(each) is not None else each.body
                code = ast.unparse(ast.Module(body, [])) + ast.unparse(each.args)
                yield f"{file}: {owner}{each.name}", sha256(code.encode()).hexdigest()[:12]


def _named(tree: ast.Module, name: str) -> Iterator[str]:
    """Strings of a Literal, a list or a set, keys of a dictionary; ``import``: what a file imports."""
    for node in ast.walk(tree):
        if name == "import" and isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)
        value = _value(node, name)
        if value is None:
            continue
        keys = [key for each in ast.walk(value) if isinstance(each, ast.Dict) for key in each.keys]
        for each in keys or ast.walk(value):
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                yield each.value


def _value(node: ast.AST, name: str) -> ast.AST | None:
    """What a name is set to, or updated with."""
    if isinstance(node, ast.Assign) and any(isinstance(each, ast.Name) and each.id == name
                                            for each in node.targets):  # fmt: skip
        if isinstance(node.value, ast.Call) and len(node.value.args) == 1:
            pairs = node.value.args[0]
            firsts = [each.elts[0] for each in ast.walk(pairs)
                      if isinstance(each, ast.Tuple) and len(each.elts) == 2]  # fmt: skip
            return ast.List(firsts, ast.Load())
        return node.value
    if (
        isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and node.target.id == name
    ):
        return node.value
    updates = (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        and node.func.attr == "update" and isinstance(node.func.value, ast.Name)
        and node.func.value.id == name
    )  # fmt: skip
    return node.args[0] if updates and isinstance(node, ast.Call) and node.args else None


def changes(old: Facts, new: Facts) -> Iterator[str]:
    """What differs, a line each."""
    for part in sorted({*old, *new}):
        before, after = old.get(part, {}), new.get(part, {})
        for name in sorted({*before, *after}):
            if name not in before:
                yield f"+ {part}: {name} {after[name] if part == 'classes' else ''}".rstrip()
            elif name not in after:
                yield f"- {part}: {name}"
            elif before[name] != after[name]:
                shown = _fields(before[name], after[name]) if part == "classes" else ""
                yield f"~ {part}: {name}{shown}"


def _fields(before: str, after: str) -> str:
    """Fields of a class that came and went."""
    old, new = (text.split("; ") for text in (before, after))
    came = [f"+{each.strip()}" for each in new if each not in old]
    gone = [f"-{each.strip()}" for each in old if each not in new]
    return f": {', '.join((*came, *gone))}"


def table() -> dict[str, Any]:
    """The facts as committed."""
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


def release_of(folder: Path, package: str) -> str:
    """The release that a wheel's metadata states, "" where it has none."""
    for path in folder.glob("*.dist-info/METADATA"):
        found = re.search(r"^Version: (\S+)", path.read_text("utf-8"), re.MULTILINE)
        if found is not None and path.parent.name.split("-")[0].lower() == package.split("/")[0]:
            return found[1]
    return ""


def _write(known: dict[str, Any]) -> None:
    lines = []
    for engine, row in sorted(known.items()):
        parts = [f'"{key}": {json.dumps(value)}' for key, value in row.items()]
        lines.append(f'"{engine}": {{\n' + ",\n".join(parts) + "\n}")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def main(arguments: list[str]) -> int:
    names = [each for each in arguments if not each.startswith("--")]
    if len(names) < 2 or names[0] not in sources():
        print(
            f"usage: python -m tests.engines.releases {'|'.join(sources())} FOLDER [RELEASE] [--write]"
        )
        return 2
    engine, folder = names[0], Path(names[1])
    found = facts_of(engine, folder)
    release = names[2] if len(names) > 2 else release_of(folder, sources()[engine].package)
    known = table() if FILE.exists() else {}
    old = known.get(engine, {})
    lines = list(changes(old.get("facts", {}), found))
    print(f"{engine} {old.get('release', 'nothing')} -> {release or 'a release that is not stated'}: "
          f"{len(lines)} differences")  # fmt: skip
    print("\n".join(lines))
    if "--write" in arguments:
        date = datetime.now(UTC).date().isoformat()
        known[engine] = {"release": release, "read": date, "facts": found}
        _write(known)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
