"""Options for what is loaded beside a model: drafts, multi-token-prediction layers, LoRA adapters."""

from dataclasses import dataclass, replace
from typing import Annotated

import typer

from kvcalc.cli import completion
from kvcalc.cli.options import num
from kvcalc.engines import ALIASES
from kvcalc.memory.beside import Beside
from kvcalc.spec.model import ModelSpec

Draft = Annotated[
    str | None,
    typer.Option(
        "--draft",
        metavar="MODEL",
        help="A model or head that drafts tokens: its weights and its cache.",
        autocompletion=completion.model,
    ),
]
MtpLayers = Annotated[
    int | None,
    num("--mtp-layers", "Multi-token-prediction layers loaded to draft.", least=0),
]
SpeculativeTokens = Annotated[
    int | None, num("--speculative-tokens", "Draft tokens per step, where an engine asks.", least=0)
]
LoraRank = Annotated[int | None, num("--lora-rank", "Rank of LoRA adapters, or the longest.")]
MaxLoras = Annotated[int | None, num("--max-loras", "Adapters at once.")]
LoraModules = Annotated[
    str | None,
    typer.Option(
        "--lora-modules",
        metavar="NAME,...",
        help="Layers that they change: q_proj,v_proj.",
        show_default="all-linear; the engine's own",
    ),
]
FullySharded = Annotated[
    bool,
    typer.Option(
        "--fully-sharded-loras", help="Ranks divide all of the adapters' matrices (vLLM)."
    ),
]


@dataclass(frozen=True)
class Lora:
    """What was said of adapters."""

    rank: int | None
    count: int | None
    modules: str | None
    sharded: bool = False

    @property
    def said(self) -> str | None:
        """The first option that was given."""
        options = (
            ("--lora-rank", self.rank),
            ("--max-loras", self.count),
            ("--lora-modules", self.modules),
            ("--fully-sharded-loras", self.sharded or None),
        )
        return next((name for name, value in options if value is not None), None)

    def of(self, beside: Beside, spec: ModelSpec, engine: str) -> Beside:
        """The parts with a model's adapters. Raises as ``adapters_of`` does."""
        if self.said is None:
            return beside
        from kvcalc.convert.adapters import adapters_of

        named = [word.strip() for word in (self.modules or "").split(",") if word.strip()]
        name = ALIASES.get(engine, engine)
        found = adapters_of(spec, self.rank, self.count, named, name, self.sharded)
        return replace(beside, adapters=found)


NONE = Lora(None, None, None)
