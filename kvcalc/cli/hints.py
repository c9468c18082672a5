"""What a user meant who gave an option or a command that there is not, and what to run instead."""

import re
from pathlib import Path
from typing import Any

from kvcalc import names

# What engines and other tools call it.
_HERE = {
    "--ctx": "--context", "--context-length": "--context", "--seq-len": "--context",
    "--batch-size": "--batch", "--kv-cache-dtype": "--kv-dtype", "--cache-dtype": "--kv-dtype",
    "--tensor-parallel-size": "--tp", "--tp-size": "--tp", "--pipeline-parallel-size": "--pp",
    "--gpu-memory-utilization": "--memory-utilization", "--json": "--format json",
    "--output-format": "--format",
}  # fmt: skip
_BY_COMMAND = {("capacity", "--batch"): "--max-num-seqs N (llama.cpp: --parallel N)"}
_SUCH_AS = {"diff": "--base origin/main", "report": "-o report.html"}


def message(error: Any, arguments: list[str]) -> str:
    """The sentence of one of typer's usage errors, with what to run instead."""
    context = getattr(error, "ctx", None)
    command = context.info_name if context is not None else arguments[0]
    path = "kvcalc" if command == "kvcalc" else f"kvcalc {command}"
    text = error.format_message().rstrip(".")
    option = getattr(error, "option_name", "")
    kind = type(error).__name__
    if kind == "NoSuchOption":
        text = f"no such option: {option}" + _option(option, command, context)
    elif text.startswith("No such command") and arguments:
        text = f"no such command '{arguments[0]}'" + _command(arguments)
    elif "unexpected extra argument" in text and command in ("explain", "capacity"):
        text += f"; '{path}' answers for one model"
    elif kind == "MissingParameter":
        text += f"; such as {_SUCH_AS[command]}" if command in _SUCH_AS else ""
    elif kind == "BadParameter":
        # Older and newer typer name the type differently.
        text = re.sub("a valid int(eger)? range", "a whole number", text)
        text += "; 'kvcalc compare' takes several" if re.search(r"'\w+,[\w,]+'", text) else ""
        word = re.search(r": '([^']*)' is not one of ('.*')$", text)
        near = names.hint(word[1], word[2].strip("'").split("', '")) if word else ""
        text += f"; {near}" if near else ""
    return f"{text[:1].lower()}{text[1:]} (see '{path} --help')"


def _option(option: str, command: str, context: Any) -> str:
    from kvcalc.cli.commands import COMMANDS, commands_of

    own = [name for param in context.command.params for name in param.opts]
    option = option.lower().replace("_", "-")
    meant = _BY_COMMAND.get((command, option)) or _HERE.get(option)
    if meant and meant.split()[0] in own:
        return f"; here it is {meant}"
    if option in ("-o", "--output"):
        return "; the answer goes to a file with '> FILE'"
    having = [
        f"'kvcalc {name}'"
        for name, other in commands_of(tuple(COMMANDS)).items()
        if any(option in param.opts for param in other.params)
    ]
    if having and command == "kvcalc":
        return "; it stands after the command"
    if having:
        return f"; {_list(having)} {'has' if len(having) == 1 else 'have'} it"
    near = names.hint(option, own)
    return f"; {near}" if near else ""


def _command(arguments: list[str]) -> str:
    from kvcalc.cli.commands import COMMANDS
    from kvcalc.spec.catalog import shipped

    near = names.hint(arguments[0], tuple(COMMANDS))
    if near:
        return f"; {near}"
    if arguments[0].lower() in shipped() or (arguments[0] and Path(arguments[0]).exists()):
        return f"; did you mean 'kvcalc estimate {' '.join(arguments)}'?"
    return f"; there are {_list(list(COMMANDS))}"


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
