"""``--limit-mm-per-prompt.image 4``, as vLLM's command line takes an object part by part."""

import json
import re
from typing import Any

from kvcalc.errors import UsageError

# Longer ones stay text, which is refused as no number.
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_OBJECTS = ("--limit-mm-per-prompt", "--mm-processor-kwargs")


def undotted(arguments: list[str]) -> list[str]:
    """The same words with one option for each object, in JSON, where its first part stood.

    Words after ``--`` stay, as do options that are no objects. Raises UsageError for a part without a
    value, and for an object that is given both ways.
    """
    found: dict[str, dict[str, Any]] = {}
    words: list[str] = []
    left = iter(arguments)
    for word in left:
        if word == "--":
            words += [word, *left]
            break
        name, equals, value = word.partition("=")
        option, dot, path = name.partition(".")
        if not dot or option not in _OBJECTS:
            words.append(word)
            continue
        if not equals:
            value = next(left, "")
        if not path or not value or value.startswith("--"):
            raise UsageError(f"{name} needs a value, such as {option}.image 4")
        if option not in found:
            words += [option, ""]
        _put(found.setdefault(option, {}), path.split("."), value, name)
    return _filled(words, found)


def _put(into: dict[str, Any], path: list[str], value: str, name: str) -> None:
    *outer, last = path
    for part in outer:
        into = into.setdefault(part, {})
        if not isinstance(into, dict):
            raise UsageError(f"{name}: {part} is a number and an object")
    if last in into:
        raise UsageError(f"{name} is said twice")
    into[last] = int(value) if _NUMBER.fullmatch(value) else value


def _filled(words: list[str], found: dict[str, dict[str, Any]]) -> list[str]:
    for option, value in found.items():
        if sum(word == option or word.startswith(f"{option}=") for word in words) > 1:
            raise UsageError(f"{option}: say it whole or part by part, not both")
        words[words.index(option) + 1] = json.dumps(value)
    return words
