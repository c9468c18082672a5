"""``kvcalc.yaml`` as a JSON Schema (draft-07), made from the dataclasses that its reader fills.

``python -m kvcalc.checks.policy_schema`` writes policy_schema.json, which stands beside this file.
What it cannot say is in which spelling YAML holds a value (``010``, quoted numbers), which GPUs and
number formats there are, and whether so many B or KiB are a GPU's memory: of those ``kvcalc check``
judges.
"""

from pathlib import Path
from typing import Any

from kvcalc.checks.budget_language import LIMITS, Policy, PolicyBudget
from kvcalc.checks.policy_form import gpu_engines
from kvcalc.checks.quantities import QUANTITIES
from kvcalc.spec import schema as spec_schema
from kvcalc.units import KIB

FILE = Path(__file__).with_name("policy_schema.json")

Node = dict[str, Any]

_PERCENT = r"([0-9]+\.?[0-9]*|\.[0-9]+)\s*%"
_BOUND = {"$ref": "#/definitions/Bound"}


def schema() -> Node:
    """The JSON Schema of a policy."""
    node = spec_schema.schema(Policy, "kvcalc policy")
    sizes = spec_schema.schema(PolicyBudget)["properties"]["cache"]["pattern"]
    node["definitions"]["Bound"] = {
        "description": "A share (0.5%) or an amount (64MiB, or a number in quotes).",
        "anyOf": [_text(f"^{_PERCENT}$"), _text(sizes), _text("^(0|[1-9][0-9_]*)$")],
    }
    node["properties"]["tolerances"] |= {
        "properties": {name: _BOUND for name in (*QUANTITIES, "all")},
        "additionalProperties": False,
        "minProperties": 0,
    }
    budget = node["definitions"]["PolicyBudget"]
    fields = budget["properties"]
    # A size below 64 KiB has lost its unit. Of small units with more digits the reader judges.
    fields["gpu_memory"] |= {"minimum": 64 * KIB, "not": _text(r"^[0-9]{1,4}(\.[0-9]+)?\s*[bB]$")}
    engine = fields["engine"]
    fields["engine"] = {"description": engine["description"], "enum": [*gpu_engines(), None]}
    # Not only what is not meant.
    fields["models"]["then"]["contains"] = {"not": _text("^!")}
    fields["models"]["else"] = {**fields["models"]["else"], "pattern": "^[^!]"}
    budget["allOf"] = _contradictions()
    return node


def _contradictions() -> list[Node]:
    """What kvcalc.checks.policy_form refuses of a budget, whatever the model."""
    gpu = {"anyOf": [_given("gpu"), _given("gpu_memory")]}
    grows = {"anyOf": [_given(name) for name in ("cache", "total", "gpu", "gpu_memory")]}
    several = [{"required": [name], "properties": {name: {"minimum": 2}}} for name in ("tp", "pp")]
    return [
        {"anyOf": [_given(name) for name in LIMITS]},
        {"if": grows, "then": {"anyOf": [_tokens("context"), _tokens("encoder_context")]}},
        {"if": _given("engine"), "then": _tokens("context")},
        {"if": _given("gpu"), "then": {"properties": {"gpu_memory": {"type": "null"}}}},
        {"if": {"anyOf": [_given("engine"), *several]}, "then": gpu},
        {
            "if": _given("memory_utilization"),
            "then": {"anyOf": [_given("gpu"), _given("engine")]},
        },
        {"properties": {"memory_utilization": {"not": {"anyOf": [{"const": 0}, _text("^0/")]}}}},
    ]


def _given(name: str) -> Node:
    """Said, and not null, which says nothing."""
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _tokens(name: str) -> Node:
    """Said, and not 0, which says nothing."""
    return {
        "required": [name],
        "properties": {name: {"not": {"anyOf": [{"const": 0}, _text("^0")]}}},
    }


def _text(pattern: str) -> Node:
    return {"type": "string", "pattern": pattern}


if __name__ == "__main__":
    FILE.write_text(spec_schema.text(schema()), encoding="utf-8")
