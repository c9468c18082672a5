"""The rules that a spec is held to, each with its code; ``kvcalc check --rules`` prints this table."""

RULES: dict[str, str] = {
    "KV101": "the file is not readable UTF-8 YAML, or is too large or too deep to be a spec",
    "KV102": "a key that the spec language does not have",
    "KV103": "a required key is missing",
    "KV104": "a value of the wrong type, or a number in a spelling that YAML readers disagree on",
    "KV105": "a key that stands twice in one mapping",
    "KV106": "a kind or a choice that the spec language does not have",
    "KV107": "a number out of range",
    "KV108": "a tag, an anchor or a merge that a spec may not use",
    "KV201": "the fields of a mechanism contradict each other",
    "KV202": "the layer stack is inconsistent: unknown, unused or empty blocks",
    "KV203": "a layer reads a cache that no earlier layer keeps",
    "KV204": "embedding, head and encoder do not fit together",
    "KV205": "the recursion does not divide the stack",
    "KV301": "an expected value does not hold",
    "KV302": "no expected values are stated",
    "KV401": "a budget is exceeded",
    "KV402": "a budget cannot be computed",
    "KV501": "the name does not match the file's",
}


def describe(code: str) -> str:
    """One line about the rule."""
    return RULES[code]
