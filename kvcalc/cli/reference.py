"""The command reference, from the commands themselves: ``python -m kvcalc.cli.reference`` rewrites it."""

from pathlib import Path
from typing import Any

from kvcalc.cli.app import COMMANDS, build

FILE = Path(__file__).with_name("REFERENCE.md")


def text() -> str:
    """Every command with its arguments, options, defaults and example, as markdown."""
    from typer.main import get_command

    group: Any = get_command(build(tuple(COMMANDS)))
    parts = [
        "# Command reference",
        "",
        "Exit status: 0 done and good, 1 it ran and found something, 2 it could not run. Answers go "
        "to stdout,\nnotes and progress to stderr. Token counts are written `8192`, `8k` or `1m`, "
        "sizes `80GiB` or `80GB`.",
    ]
    for name in COMMANDS:
        parts += ["", f"## kvcalc {name}", "", *_command(group.commands[name])]
    return "\n".join(parts) + "\n"


def _command(command: Any) -> list[str]:
    paragraphs = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    lines = [line for paragraph in paragraphs for line in (paragraph, "")]
    for param in command.params:
        if getattr(param, "hidden", False) or param.name == "help":
            continue
        names = param.opts if param.param_type_name == "option" else [param.name.upper()]
        spelling = ", ".join(f"`{name}`" for name in [*names, *param.secondary_opts])
        choices = getattr(param.type, "choices", None)
        values = " (" + ", ".join(_word(choice) for choice in choices) + ")" if choices else ""
        lines.append(
            f"- {spelling}{values}: {' '.join((param.help or '').split())}{_default(param)}"
        )
    return lines


def _default(param: Any) -> str:
    shown = getattr(param, "show_default", False)
    if isinstance(shown, str):
        return f" Default: {shown}."
    if param.default in (None, False, "", [], ()) or callable(param.default) or not shown:
        return ""
    return f" Default: {_word(param.default)}."


def _word(value: Any) -> str:
    return str(getattr(value, "value", value))


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
