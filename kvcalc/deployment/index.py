"""hardware.yaml and apple.yaml as they were read once, so that a device costs no YAML.

``index.jsonl`` has a line for each: its name, a checksum, and its content as JSON, whose keys are
texts. YAML stays the source: a file with another checksum is read. Written by
``python -m kvcalc.deployment.index``; tests/deployment/test_hardware.py holds it to the files.
"""

import json
from pathlib import Path
from typing import Any

from kvcalc.spec.index import key, known

FILE = Path(__file__).with_name("index.jsonl")
HARDWARE = Path(__file__).with_name("hardware.yaml")
APPLE = Path(__file__).with_name("apple.yaml")


def content(path: Path) -> Any:
    """What a file says."""
    return json.loads(known(str(FILE)).get(key(path)) or as_json(path))


def as_json(path: Path) -> str:
    """A YAML file in one line."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = yaml.load(path.read_text("utf-8"), Loader=loader)
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False)


def text() -> str:
    """What the index should hold."""
    return "".join(f"{key(path)}\t{as_json(path)}\n" for path in (HARDWARE, APPLE))


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
