"""Flags that somebody typed: a shell's line, the arguments of a container, lines of a compose file."""

import re

from kvcalc.logs.dialect import Dialect, options
from kvcalc.logs.facts import Said, Start
from kvcalc.logs.lines import LogLine

# A model's name has a digit or a mark in it: "trtllm-serve for model x" has none.
_NAME = re.compile(r"[\"'`]?(?!-)[\w./~:$-]*[\d/.:-][\w./:-]*")
# Words before a model that stands without an option.
_SERVES = {
    "vllm serve ": "vllm", "trtllm-serve serve ": "tensorrt-llm", "trtllm-serve ": "tensorrt-llm",
    "ollama run ": "llama.cpp",
}  # fmt: skip


def command_flags(dialect: Dialect, start: Start, line: LogLine) -> None:
    """What a line of a shell says. What the engine printed itself holds over it."""
    text = line.text
    start.dims.setdefault("arguments", Said(True, line.number))
    for words, engine in _SERVES.items():
        begin = text.find(words)
        if begin < 0 or dialect.name != engine:
            continue
        after = text[begin + len(words) :].split()
        if after and _NAME.match(after[0]) and start.model is None:
            start.model = Said(after[0].strip("\"'`"), line.number)
    for option, value in options(text):
        name = dialect.options.get(option, dialect.options.get(option.replace("_", "-"), ""))
        if not name:
            continue
        dialect.put(start, name, value if value else "True", line.number, sure=False)
