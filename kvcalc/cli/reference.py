"""The command reference, from the commands themselves: ``python -m kvcalc.cli.reference`` rewrites it."""

from pathlib import Path
from typing import Any

from kvcalc.cli.commands import COMMANDS, build

FILE = Path(__file__).with_name("REFERENCE.md")


def text() -> str:
    """Every command with its arguments, options, defaults and example, as markdown."""
    from typer.main import get_command

    group: Any = get_command(build(tuple(COMMANDS)))
    parts = [
        "# Command reference",
        "",
        "Exit status: 0 done and good, 1 it ran and found something, 2 it could not run. Answers go "
        "to stdout,\nnotes to stderr, progress to stderr where that is a terminal.\n\n"
        "TOKENS are written `8192`, `8k` or `1m`; SIZE `80GiB`, `80GB` or bytes; DTYPE `bf16`, "
        "`bfloat16` or\n`torch.bfloat16`; MODEL is a shipped name, a hub id, or the path of a spec, "
        "a `config.json` or a checkpoint.\nCommands, options and choices may be written in any case, "
        "and with `_` for `-`. `kvcalc --install-completion`\ncompletes them, models, accelerators "
        "and formats in bash, zsh and fish.",
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
        spelling = f"`{_spelling(param)}`"
        words = " ".join((param.help or "").split())
        lines.append(f"- {spelling}: {words}{_default(param)}")
    return lines


def _spelling(param: Any) -> str:
    """``-o, --output FILE``; an argument by its metavar alone."""
    if param.param_type_name != "option":
        return str(param.metavar)
    names = ", ".join([*param.opts, *param.secondary_opts])
    return names if param.is_flag else f"{names} {param.metavar}"


def _default(param: Any) -> str:
    shown = getattr(param, "show_default", False)
    if isinstance(shown, str):
        return f" Default: {shown}."
    if param.default in (None, False, "", [], ()) or callable(param.default) or not shown:
        return ""
    return f" Default: {param.opts[0] if param.secondary_opts else _word(param.default)}."


def _word(value: Any) -> str:
    return str(getattr(value, "value", value))


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
