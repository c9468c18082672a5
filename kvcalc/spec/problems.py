"""The rules that a spec is held to, each with its code; ``kvcalc check --rules`` prints them."""

from typing import Literal

from kvcalc.frozen import frozen

Severity = Literal["error", "warning"]


@frozen
class Rule:
    """One rule. A warning leaves ``kvcalc check`` at exit status 0 unless it runs with --strict."""

    code: str
    summary: str
    severity: Severity = "error"


_RULES = (
    Rule("KV101", "the file is not readable UTF-8 YAML, or is too large or too deep to be a spec"),
    Rule("KV102", "a key that the spec language does not have"),
    Rule("KV103", "a required key is missing"),
    Rule("KV104", "a value of the wrong type, or in a spelling that YAML readers disagree on"),
    Rule("KV105", "a key that stands twice in one mapping"),
    Rule("KV106", "a kind or a choice that the spec language does not have"),
    Rule("KV107", "a number out of range"),
    Rule("KV108", "a tag, an anchor or a merge that a spec may not use"),
    Rule("KV201", "the fields of a mechanism contradict each other"),
    Rule("KV202", "the layer stack is inconsistent: unknown, unused or empty blocks"),
    Rule("KV203", "a layer reads a cache that no earlier layer keeps"),
    Rule("KV204", "embedding, head, encoder and masks do not fit together"),
    Rule("KV205", "the recursion does not divide the stack"),
    Rule("KV301", "an expected value does not hold"),
    Rule("KV302", "no expected values are stated", "warning"),
    Rule("KV401", "a budget is exceeded"),
    Rule("KV402", "a budget cannot be computed"),
    Rule("KV403", "a field of a budget decides nothing", "warning"),
    Rule("KV501", "the name does not match the file's"),
    Rule("KV502", "no source is named"),
)
RULES: dict[str, Rule] = {rule.code: rule for rule in _RULES}
