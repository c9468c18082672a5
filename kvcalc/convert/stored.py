"""What readers of model files share: a tensor as a header lists it, JSON, what was added up."""

import json
import re
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from kvcalc.errors import Problem, SpecError
from kvcalc.spec.stored import StoredWeights
from kvcalc.tensors import Component


class StoredTensor(NamedTuple):
    """One tensor of a header, or several of a layer that differ in the numbers of their names alone.

    name: with N in place of such numbers. shape: of one. dtype: the file's own word for its number
    format. num_bytes: of all. layer: the first number of a layer in the name; -1 where there is none.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    num_bytes: int
    number: int = 1
    layer: int = -1

    @property
    def numel(self) -> int:
        """Elements of all."""
        return self.number * prod(self.shape)

    def part(self, number: int) -> "StoredTensor":
        """So many of them."""
        return self._replace(number=number, num_bytes=self.num_bytes // self.number * number)


def count_of(tensors: Iterable[StoredTensor]) -> int:
    """How many tensors there are."""
    return sum(tensor.number for tensor in tensors)


def wrong_file(path: str, message: str, line: int = 0, column: int = 0) -> SpecError:
    """The error about a file whose content is wrong."""
    place = f"{path}:{line}:{column}" if line else path
    return SpecError(f"{place}: {message}", (Problem("KV101", path, line, column, "", message),))


def json_object(data: bytes, path: str, what: str, most: int = 1 << 30) -> dict[str, Any]:
    """A JSON object without keys that stand twice. what: what it is, for messages. most: entries that
    a text may have, which is refused before it takes the memory of more."""
    if data.count(b",") > most or data.count(b"[") + data.count(b"{") > most:
        raise wrong_file(path, f"{what} has more entries than a checkpoint has tensors")
    halves = b"\\ud" in data or b"\\uD" in data
    try:
        text = data.decode("utf-8-sig")
        # Ten megabytes that the parser need not have beside its own.
        del data
        value = json.loads(text, object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        where = f"byte 0x{error.object[error.start]:02x} at {error.start}"
        raise wrong_file(path, f"{what} is not UTF-8 ({where})") from None
    except json.JSONDecodeError as error:
        raise wrong_file(
            path, f"{what} is not JSON: {error.msg}", error.lineno, error.colno
        ) from None
    except RecursionError:
        raise wrong_file(path, f"{what} is nested too deeply") from None
    except _Twice as error:
        raise wrong_file(path, f"{what} has '{error}' twice") from None
    except ValueError:
        raise wrong_file(path, f"{what} is not JSON: a number too long to be one") from None
    if not isinstance(value, dict):
        raise wrong_file(path, f"{what} is not a JSON object")
    if halves:
        # Half of a pair is in no text that a page, a spec or another program could take.
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise wrong_file(path, f"{what} holds half of a surrogate pair: no text") from None
    return value


class _Twice(Exception):
    """A key that stands twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twice(key[:80])
            seen.add(key)
    return found


def stored_weights(
    path: str,
    taken: Iterable[tuple[StoredTensor, Component]],
    beside: Mapping[str, Iterable[StoredTensor]],
) -> StoredWeights:
    """Add up the bytes of a model's tensors. beside: what else the files hold, by what it is."""
    by_component: dict[Component, int] = {}
    by_dtype: dict[str, int] = {}
    for tensor, component in taken:
        by_component[component] = by_component.get(component, 0) + tensor.num_bytes
        by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + tensor.num_bytes
    rest = {what: sum(tensor.num_bytes for tensor in found) for what, found in beside.items()}
    return StoredWeights(
        path=path,
        by_component=by_component,
        by_dtype=dict(sorted(by_dtype.items(), key=lambda item: -item[1])),
        beside=tuple((what, num_bytes) for what, num_bytes in rest.items() if num_bytes),
    )


def model_stem(path: str) -> str:
    """The name of a file's model: the file's own, without what splits and suffixes add."""
    stem = re.sub(r"(-\d{5}-of-\d{5})?\.(gguf|safetensors)$", "", Path(path).name)
    return stem or "model"
