"""What the site says of one model, worked out once for every page that shows some of it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kvcalc.deployment.estimation import EstimateQuestion, need_of
from kvcalc.engines.workload import Row, side_by_side
from kvcalc.errors import NotFoundError, UnsupportedError
from kvcalc.frozen import frozen
from kvcalc.memory.cache import CacheFunction, cache_function
from kvcalc.memory.estimate import Estimate
from kvcalc.memory.workload import Asked
from kvcalc.report.answers import explanation
from kvcalc.spec import hub_ids
from kvcalc.spec.catalog import SUFFIXES, Found, find, specs_folder
from kvcalc.spec.dump import dump
from kvcalc.spec.hub_ids import HubId
from kvcalc.spec.model import ModelSpec

# Names of pages that no model may take.
_TAKEN = ("index",)


@frozen
class Subject:
    """One model. slug: its page's name. shipped: whether kvcalc comes with it. yaml: its spec. asked:
    what the page opens with. engines: every accounting of that. told: equations and tensors of each
    kind of layer. classes: (module, class) of everything that its spec says.
    """

    slug: str
    found: Found
    shipped: bool
    yaml: str
    asked: Asked
    estimate: Estimate
    engines: tuple[Row, ...]
    told: dict[str, Any]
    function: CacheFunction
    classes: frozenset[tuple[str, str]]

    @property
    def spec(self) -> ModelSpec:
        return self.found.spec

    @property
    def name(self) -> str:
        return self.found.spec.name

    @property
    def page(self) -> str:
        return f"models/{self.slug}.html"

    @property
    def hub_ids(self) -> tuple[HubId, ...]:
        """Those that a shipped model answers for."""
        return _ids().get(self.name, ()) if self.shipped else ()

    def held(self, context: int) -> int:
        """Bytes of one sequence of up to so many tokens, in the format that the page opens with."""
        encoder = self.spec.encoder
        follows = encoder is not None and encoder.tokens is None and bool(encoder.layers)
        return self.function.most(
            context, context if follows else self.estimate.workload.encoder_tokens
        )


def subjects(named: Iterable[tuple[str, Found]]) -> Iterator[Subject]:
    """Every model's answers. named: (as it was asked for, what was found).

    Raises UnsupportedError naming the model that has no answer.
    """
    taken = set(_TAKEN)
    for name, item in named:
        slug = _slug(item.spec.name, taken)
        taken.add(slug)
        try:
            yield _subject(name, item, slug)
        except UnsupportedError as error:
            raise UnsupportedError(f"{item.spec.name}: {error.message}") from None


def _subject(name: str, found: Found, slug: str) -> Subject:
    spec = found.spec
    estimate, file = need_of(found, EstimateQuestion()), _file(name)
    workload = estimate.workload
    return Subject(
        slug=slug,
        found=found,
        shipped=file is not None and file.is_relative_to(specs_folder()),
        yaml=dump(spec) if file is None else file.read_text("utf-8"),
        asked=Asked(context_tokens=workload.context_tokens),
        estimate=estimate,
        engines=side_by_side(spec, workload) if workload.context_tokens else (),
        told=explanation.to_object(spec, workload, ()),
        function=cache_function(spec, workload.cache),
        classes=frozenset(_classes(spec)),
    )


def _classes(value: Any) -> Iterator[tuple[str, str]]:
    """Of a dataclass, and of those in its fields, lists and mappings."""
    inside: Iterable[Any] = ()
    if is_dataclass(value):
        yield type(value).__module__, type(value).__name__
        inside = (getattr(value, each.name) for each in fields(value))
    elif isinstance(value, dict):
        inside = value.values()
    elif isinstance(value, tuple):
        inside = value
    for each in inside:
        yield from _classes(each)


def _slug(name: str, taken: set[str]) -> str:
    """A file's name, which no other model has, whatever the model is called."""
    trunk = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:80] or "model"
    slug, number = trunk, 1
    while slug in taken:
        number += 1
        slug = f"{trunk}-{number}"
    return slug


@cache
def _ids() -> dict[str, tuple[HubId, ...]]:
    """Shipped spec -> the ids of its shape."""
    found: dict[str, tuple[HubId, ...]] = {}
    for entry in hub_ids.entries():
        found[entry.spec] = (*found.get(entry.spec, ()), entry)
    return found


def _file(name: str) -> Path | None:
    """The YAML that a model was read from; None of a config, a checkpoint or a model of the hub."""
    try:
        file = find(name)
    except NotFoundError:
        return None
    return file if file.suffix in SUFFIXES else None
