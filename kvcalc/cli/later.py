"""What typer imports and a short command never uses, put off until something uses it.

``import typer`` is two thirds of ``kvcalc estimate``, and a fifth of that are modules for what only some
runs do: open a browser, lay out a help text, guess what a wrong word meant. While typer is imported,
each of them that nobody imported before is a stand-in, which imports the module when it is first asked
for anything. Once typer is there, ``sys.modules`` has no stand-in any more: whoever imports such a
module gets the module, and what typer kept forwards to it.

A stand-in answers nothing by itself, so the list decides what a run costs and nothing else: what
another typer or Python does use at its top is imported there and then. A module that is needed for its
classes (``from uuid import UUID``) cannot be put off. Python 3.15 does this by itself (lazy imports,
PEP 810). ``importlib.util.LazyLoader`` does not do: importing a module once more asks it for its
``__spec__``, and that loads it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

# module -> the functions that are taken from it by name (``from shutil import get_terminal_size``), for
# which functions stand that call them. Importing any of these modules does nothing but define names, so
# it does not matter when; and each is there wherever typer is.
PUT_OFF: dict[str, tuple[str, ...]] = {
    # typer: opening a browser or an editor, installing completion, widths and words of messages, what
    # a wrong word meant.
    "difflib": ("get_close_matches",),
    "gettext": ("gettext",),
    "platform": (),  # Since Python 3.13; uuid asks it for the system before.
    "shutil": ("get_terminal_size",),
    "subprocess": (),
    "typer.completion": ("get_completion_inspect_parameters",),
    # pathlib: file URLs, and Windows' paths elsewhere.
    "ntpath": (),
    "urllib.parse": ("quote_from_bytes",),
    # inspect, linecache and traceback: the source of a function or a line.
    "ast": (),  # Since Python 3.13; inspect has a class of it before.
    "textwrap": (),
    "tokenize": (),
}


class _Later(ModuleType):
    # A module that is imported when it is first asked for what modules define.

    def __getattr__(self, name: str) -> Any:
        # ``from`` asks for a package's path: none of these is one.
        if name == "__path__":
            raise AttributeError(name)
        if name in PUT_OFF[self.__name__] and sys.modules.get(self.__name__) is self:
            return _calling(self, name)
        return getattr(_imported(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_imported(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_imported(self), name)

    def __dir__(self) -> list[str]:
        return dir(_imported(self))


def _imported(later: _Later) -> ModuleType:
    """The module itself."""
    if sys.modules.get(later.__name__) is later:
        del sys.modules[later.__name__]
    return import_module(later.__name__)


def _calling(later: _Later, name: str) -> Callable[..., Any]:
    """A function that calls the module's function of that name."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(_imported(later), name)(*args, **kwargs)

    return call


@contextmanager
def put_off() -> Iterator[None]:
    """Inside, who imports one of the modules gets a stand-in; one that is there already stays."""
    made = {name: _Later(name) for name in PUT_OFF if name not in sys.modules}
    sys.modules.update(made)
    try:
        yield
    finally:
        for name, later in made.items():
            if sys.modules.get(name) is later:
                del sys.modules[name]
