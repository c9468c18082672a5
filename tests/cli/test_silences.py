"""No option is taken in silence: a sample of the walk, and of pairs. All of it: ``pytest -m sweep``.

An option that is new has to be given a value in ``VALUES`` of tests/cli/silences.py, or a reason in
``NOT_ASKED``; then it is walked, too.
"""

import pytest

from kvcalc.cli.commands import COMMANDS
from tests.cli.silences import (
    CANNOT_MATTER,
    KINDS,
    NOT_ASKED,
    NOT_WALKED,
    VALUES,
    asked,
    held,
    options_of,
    questions,
    roads,
    sampled,
    verdict,
)

WALKED = {line.partition(" ")[0] for _, line in roads()}


def test_every_command_is_walked_or_has_a_reason() -> None:
    assert WALKED | NOT_WALKED.keys() == set(COMMANDS)
    assert not WALKED & NOT_WALKED.keys()


@pytest.mark.parametrize("command", sorted(WALKED))
def test_every_option_has_a_value_or_a_reason(command: str) -> None:
    own = options_of(command)
    assert [option for option in own if option not in VALUES and option not in NOT_ASKED] == []


def test_no_table_names_what_there_is_not() -> None:
    every = {option for command in WALKED for option in options_of(command)}
    assert VALUES.keys() | NOT_ASKED.keys() <= every
    assert not VALUES.keys() & NOT_ASKED.keys()
    assert all(CANNOT_MATTER.values())


@pytest.mark.parametrize("seed", range(2))
def test_options_alone(seed: int) -> None:
    assert sampled(seed, 40, pairs=False) == []


def test_options_beside_another() -> None:
    assert sampled(100, 25, pairs=True) == []


def test_the_walk_can_hear_silence() -> None:
    """What it calls silent is: an answer and itself."""
    base = asked(["estimate", "llama-3-8b"])
    assert verdict(base, base, "--context 9") == "silent"
    assert (
        verdict(base, asked(["estimate", "llama-3-8b", "--context", "9"]), "--context 9")
        == "changed"
    )
    refused = asked(["estimate", "llama-3-8b", "--speculative-tokens", "3"])
    assert verdict(base, refused, "--speculative-tokens 3") == "refused"
    assert verdict(base, refused, "--pure") == "unnamed"
    named = asked(["estimate", "llama-3-8b", "--state-dtype", "bf16"])
    assert verdict(base, named, "--state-dtype bf16") == "said"
    assert verdict(base, named, "--pure") == "noted"


@pytest.mark.sweep
@pytest.mark.parametrize("road", [name for name, _ in roads()])
def test_every_option_of_a_road(road: str) -> None:
    assert [
        wrong for name, line, option in questions() if name == road
        for kind in KINDS if (wrong := held(road, line, kind, option)) is not None
    ] == []  # fmt: skip


@pytest.mark.sweep
def test_many_pairs() -> None:
    assert sampled(200, 4000, pairs=True) == []
