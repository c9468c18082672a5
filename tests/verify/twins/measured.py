"""The twins that transformers builds of shipped specs: `python -m tests.verify.twins.measured`.

Each is built at true size on the meta device and run, as `kvcalc verify --against transformers` does,
which takes minutes; tests/verify/twins/measured.json holds what it counted, and test_measured.py replays
it without torch. The command measures the names that are missing; with `--all`, all of them.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kvcalc.convert.hf import TRANSFORMERS
from kvcalc.spec.catalog import load

FILE = Path(__file__).with_name("measured.json")

# One of each way to stack layers and to keep something.
NAMES = (
    "llama-3-8b", "gemma-3-1b", "gpt-oss-20b", "deepseek-v3", "deepseek-v3.2", "minicpm3-4b",
    "falcon-40b", "mamba2-2.7b", "jamba-1.5-mini", "qwen3-next-80b-a3b", "kimi-linear-48b-a3b",
    "nemotron-h-8b", "zamba2-2.7b", "lfm2-1.2b", "gemma-3n-e2b", "gemma-4-e2b", "llama-4-scout",
    "minimax-text-01", "xlstm-7b", "rwkv-4-169m", "gpt2", "t5-base", "whisper-tiny", "bart-base",
    "bert-base-uncased", "albert-base-v2", "dbrx", "longcat-flash", "flan-t5-xl",
)  # fmt: skip


def measure(name: str) -> dict[str, Any]:
    """What one twin has: every comparison with the spec must pass while it is measured."""
    from kvcalc.verify.twins.comparison import DECODE_STEPS, verify_against_transformers

    report = verify_against_transformers(load(name))
    assert report.passed, (name, report.failures)
    return {
        "class": report.class_name, "parameters": report.parameters,
        "tokens": report.tokens + DECODE_STEPS, "cache_bytes": report.cache_bytes,
        "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip


def table() -> dict[str, Any]:
    """The file as it is."""
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


def text(twins: dict[str, Any]) -> str:
    """One model a line."""
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in twins.items()]
    return f'{{"transformers": "{TRANSFORMERS}", "twins": {{\n' + ",\n".join(lines) + "\n}}\n"


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    old = table() if FILE.exists() and "--all" not in sys.argv[1:] else {"twins": {}}
    kept = old["twins"] if old.get("transformers") == TRANSFORMERS else {}
    FILE.write_text(text({name: kept.get(name) or measure(name) for name in NAMES}), "utf-8")
