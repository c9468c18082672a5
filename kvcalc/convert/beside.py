"""What a command line or a program says of the parts beside a model, found and read."""

from typing import TYPE_CHECKING

from kvcalc.convert.locate import locate
from kvcalc.errors import UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.asked_beside import Beside, Draft
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.words import first_said

if TYPE_CHECKING:
    from pathlib import Path


@frozen
class Drafting:
    """What drafts tokens beside a model, as it was said; the model that drafts as ``locate`` takes it."""

    draft: "str | Path | ModelSpec | None" = None
    mtp_layers: int | None = None
    speculative_tokens: int | None = None

    @property
    def beside(self) -> Beside:
        """The same, found and read. Raises as ``beside_of``."""
        return beside_of(self.draft, self.mtp_layers, self.speculative_tokens)


@frozen
class Lora:
    """Adapters, as they were said. count: at once. modules: the layers that they change. sharded: ranks
    divide all of them."""

    rank: int | None = None
    count: int | None = None
    modules: tuple[str, ...] = ()
    sharded: bool = False

    @property
    def said(self) -> str | None:
        """The first option that was given."""
        return first_said({
            "--lora-rank": self.rank, "--max-loras": self.count, "--lora-modules": self.modules or None,
            "--fully-sharded-loras": self.sharded or None,
        })  # fmt: skip

    def of(self, beside: Beside, spec: ModelSpec, engine: str | None) -> Beside:
        """The parts with a model's adapters, in an engine's slots. Raises as ``adapters_of`` does."""
        if self.said is None:
            return beside
        from kvcalc.convert.adapters import adapters_of

        made = adapters_of(spec, self.rank, self.count, self.modules, engine, self.sharded)
        return changed(beside, adapters=made)


def beside_of(
    draft: "str | Path | ModelSpec | None" = None,
    mtp_layers: int | None = None,
    speculative_tokens: int | None = None,
) -> Beside:
    """The parts as they were said. draft: a model as ``locate`` takes it. Raises UsageError for a method
    of drafting in a model's place, and as ``locate`` does."""
    found = None
    check_one(draft, mtp_layers)
    if draft is not None:
        _check_method(draft)
        found = Draft(draft if isinstance(draft, ModelSpec) else locate(str(draft)).spec)
    return Beside(mtp_layers=mtp_layers, draft=found, speculative_tokens=speculative_tokens)


def check_one(draft: object, mtp_layers: int | None) -> None:
    """Raise UsageError for two that draft: a server has one method (vLLM's --speculative-config, SGLang's
    --speculative-algorithm, llama.cpp's --spec-type)."""
    if draft is not None and mtp_layers:
        raise UsageError(
            f"--draft and --mtp-layers {mtp_layers}: a server drafts by one of them: leave the other out"
        )


# Methods of vLLM's --speculative-config, SGLang's --speculative-algorithm and llama.cpp's --spec-type.
_LOOKED_UP = frozenset((
    "ngram", "[ngram]", "ngram_gpu", "suffix", "prompt_lookup", "lookahead", "ngram_simple", "ngram_map_k",
    "ngram_map_k4v", "ngram_mod", "ngram_cache",
))  # fmt: skip
_OWN = frozenset(("mtp", "deepseek_mtp", "nextn", "draft_mtp", "frozen_kv_mtp"))
_METHODS = frozenset((
    "eagle", "eagle3", "medusa", "mlp_speculator", "dflash", "dspark", "domino", "draft_model",
    "standalone", "peagle", "draft_eagle3", "draft_simple", "draft_dflash",
))  # fmt: skip


def _check_method(draft: "str | Path | ModelSpec") -> None:
    """Raise UsageError for what drafts without a model, or only says how one drafts."""
    word = str(draft).strip().lower().replace("-", "_") if isinstance(draft, str) else ""
    if word in _LOOKED_UP:
        raise UsageError(
            f"--draft {draft}: it drafts from the tokens there are, without weights and without a cache of "
            "its own: leave --draft out, and say --speculative-tokens N where states are kept for them"
        )
    if word in _OWN:
        raise UsageError(f"--draft {draft}: those layers are the model's own: --mtp-layers N")
    if word in _METHODS:
        raise UsageError(
            f"--draft {draft}: a way to draft, and no model: name the draft's config.json, folder or hub id"
        )
