"""``expect:`` holds a spec to published numbers, exactly."""

from collections.abc import Iterator

from kvcalc.dtypes import CacheDtypes
from kvcalc.memory.cache import cache_function
from kvcalc.memory.inventory import mtp_groups
from kvcalc.memory.weights import ParameterSummary, count_parameters, summarise
from kvcalc.spec.model import Expect, ModelSpec

Finding = tuple[str, str, str]


def expect_findings(spec: ModelSpec) -> Iterator[Finding]:
    """KV301 for each expected value that does not hold, KV302 when none is stated."""
    counted = summarise(spec)
    if spec.expect is None or spec.expect == Expect():
        computed = {name: found for name, _, found in _pairs(spec, Expect(), counted) if found}
        if computed["active_parameters"] == computed["language_model"]:
            del computed["active_parameters"]
        if not spec.towers:
            del computed["language_model"]
        lines = ", ".join(f"{name}: {found}" for name, found in computed.items())
        yield (
            "KV302",
            "expect",
            f"state what is known to be true; this spec gives expect: {{{lines}}}, which proves "
            f"nothing until it is checked against a source",
        )
        return
    for name, expected, found in _pairs(spec, spec.expect, counted):
        if expected is not None and expected != found:
            message = f"expected {expected}, found {found} ({found - expected:+d})"
            yield "KV301", f"expect.{name}", message
    # A total that is wrong was just said, and would be wrong here again.
    if spec.expect.parameters in (None, counted.total):
        yield from _published(spec, counted.total)


def _published(spec: ModelSpec, counted: int) -> Iterator[Finding]:
    """KV301 where the published files hold more or less than the model and what is said to be beside it."""
    if spec.checkpoint is None:
        return
    stated, beside = spec.checkpoint.parameters, sum(spec.checkpoint.beside.values())
    found = counted + beside
    if stated != found:
        parts = f" and {beside} beside it" if beside else ""
        message = f"the files hold {stated}, the model{parts} {found} ({found - stated:+d})"
        yield "KV301", "checkpoint.parameters", message


def _pairs(
    spec: ModelSpec, expect: Expect, counted: ParameterSummary
) -> Iterator[tuple[str, int | None, int]]:
    """(field, expected value, the spec's own) for every field of ``expect``."""
    yield "parameters", expect.parameters, counted.total
    yield "language_model", expect.language_model, counted.language_model
    yield "active_parameters", expect.active_parameters, counted.active
    cache = cache_function(spec, CacheDtypes())
    per_token = cache.bytes_per_token
    yield "cache_bytes_per_token", expect.cache_bytes_per_token, per_token
    encoder_tokens = spec.encoder.tokens if spec.encoder is not None else None
    yield "fixed_cache_bytes", expect.fixed_cache_bytes, cache.fixed_bytes(encoder_tokens or 0)
    yield "mtp_parameters", expect.mtp_parameters, count_parameters(mtp_groups(spec))
