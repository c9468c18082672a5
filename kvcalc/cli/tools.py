"""What an agent may ask: commands as tools, made from the options that the commands have.

A tool's arguments are the command's, its answer what the command prints with ``--format json``, an
error the command's own words. Nothing that writes a file or runs torch is among them.
"""

import io
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from kvcalc.cli.commands import COMMANDS, commands_of
from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.spec.words import near

TOOLS = (
    "estimate", "compare", "fit", "capacity", "traffic", "explain", "models", "check", "log", "tiers",
)  # fmt: skip
# The answer's form is the tool's affair; files are the user's.
_LEFT_OUT = ("help", "format", "quiet", "output", "force", "plot", "chart")
# Where a command reads a file, ``-`` is what the agent has at hand.
_PASTED = {"log": "file", "traffic": "lengths"}


@frozen
class Tool:
    """A command as an agent sees it. schema: of its arguments. described: help and an example."""

    name: str
    described: str
    schema: dict[str, Any]


@frozen
class Answered:
    """What a command said. status: its exit status; 2 is an error. text: JSON, or why there is none."""

    status: int
    text: str

    @property
    def objects(self) -> Any:
        """The answer's object, or a list of them."""
        return json.loads(self.text)


def tools() -> tuple[Tool, ...]:
    """Every tool of this release."""
    commands = commands_of(_known())
    return tuple(Tool(name, _words(command.help), _schema(name, command))
                 for name, command in commands.items())  # fmt: skip


def ask(name: str, given: Mapping[str, Any]) -> Answered:
    """Run a command with these arguments. Raises UsageError for a tool or an argument that is none."""
    if name not in _known():
        raise UsageError(f"no tool {name}{near(name, _known())}")
    line, pasted = _line(name, commands_of((name,))[name], dict(given))
    return _run(line, pasted)


def _known() -> tuple[str, ...]:
    return tuple(name for name in TOOLS if name in COMMANDS)


def _words(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


def _asked_for(command: Any) -> Iterator[Any]:
    for param in command.params:
        if param.name not in _LEFT_OUT and not getattr(param, "hidden", False):
            yield param


def _schema(name: str, command: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for param in _asked_for(command):
        one, several = _type(param), getattr(param, "multiple", False) or param.nargs == -1
        node = {"type": "array", "items": one} if several else one
        properties[param.name] = {"description": _described(param), **node}
    if name in _PASTED:
        said = f"What '{_PASTED[name]}' would hold, as text, instead of a file's path."
        properties["text"] = {"description": said, "type": "string"}
    required = [param.name for param in _asked_for(command) if param.required]
    required = [each for each in required if each != _PASTED.get(name)]
    return {
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": False,
    }  # fmt: skip


def _type(param: Any) -> dict[str, Any]:
    if getattr(param, "is_flag", False):
        return {"type": "boolean"}
    if "int" in type(param.type).__name__.lower():
        return {"type": "integer"}
    # '8192' and '8k' are both a length.
    return {"type": ["string", "integer"]}


def _described(param: Any) -> str:
    metavar = "" if getattr(param, "is_flag", False) else f" ({param.metavar})"
    return _words(getattr(param, "help", "")) + metavar


def _line(name: str, command: Any, given: dict[str, Any]) -> tuple[list[str], str]:
    """The command line and what it reads from stdin."""
    params = {param.name: param for param in _asked_for(command)}
    pasted = ""
    if name in _PASTED and "text" in given:
        if _PASTED[name] in given:
            raise UsageError(f"give {name} {_PASTED[name]} or text, not both")
        pasted, given[_PASTED[name]] = str(given.pop("text")), "-"
    options: list[str] = [name]
    arguments: list[str] = []
    for key, value in given.items():
        if key not in params:
            raise UsageError(f"{name} has no {key}{near(key, params)}")
        if value is None:
            continue
        values = value if isinstance(value, (list, tuple)) else [value]
        if params[key].param_type_name == "option":
            options += [word for one in values for word in _option(params[key], one)]
        else:
            arguments += map(str, values)
    # What follows -- is no option, whatever it begins with.
    return [*options, "--format", "json", "--", *arguments], pasted


def _option(param: Any, value: Any) -> list[str]:
    if not param.is_flag:
        return [f"{param.opts[-1]}={value}"]
    if not isinstance(value, bool):
        raise UsageError(f"{param.name} is true or false, not {value!r}")
    names: list[str] = param.opts if value else param.secondary_opts
    return names[-1:]


@contextmanager
def _pasting(text: str) -> Iterator[None]:
    """Have a command read this from stdin, and never what the agent's program writes there."""
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(text.encode("utf-8", "surrogatepass")), "utf-8")
    try:
        yield
    finally:
        sys.stdin = before


def _run(line: list[str], pasted: str) -> Answered:
    from kvcalc.cli.app import main

    said, noted = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(noted), _pasting(pasted):
            main(line)
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else 2
    return Answered(status, said.getvalue() or noted.getvalue())
