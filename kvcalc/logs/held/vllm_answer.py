"""The whole answer to a vLLM log."""

from kvcalc.deployment.hardware import Accelerator
from kvcalc.logs.answer import LogAnswer
from kvcalc.logs.facts import Start
from kvcalc.logs.held.loading import weights
from kvcalc.logs.held.vllm_advice import (
    Pooled,
    advice,
    limits,
    memory_items,
    request_items,
    verdict,
)
from kvcalc.logs.held.vllm_tries import compare
from kvcalc.logs.parts import parts_of
from kvcalc.spec.catalog import Found


def answer(
    start: Start, found: Found, called: str, device: Accelerator | None, notes: tuple[str, ...]
) -> LogAnswer:
    compared, assumed = compare(start, found.spec, device)
    pooled = Pooled(compared, called, device)
    rules = compared.plan.rules.version
    return LogAnswer(
        **parts_of(start, found),
        rules=rules,
        observations=(
            *compared.observations(),
            *weights(start, found.spec, compared.request.layout, device),
        ),
        advice=advice(pooled),
        memory=tuple(memory_items(pooled)),
        request=tuple(request_items(pooled)),
        request_title=f"one request of {compared.plan.max_model_len:,} tokens",
        verdict=(*verdict(pooled), *limits(pooled)),
        assumed=assumed,
        notes=(*notes, *compared.plan.notes),
    )
