"""What the witness agreed to, as a table: `python -m tests.verify.proven`.

The four proofs of every small spec, and the parameters of every shipped spec, take a minute of CPU.
tests/verify/proven.json holds a digest of what each spec's formula said when its proofs passed; CI
proves a sample again and replays the rest without torch. The command proves the specs whose digest is
not in the table; with `--all`, as after a change under kvcalc/verify, all of them.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kvcalc.memory.inventory import groups_of, parameter_groups
from kvcalc.memory.weights import summarise
from kvcalc.spec.catalog import load, shipped
from kvcalc.spec.loader import load_spec_text
from kvcalc.spec.model import ModelSpec
from tests.verify.specs import SPECS

FILE = Path(__file__).with_name("proven.json")


def digest(spec: ModelSpec) -> str:
    """What the formula says: every tensor's place, name and shape, every cache, the total."""
    said: list[object] = [summarise(spec).total]
    for group in parameter_groups(spec):
        tensors = [(tensor.name, tensor.shape, tensor.buffer) for tensor in group.tensors]
        said.append((group.prefix, tuple(group.layers), tensors))
    for held in groups_of(spec):
        said.append(
            (held.layers, [(t.name, t.shape, repr(t.extent), t.role) for t in held.tensors])
        )
    return hashlib.sha256(repr(said).encode()).hexdigest()[:12]


def every_spec() -> Iterator[tuple[str, Callable[[], ModelSpec]]]:
    """The small specs, named with a word before, and the shipped ones."""
    for name, text in SPECS.items():
        yield f"small {name}", lambda text=text: load_spec_text(text)  # type: ignore[misc]
    for name in shipped():
        yield name, lambda name=name: load(name)  # type: ignore[misc]


def prove(name: str, spec: ModelSpec) -> None:
    """All four proofs of a small spec, the parameters of a shipped one. Fails where one does."""
    from kvcalc.verify.prove.parameters import prove_parameters
    from kvcalc.verify.runner import verify

    proofs = verify(spec).proofs if name.startswith("small ") else (prove_parameters(spec),)
    failures = [failure for proof in proofs for failure in proof.failures]
    assert all(proof.passed for proof in proofs), (name, failures)


def table() -> dict[str, str]:
    """The file as it is."""
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    digests: dict[str, str] = found["digests"]
    return digests


def main(everything: bool) -> None:
    """Prove what is not proven, and write the table."""
    old = table() if FILE.exists() and not everything else {}
    new: dict[str, str] = {}
    for name, made in every_spec():
        spec = made()
        new[name] = digest(spec)
        if old.get(name) != new[name]:
            prove(name, spec)
    if new != old:
        date = datetime.now(UTC).date().isoformat()
        rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(text)}" for name, text in new.items())
        FILE.write_text(f'{{"date": "{date}", "digests": {{\n{rows}\n}}}}\n', "utf-8")


if __name__ == "__main__":
    main("--all" in sys.argv[1:])
