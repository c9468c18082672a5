"""Adds a public log to those that the tests replay and ACCURACY.md lists.

    python -m tests.logs.observe FILE --source URL [--name N] [--model M] [--gpu G] [--flags F] [--why W]

Of the log only the messages stay that kvcalc reads: no hosts, no folders, no users, no prompts. The row
says what each figure is, and whether kvcalc agrees; ``--why`` explains one that differs. Then
``python -m tests.engines.accuracy``.
"""

import argparse
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from kvcalc.logs.answer import LogAnswer, Observation
from kvcalc.logs.dialect import match, options, pairs, scalar
from kvcalc.logs.lines import PIECE_BYTES, read
from kvcalc.logs.read import answer_of
from kvcalc.logs.starts import DIALECTS

FOLDER = Path(__file__).parent / "public"
TABLE = FOLDER / "logs.jsonl"
_DRAFTS = ("method", "num_speculative_tokens", "num_spec_tokens")
_ARGUMENTS = (
    "non-default args: ",
    "with config: ",
    "server_args=",
    "args: Namespace",
    "LLM Args:",
    "KvCacheConfig(",
)
_NAMES = {
    "model",
    "model_path",
    "model_tag",
    "num_speculative_tokens",
    "num_spec_tokens",
    "method",
    "max_seq_len",
}
_SERVED = r"(?:vllm serve|trtllm-serve) +[^\s-]\S*|llama-server|sglang.launch_server"
_FOLDERS = re.compile(r"(?<![\w.])(?:~|/|[A-Za-z]:\\)[\w.~/\\@+-]*[/\\](?=[\w.-])")
_SNAPSHOT = re.compile(r"[\w/.~-]*models--([\w.-]+?)--([\w.-]+?)/[\w/]*")


def rows() -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in TABLE.read_text("utf-8").splitlines()]
        if TABLE.exists()
        else []
    )


def answered(row: dict[str, Any]) -> LogAnswer:
    """A stored log, asked again."""
    text = (FOLDER / row["file"]).read_bytes()
    return answer_of([text], row.get("model"), row.get("engine"), row.get("flags"), row.get("gpu"))


def figure(each: Observation) -> list[Any]:
    """[quantity, of, line, logged, agrees] as a row has it."""
    logged = float(each.logged) if isinstance(each.logged, Fraction) else each.logged
    return [each.quantity, each.of, each.line, logged, each.agrees]


def anonymous(text: str) -> str:
    text = _SNAPSHOT.sub(r"models--\1--\2/snapshots/HASH", text)
    text = _FOLDERS.sub("", text)
    return re.sub(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b", "HOST", text)


def compact(path: Path, engine: str | None) -> list[str]:
    """The messages of a log, a line each, in its order."""
    keys = {key for dialect in DIALECTS.values() for key in dialect.words_of_lines()}
    found = []
    with path.open("rb") as file:
        for line in read(iter(lambda: file.read(PIECE_BYTES), b""), keys):
            kept = _kept(line.text, line.wrapped, engine)
            if kept:
                writer = f"({line.writer}) " if line.writer and "pid" in line.writer else ""
                writer = writer or (f"[{line.writer}] " if line.writer else "")
                found.append(anonymous(writer + kept))
    return found


def _kept(text: str, wrapped: str, engine: str | None) -> str:
    spans, whole = [], text
    for dialect in DIALECTS.values():
        if engine is not None and dialect.name != engine:
            continue
        for message in dialect.messages:
            if message.key not in text:
                continue
            hit = match(message, text)
            if hit is None and wrapped:
                for whole in (text + wrapped, f"{text} {wrapped}"):
                    hit = match(message, whole)
                    if hit is not None:
                        break
            if hit is not None:
                spans.append(hit.span())
        if any(word in text for word in dialect.commands):
            told = [
                f"{option} {value}".strip()
                for option, value in options(text)
                if option.replace("_", "-") in dialect.options or option in dialect.options
            ]
            served = re.search(_SERVED, text)
            partition = re.search(r"VLLM_PP_LAYER_PARTITION=\S+ ", text)
            return " ".join([
                (partition[0] if partition else "") + (served[0] if served else dialect.commands[0]), *told,
            ])  # fmt: skip
    if not spans:
        return ""
    kept = whole[min(begin for begin, _ in spans) : max(end for _, end in spans)]
    mark = next((each for each in _ARGUMENTS if each in kept), None)
    if mark is None:
        return kept
    begin = kept.index(mark) + len(mark)
    return kept[:begin] + _arguments(kept[begin:])


def _arguments(text: str) -> str:
    """Of a printed dict or of a repr, the arguments that decide a cache."""
    names = _NAMES | {name for dialect in DIALECTS.values() for name in dialect.options.values()}
    told = {name: value for name, value in pairs(text) if name in names}
    drafts = {name: scalar(told.pop(name)) for name in _DRAFTS if name in told}
    shown = [f"{name}='{value}'" for name, value in told.items()]
    if drafts and re.search(r"speculative_config['\"]?\s*[=:]\s*[^N\s]", text):
        shown.append(f"speculative_config={drafts}")
    opening = "ServerArgs(" if text.startswith(("ServerArgs(", "(")) else "{"
    return f"{opening}{', '.join(shown)}, " + (")" if opening != "{" else "}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    for option in ("--name", "--model", "--gpu", "--flags", "--engine", "--why"):
        parser.add_argument(option)
    parser.add_argument("--source", required=True)
    asked = parser.parse_args()
    name = (asked.name or asked.file.stem) + ".txt"
    FOLDER.mkdir(exist_ok=True)
    lines = compact(asked.file, asked.engine)
    (FOLDER / name).write_text("\n".join(lines) + "\n", "utf-8")
    row: dict[str, Any] = {"file": name, "source": asked.source}
    for key in ("model", "gpu", "flags", "engine"):
        if getattr(asked, key):
            row[key] = getattr(asked, key)
    answer = answered(row)
    row |= {"engine": answer.engine, "version": answer.version, "name": answer.model,
            "observations": [figure(each) for each in answer.observations]}  # fmt: skip
    if asked.why:
        row["why"] = asked.why
    kept = [each for each in rows() if each["file"] != name]
    TABLE.write_text(
        "".join(json.dumps(each) + "\n" for each in sorted([*kept, row], key=lambda e: e["file"])),
        "utf-8",
    )
    for each in answer.observations:
        print(
            each.line, each.quantity, each.of, each.logged, each.predicted, each.agrees, each.reason
        )
    print(*answer.assumed, sep="\n")


if __name__ == "__main__":
    main()
