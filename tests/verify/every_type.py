"""The reference models of random configs of every model type that imports.

A test proves the parameters of one draw of each type (``tests/verify/test_every_type.py``).
``python -m tests.verify.every_type [DRAWS]`` runs all four proofs, about a second for each draw,
and prints the types for which the witness and the formula disagree, and why.
"""

import sys
from collections.abc import Iterator

from kvcalc.convert.config import class_defaults
from kvcalc.convert.hf import spec_from_config
from kvcalc.convert.model_types import CONVERTERS
from kvcalc.errors import KvcalcError
from kvcalc.spec.model import ModelSpec
from kvcalc.verify.prove.parameters import prove_parameters
from kvcalc.verify.runner import verify
from tests.convert.draws import draw


def drawn(model_type: str, seed: int) -> ModelSpec:
    """The spec that a random config of this type imports to."""
    fields = class_defaults()[model_type]["defaults"]
    return spec_from_config(draw(model_type, seed, fields), "drawn", "made up").spec


def parameters_differ(model_type: str, seed: int) -> tuple[str, ...]:
    """What the reference model and the formula disagree on, in parameters."""
    return prove_parameters(drawn(model_type, seed)).failures


def everything_that_differs(model_type: str, seed: int) -> Iterator[str]:
    """Every failure of the four proofs, in words."""
    try:
        found = verify(drawn(model_type, seed))
    except KvcalcError as error:
        yield f"could not run: {error.message}"
        return
    for proof in found.proofs:
        for failure in proof.failures:
            yield f"{proof.name}: {failure}"


def main(draws: int) -> int:
    """Print what differs; the number of differences."""
    count = 0
    for model_type in CONVERTERS:
        for seed in range(draws):
            for failure in everything_that_differs(model_type, seed):
                print(f"{model_type} seed {seed}: {failure}", flush=True)
                count += 1
    print(f"{len(CONVERTERS)} types, {draws} draws of each: {count} differences")
    return count


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 1) else 0)
