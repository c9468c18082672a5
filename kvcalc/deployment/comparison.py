"""Everything that ``kvcalc compare`` is asked: the command and the library ask here."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from kvcalc.errors import UsageError
from kvcalc.frozen import frozen
from kvcalc.memory.grid import Point, Variant, assumptions, baseline, grid
from kvcalc.spec.catalog import Found

if TYPE_CHECKING:
    from kvcalc.deployment.curves import Picture


@frozen(kw_only=True)
class CompareQuestion:
    """What was asked of every model.

    contexts: tokens of one sequence; batches: sequences; kv_dtypes: formats of the cache. encoder_tokens
    to dtype: None takes the model's. by: ``cache`` or ``total`` sorts within a workload. attentions: in
    place of the model's own; set_fields: ``FIELD=VALUE``, a changed model beside the model itself.
    """

    contexts: tuple[int, ...]
    batches: tuple[int, ...] = (1,)
    kv_dtypes: tuple[str, ...] = ("bf16",)
    encoder_tokens: int | None = None
    state_dtype: str | None = None
    dtype: str | None = None
    by: str | None = None
    attentions: tuple[str, ...] = ()
    set_fields: tuple[str, ...] = ()

    def variants(self, found: Found) -> list[Variant]:
        """The model itself, or what it was changed to; with changed fields both."""
        variants = [Variant(found.spec, "", found.assumptions)]
        if self.set_fields:
            from kvcalc.spec.set_fields import with_set

            found = with_set(found, self.set_fields)
            words = ", ".join(map(_last_name, self.set_fields))
            variants.append(Variant(found.spec, words, found.assumptions))
        if not self.attentions:
            return variants
        from kvcalc.spec.variants import with_attention

        variants = variants[: bool(self.set_fields)]
        for choice in self.attentions:
            changed, how = with_attention(found.spec, choice)
            variants.append(Variant(changed, choice.strip().lower(), (*found.assumptions, *how)))
        return variants


@frozen
class Comparison:
    """Models side by side. Every method raises UsageError and UnsupportedError as ``grid`` does."""

    question: CompareQuestion
    variants: tuple[Variant, ...]

    def points(self) -> Iterator[Point]:
        """A point for each combination, computed one by one."""
        return grid(self.variants, batches=self.question.batches, by=self.question.by, **self._same)

    @property
    def num_points(self) -> int:
        """How many there are."""
        asked = self.question
        each = len(asked.contexts) * len(asked.batches) * len(asked.kv_dtypes)
        return len(self.variants) * each

    @property
    def first(self) -> str:
        """What ratios are to."""
        return baseline(self.variants, self.question.kv_dtypes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was filled in and how variants were derived."""
        asked = self.question
        return assumptions(
            self.variants, asked.contexts, asked.encoder_tokens, asked.kv_dtypes, asked.state_dtype
        )

    def picture(self) -> "Picture":
        """The curves, at the largest batch."""
        from kvcalc.deployment.curves import picture

        return picture(self.variants, batch=max(self.question.batches), **self._same)

    @property
    def _same(self) -> dict[str, Any]:
        """What points and curves are both made for."""
        asked = self.question
        return {
            "contexts": asked.contexts, "kv_dtypes": asked.kv_dtypes,
            "encoder_tokens": asked.encoder_tokens, "state_dtype": asked.state_dtype,
            "dtype": asked.dtype,
        }  # fmt: skip


def comparison(models: Iterable[Found | Variant], question: CompareQuestion) -> Comparison:
    """Models as they were found, and variants that stand as they are, side by side.

    Raises UsageError where there is nothing to compare, and as ``with_attention`` and ``with_fields``.
    """
    if not question.contexts or not question.batches or min(question.batches) < 1:
        raise UsageError("give at least one --context, and batches of at least 1")
    variants = [
        variant
        for each in models
        for variant in ([each] if isinstance(each, Variant) else question.variants(each))
    ]
    return Comparison(question, tuple(variants))


def _last_name(change: str) -> str:
    """``num_key_value_heads=4`` of ``blocks.decoder.attention.num_key_value_heads=4``."""
    path, equals, value = change.partition("=")
    return path.rpartition(".")[2] + equals + value
