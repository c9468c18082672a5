"""Every spec's formula is the one that the witness agreed to: the table, replayed without torch."""

from tests.verify.proven import digest, every_spec, table


def test_every_spec_is_as_it_was_proven() -> None:
    now = {name: digest(made()) for name, made in every_spec()}
    before = table()
    changed = sorted(
        name for name in now.keys() | before.keys() if now.get(name) != before.get(name)
    )
    assert changed == [], "python -m tests.verify.proven proves them and writes the table"
