"""Every rule has a spec that breaks it: bad/*.yaml begin with the problems that they must give."""

import re
from pathlib import Path

import pytest

from kvcalc.checks.run import check_file
from kvcalc.errors import SpecError
from kvcalc.spec.loader import load_spec_file
from kvcalc.spec.problems import RULES

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
# What stands after "#!" in these files: line:column, code, field, message.
EXPECTED = re.compile(r"#! (\d+):(\d+) (KV\d+) (\S*): (.*)")
every_bad_spec = pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)


def expected(path: Path) -> list[tuple[int, int, str, str, str]]:
    found = [EXPECTED.fullmatch(line) for line in path.read_text("utf-8").splitlines()]
    return [(int(m[1]), int(m[2]), m[3], m[4], m[5]) for m in found if m]


@every_bad_spec
def test_gives_every_problem_at_its_place(path: Path) -> None:
    found = [(p.line, p.column, p.code, p.field, p.message) for p in check_file(path).problems]
    assert found == expected(path)


@every_bad_spec
def test_a_spec_that_does_not_load_says_why(path: Path) -> None:
    codes = {code for _, _, code, _, _ in expected(path)}
    if codes <= {"KV301", "KV302", "KV401", "KV402", "KV403", "KV501"}:
        load_spec_file(path)
        return
    with pytest.raises(SpecError) as caught:
        load_spec_file(path)
    assert {problem.code for problem in caught.value.problems} == codes


def test_every_rule_is_broken_by_one() -> None:
    assert {code for path in BAD for _, _, code, _, _ in expected(path)} == set(RULES)


def test_a_name_says_which_rule_it_breaks() -> None:
    for path in BAD:
        if path.stem.startswith("kv"):
            assert path.stem[:5].upper() in {code for _, _, code, _, _ in expected(path)}
