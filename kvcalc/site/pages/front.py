"""The front page: what the site answers, in one picture, and where to go on."""

from collections.abc import Sequence

from kvcalc.engines import ENGINES, engine_of
from kvcalc.memory.grid import kinds
from kvcalc.report.answers.mechanisms import Section
from kvcalc.site import accuracy
from kvcalc.site.drawings import bars
from kvcalc.site.drawings.svg import figure
from kvcalc.site.frame import Page, text
from kvcalc.site.pages import mechanism
from kvcalc.site.pages.lists import named
from kvcalc.site.parts import facts
from kvcalc.site.subject import Subject

_LENGTH = 131072
# Models whose caches differ for a reason each: what a name of an attention costs.
_SHOWN = (
    "llama-3.1-405b", "llama-3.3-70b", "llama-3.1-8b", "mistral-nemo-12b", "gemma-3-27b", "qwen3.5-27b",
    "gpt-oss-120b", "minimax-m3", "qwen3-next-80b-a3b", "deepseek-v3", "glm-5", "deepseek-v4-flash",
    "jamba-1.5-large", "kimi-linear-48b-a3b", "mamba-2.8b",
)  # fmt: skip
_ASKS = (
    ("models/index.html", "What does a model take?", "Its weights and cache to the last byte, a form "
     "that recomputes them, what every engine makes of it, and which GPU it fits."),
    ("mechanisms/index.html", "What does an attention keep?", "The equation of each mechanism, a "
     "drawing of what is kept for how many positions, its source and the models that have it."),
    ("engines/index.html", "What does my engine allocate?", "The rules of each engine as they stand in "
     "its source, and every figure of public logs beside the prediction."),
    ("life.html", "Where does a number come from?", "One number followed from a line of YAML to the "
     "bytes of an engine's pages, object by object."),
)  # fmt: skip


def page(subjects: Sequence[Subject], sections: Sequence[Section]) -> Page:
    lead = (
        "Exact KV-cache, attention and parameter memory of transformer models: whole bytes, each taken "
        "apart down to named tensors, and held to what engines logged."
    )
    logged = sum(len(accuracy.figures(engine_of(name).words)) for name in ENGINES)
    mechanisms = [one for one in sections if one.chapter not in (mechanism.SPEC, mechanism.BESIDE)]
    numbers = (
        ("models", f"{len(subjects):,}", "each with its source"),
        ("mechanisms", f"{len(mechanisms):,}", "each with its source"),
        ("accountings", f"{len(ENGINES):,}", "libraries and engines"),
        ("figures of logs", f"{logged:,}", "replayed"),
    )
    cards = "".join(
        f'<li><a href="{target}"><b>{text(ask)}</b> <span>{text(said)}</span></a></li>'
        for target, ask, said in _ASKS
    )
    body = f'<h1>What models take in memory</h1>\n<p class="lead">{lead}</p>\n{facts(numbers)}'
    body += f'<ul class="cards">{cards}</ul>\n{_picture(subjects)}'
    return Page("index.html", "kvcalc", lead, body)


def _picture(subjects: Sequence[Subject]) -> str:
    """The cache of one long sequence, model by model; what a model was not made for is left out."""
    shown = list(named(subjects, _SHOWN)) or list(subjects)[: len(_SHOWN)]
    rows = [
        (one.name, held, kinds(one.spec))
        for one in shown
        if (held := one.held(_LENGTH)) and (one.spec.max_position_embeddings or _LENGTH) >= _LENGTH
    ]
    if not rows:
        return ""
    title = "Cache of one sequence of 131,072 tokens, in bf16"
    svg = bars.draw(title, sorted(rows, key=lambda row: (-row[1], row[0])))
    caption = "What a token costs is the attention, not the size. Models made for so many tokens."
    return f"<section><h2>{title}</h2>{figure(svg, caption)}</section>\n"
