"""``kvcalc verify --format json``: every proof, every tensor, integers only."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvcalc.verify.proofs import Proof, Verification


def render(results: "tuple[Verification, ...]") -> str:
    """One object with all models, and a newline at its end."""
    return json.dumps(to_object(results), indent=1) + "\n"


def to_object(results: "tuple[Verification, ...]") -> dict[str, Any]:
    """Models in the order they were named."""
    return {
        "schema_version": 1,
        "passed": all(found.passed for found in results),
        "num_models": len(results),
        "num_passed": sum(found.passed for found in results),
        "models": [_model(found) for found in results],
    }


def _model(found: "Verification") -> dict[str, Any]:
    return {
        "model": found.model,
        "source": list(found.source),
        "against": found.against,
        "device": found.device,
        "torch_version": found.torch_version,
        "passed": found.passed,
        "trouble": found.trouble or None,
        "seconds": found.seconds,
        "plan": found.plan,
        "made_small": [
            {"field": path, "true": old, "small": new} for path, old, new in found.changes
        ],
        "proofs": [_proof(proof) for proof in found.proofs],
    }


def _proof(proof: "Proof") -> dict[str, Any]:
    return {
        "name": proof.name,
        "passed": proof.passed,
        "applies": proof.applies,
        "unit": proof.unit or None,
        "formula_total": proof.formula_total,
        "measured_total": proof.measured_total,
        "failures": list(proof.failures),
        "notes": list(proof.notes),
        "rows": [asdict(row) for row in proof.rows],
    }
