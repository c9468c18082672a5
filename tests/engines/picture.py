"""Writes tests/engines/accuracy.svg, the picture of the README: ``python -m tests.engines.picture``.

The figures of ACCURACY.md that engines logged, drawn as the site draws them, with its own colours inside.
"""

import re
from pathlib import Path

from kvcalc.site.accuracy import figures
from kvcalc.site.drawings.scatter import draw

FILE = Path(__file__).with_name("accuracy.svg")
ENGINES = ("vLLM", "SGLang", "TensorRT-LLM", "llama.cpp")
_STYLE = """\
<style>
svg{background:#fff;font:12px system-ui,sans-serif}
text{fill:#333}.axis{stroke:#777;fill:none}.rule{stroke:#ddd}.equal{stroke:#999;stroke-dasharray:4 3}
.mark{fill-opacity:.7}.c0{fill:#2458a6}.c1{fill:#b3611b}.c2{fill:#3c7a3c}.c3{fill:#8a2f62}
@media(prefers-color-scheme:dark){svg{background:#16181c}text{fill:#ddd}.rule{stroke:#333}
.c0{fill:#7fb0ff}.c1{fill:#f0a860}.c2{fill:#8ed08e}.c3{fill:#e08fbb}}
</style>
"""


def text() -> str:
    """The drawing alone, as a file that stands by itself."""
    every = [one for engine in ENGINES for one in figures(engine)]
    drawn = draw("What engines logged, and what kvcalc predicted", every)
    found = re.search(r"<svg .*</svg>", drawn, re.DOTALL)
    assert found is not None
    # A margin for the longest labels, which the site's page has.
    opening, rest = (
        found[0].replace('viewBox="0 0 760 430"', 'viewBox="-24 0 820 440"').split(">", 1)
    )
    return f'{opening} xmlns="http://www.w3.org/2000/svg">{_STYLE}{rest}\n'


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
