"""Kinds of options: what stands for the value in a help text, what completes it, what holds without it."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import typer

from kvcalc.cli import completion
from kvcalc.engines import ALIASES
from kvcalc.errors import UsageError
from kvcalc.spec.words import near


def option(metavar: str, text: str, *names: str, complete: Any = None, shown: bool | str = True,
           **more: Any) -> Any:  # fmt: skip
    """An option that takes a word. names: its spellings, where the parameter's is not enough.
    shown: what holds where it is left out, in words; False: nothing is said of that."""
    return typer.Option(*names, help=text, metavar=metavar, autocompletion=complete,
                        show_default=shown, **more)  # fmt: skip


def argument(metavar: str, text: str, complete: Any, shown: bool | str = False, **more: Any) -> Any:
    """What stands after a command by itself."""
    return typer.Argument(help=text, metavar=metavar, autocompletion=complete, show_default=shown,
                          **more)  # fmt: skip


def file(text: str, *names: str, metavar: str = "FILE", **more: Any) -> Any:
    """An option that takes a path."""
    return option(metavar, text, *names, complete=completion.path, **more)


def model(text: str, *names: str, **more: Any) -> Any:
    """An option that takes a model."""
    return option("MODEL", text, *names, complete=completion.model, **more)


def num(name: str, text: str, least: int = 1, also: tuple[str, ...] = (), **more: Any) -> Any:
    """An option that takes a whole number. also: its other spellings."""
    return typer.Option(name, *also, help=text, metavar="N", min=least, **more)


def switch(names: str, text: str, *also: str, **more: Any) -> Any:
    """An option that takes nothing."""
    return typer.Option(names, *also, help=text, **more)


def choice(known: Iterable[str], text: str, *names: str, **more: Any) -> Any:
    """An option that takes one of a few words; any other is refused."""
    words = tuple(known)

    def chosen(param: typer.CallbackParam, word: str | None) -> str | None:
        if word is None or folded(word) in words:
            return word and folded(word)
        raise none_of(param.opts[0], word, words)

    return option("|".join(words), text, *names, complete=completion.one_of(words), callback=chosen,
                  **more)  # fmt: skip


def given(read: Callable[[str], str]) -> Callable[[str | None], str | None]:
    """The callback of an option that need not be given. read: raises UsageError for what is none."""

    def callback(text: str | None) -> str | None:
        return None if text is None else read(text)

    return callback


def folded(word: str) -> str:
    """A command, an option or a choice however it is written: ``--KV_dtype``, ``tensorrt_llm``."""
    word = word.lower().replace("_", "-")
    return ALIASES.get(word, word)


def none_of(option: str, word: str, known: Iterable[str]) -> UsageError:
    """The error about a word that is none of an option's, with the one that it means."""
    words = tuple(known)
    return UsageError(f"{option} {word}: choose from {', '.join(words)}{near(folded(word), words)}")


def with_parameters(
    command: Callable[..., Any], parameters: Sequence[inspect.Parameter], returned: Any
) -> Callable[..., Any]:
    """Have typer see these parameters, whatever the function takes by itself."""
    command.__signature__ = inspect.Signature(parameters, return_annotation=returned)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__annotations__["return"] = returned
    return command
