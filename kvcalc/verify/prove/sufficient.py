"""*sufficient*: decoding with the cache gives what one pass without it gives, in float64."""

import torch

from kvcalc.proofs import Proof, Row, proved
from kvcalc.verify.model import ModelCache
from kvcalc.verify.places import label
from kvcalc.verify.prove.small import Run

TOLERANCE = 1e-9


def prove_sufficient(run: Run) -> Proof:
    """Decoding with the cache against one pass without it, and one cache against another."""
    if run.encoder_only:
        return Proof("sufficient", True, applies=False,
                     notes=("an encoder sees its whole input at once: nothing is decoded",))  # fmt: skip
    tokens, prefill = run.plan.tokens, run.plan.prefill
    ids = run.ids[:, :tokens]
    recursive = run.spec.recursion is not None
    late = max(prefill, tokens - 4)
    ways = [("one by one", (prefill,)), ("in two stretches", (prefill, late))]
    if not recursive:
        ways.append(("after a long prefill", (late,)))
    rows, failures = [], []
    caches: list[ModelCache] = []
    for words, cuts in ways:
        whole = run.model(ids, None, run.source, prompt=cuts[0])
        stepped, cache = run.decode(*cuts)
        caches.append(cache)
        apart = difference(whole, stepped)
        good = apart <= TOLERANCE
        at = " and ".join(str(cut) for cut in cuts)
        rows.append(
            Row("outputs", 1, good, note=f"{words} (from {at}): max difference {apart:.1e}")
        )
        if not good:
            first = int((whole - stepped).abs().amax((0, 2)).gt(TOLERANCE).nonzero()[0])
            failures.append(
                f"outputs {words} differ from one pass by {apart:.3g} from token {first} on: "
                f"something that is needed is not kept"
            )
    for place, name, tensor in caches[0].tensors():
        for other in caches[1:]:
            twin = other.states.get(place, {}).get(name)
            alike = twin is not None and twin.shape == tensor.shape
            apart = difference(tensor, twin) if twin is not None and alike else float("inf")
            if apart > TOLERANCE:
                failures.append(
                    f"{label(place, name)}: depends on how the tokens were cut into passes "
                    f"(max difference {apart:.3g})"
                )
                break
    return proved("sufficient", rows, failures)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest absolute difference; infinite where one is not a number."""
    if not a.numel():
        return 0.0
    return float((a - b).abs().nan_to_num(nan=float("inf")).max())
