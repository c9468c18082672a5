"""Modules that stand in for packages which need a GPU or are not installed: any attribute is a mock."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any
from unittest.mock import MagicMock


class _Class(type):
    """A class whose attributes are mocks, where it has none."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)

    def __getitem__(cls, item: Any) -> Any:
        return cls

    def register(cls, *_: Any, **__: Any) -> Any:
        return lambda made: made


class _Module(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made: Any = MagicMock(name=f"{self.__name__}.{name}")
        if name[0].isupper() and not name.isupper():
            made = _Class(name, (), {})  # classes are made of it
        setattr(self, name, made)
        return made


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers imports of ``names``, and of everything below them."""

    def __init__(self, names: set[str], origin: str | None = None) -> None:
        self.names, self.origin = names, origin

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if not any(name == each or name.startswith(f"{each}.") for each in self.names):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True, origin=self.origin)

    def create_module(self, spec: Any) -> types.ModuleType:
        made = _Module(spec.name)
        made.__path__ = []
        return made

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def stand_in(always: set[str], missing: tuple[str, ...] = (), origin: str | None = None) -> None:
    """Put stand-ins in the place of ``always``, and of those of ``missing`` that are not installed."""
    absent = {name for name in missing if importlib.util.find_spec(name) is None}
    sys.meta_path.insert(0, StandIns(always | absent, origin))
