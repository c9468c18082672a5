"""How many random inputs a test draws. Every run draws others; before a release ten times as many:

KVCALC_EXAMPLES=10 pytest -m hypothesis
"""

import os


def examples(number: int) -> int:
    """This many, or as many times as many as the environment says."""
    return number * int(os.environ.get("KVCALC_EXAMPLES", "1"))
