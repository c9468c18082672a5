"""Whatever a file holds, the loader answers with a spec or with problems, never with a traceback."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kvcalc import estimate
from kvcalc.checks.budgets import budget_findings
from kvcalc.checks.expect import expect_findings
from kvcalc.errors import KvcalcError
from kvcalc.spec import catalog
from kvcalc.spec.loader import Loaded, load_spec_text, read_spec
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.problems import RULES
from kvcalc.spec.reader import FAILED, SpecReader
from kvcalc.spec.set_fields import with_fields
from kvcalc.spec.variants import CHOICES, with_attention
from tests.drawn import examples

quick = settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))

# One of each family is enough to start from; the smallest files mutate the fastest.
PATHS = sorted(catalog.shipped().values(), key=lambda path: path.stat().st_size)
SEEDS = [path.read_text("utf-8") for path in {path.parent: path for path in PATHS}.values()]
PIECES = [
    "name", "source", "blocks", "layers", "attention", "ffn", "recurrent", "encoder", "recursion",
    "kind", "gqa", "mla", "moe", "mamba2", "num_attention_heads", "head_dim", "repeat", "pattern",
    "expect", "budgets", "shared_kv", "mtp", "block", "weight_dtypes",
    "0", "1", "-1", "8", "010", "1:30", "1e9", ".nan", "0x1F", "yes", "null", "~", "8k", "1GiB",
    "1/3", "99999999999999999999", "'", '"', "&a", "*a", "<<", "!!str", "!x", "|", ">", "%", "@",
    ": ", "- ", "? ", ", ", "[", "]", "{", "}", "\n", "\n  ", "\n    ",
    "#", "\t", "\x00", "é", "\U0001f600",
]  # fmt: skip


def hold(loaded: Loaded) -> None:
    """A spec or problems; and a sound spec can be estimated or refuses by name."""
    assert loaded.spec is not None or loaded.problems
    for problem in loaded.problems:
        assert problem.code in RULES
        assert problem.message
        assert str(problem).isprintable()
    if loaded.spec is None or loaded.problems:
        return
    list(expect_findings(loaded.spec))
    list(budget_findings(loaded.spec))
    try:
        answer = estimate(loaded.spec, context_tokens=100)
    except KvcalcError:
        return
    assert answer.weight_bytes >= 0 <= answer.cache.bytes


def read(text: str) -> Loaded:
    """What the first look takes for sound (kvcalc/spec/plain.py) the whole reader takes for the same."""
    reader = SpecReader("")
    value = reader.document(text, ModelSpec)
    if value is not FAILED and reader._root is not None:
        assert reader.read(*reader._root, "") == value
        assert not reader.problems
    return read_spec(text)


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@example("a: &a {<<: *a}")
@quick
def test_pieces_of_yaml(text: str) -> None:
    hold(read(text))


@given(st.text(max_size=200))
@quick
def test_any_text(text: str) -> None:
    hold(read(text))


@given(st.data())
@quick
def test_mutations_of_shipped_specs(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(SEEDS))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        stop = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from(PIECES)) + text[stop:]
    hold(read(text))


@given(st.data())
@quick
def test_lines_of_shipped_specs(data: st.DataObject) -> None:
    """Lines left out, doubled, swapped, or taken from another model."""
    lines = data.draw(st.sampled_from(SEEDS)).splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(lines) - 1))
        other = data.draw(st.sampled_from(data.draw(st.sampled_from(SEEDS)).splitlines()))
        lines[place : place + data.draw(st.integers(0, 1))] = data.draw(
            st.sampled_from([[], [other], [lines[place], lines[place]]])
        ) or ["#"]
    hold(read("\n".join(lines)))


@given(st.data())
@quick
def test_numbers_and_words_of_shipped_specs(data: st.DataObject) -> None:
    """Another number or word in a sound file: most stay sound, and must be countable."""
    import re

    text = data.draw(st.sampled_from(SEEDS))
    for _ in range(data.draw(st.integers(1, 3))):
        spots = [m.span() for m in re.finditer(r"(?<=[ :,\[])[a-z_0-9]+(?=[,}\]\n])", text)]
        start, stop = data.draw(st.sampled_from(spots))
        words = {text[slice(*spot)] for spot in spots}
        new = data.draw(st.sampled_from(sorted(words | {"0", "1", "2", "3", "1000", "null"})))
        text = text[:start] + new + text[stop:]
    hold(read(text))


@given(st.sampled_from(SEEDS), st.lists(st.sampled_from(PIECES), max_size=6).map("".join))
@example(SEEDS[0], "layers[²].repeat=1")
@example(SEEDS[0], "layers[" + "9" * 5000 + "]=1")
@example(SEEDS[0], "[0]=1")
@example(SEEDS[0], "blocks..attention=1")
@quick
def test_any_field_set_to_anything(text: str, change: str) -> None:
    try:
        with_fields(load_spec_text(text), (change,))
    except KvcalcError:
        return


@given(st.sampled_from(SEEDS), st.data())
@quick
def test_a_field_of_the_spec_set_to_anything(text: str, data: st.DataObject) -> None:
    spec = load_spec_text(text)
    block = data.draw(st.sampled_from(sorted(spec.blocks)))
    field = data.draw(
        st.sampled_from(["attention.head_dim", "attention", "ffn", "norms", "ffn.kind"])
    )
    value = data.draw(st.lists(st.sampled_from(PIECES), max_size=4).map("".join))
    try:
        hold(Loaded("", with_fields(spec, (f"blocks.{block}.{field}={value}",)), (), len))
    except KvcalcError:
        return


@given(st.sampled_from(SEEDS), st.sampled_from(CHOICES))
@quick
def test_another_attention_is_sound_or_refused(text: str, choice: str) -> None:
    from kvcalc.spec.consistency import findings

    try:
        changed, notes = with_attention(load_spec_text(text), choice)  # type: ignore[arg-type]
    except KvcalcError:
        return
    assert list(findings(changed)) == []
    attentions = [block.attention for block in changed.blocks.values() if block.attention]
    assert {attention.kind for attention in attentions} == {choice}
    assert all(note.startswith((choice, f"--attention {choice} changes nothing")) for note in notes)


# A line of a sound file, and what may stand there instead: the same to both readers, sound or not.
INSTEAD = (
    "hidden_size: !!int 64", "hidden_size: !!int |-\n  64", "hidden_size: 6_4", "hidden_size: '64'",
    "hidden_size: 0x40", "!!str hidden_size: 64", "!!merge hidden_size: 64", "? {a: b}\n: 64",
    "!!str {a: b}: 64", "hidden_size: !!int [64]", "hidden_size: !!null [64]", "hidden_size: !x 64",
    "hidden_size: &n 64\nvocab_size: *n", "hidden_size: ~", "'hidden_size': 64", "<<: {hidden_size: 64}",
    "<<: [{hidden_size: 64}]", "'<<': {hidden_size: 64}", "<<: {<<: {hidden_size: 64}}",
    "<<: !!seq {hidden_size: 64}", "<<: 64", "<<: {hidden_size: 64}\n<<: {hidden_size: 65}",
    "hidden_size: 64\nhidden_size: 64", "hidden_size: 64\nnotes: |\n  two\n  lines",
    "hidden_size: 64\nnotes: !!str [a]", "hidden_size: 64\nhead_bias: !!bool 'true'",
    "hidden_size: 64\nhead_bias: yes", "hidden_size: 64\nhead: !!str lm", "hidden_size: 64\nhead: lmm",
    "hidden_size: 64\nweight_dtypes: !!str {default: bf16}", "hidden_size: 64\nweight_dtypes: {x: bf16}",
    "hidden_size: 64\nweight_dtypes: {'': bf16}", "hidden_size: 64\nweight_dtypes: {<<: {default: 1}}",
    "hidden_size: 64\nbudgets: [{context: 8k, cache: 1GiB}]", "hidden_size: 64\nbudgets: {context: 8k}",
    "hidden_size: 64\nbudgets: [{context: '8k'}]", "hidden_size: 64\nbudgets: [{context: 1e3}]",
    "hidden_size: 64\nexpect: {parameters: 99999999999999999999}", "hidden_size: 64\nexpect: {x: 1}",
    "hidden_size: 64\nclass_tensors: {!!merge a.weight: [1]}", "hidden_size: 64\nclass_tensors: {a: []}",
    "hidden_size: 64\nnotes: &a [*a]", "hidden_size: 64\nexpect: &a {<<: *a}",
    "hidden_size: 64\nnotes: ' '",
)  # fmt: skip


def test_odd_words_are_the_same_to_both_readers() -> None:
    text = "name: x\nsource: made up\nvocab_size: 100\ntie_word_embeddings: true\nblocks: {d: {ffn: " \
        "{kind: gated, intermediate_size: 8}}}\nlayers: [{repeat: 2, blocks: [d]}]\n"  # fmt: skip
    assert sum(read(f"{text}{each}\n").spec is not None for each in INSTEAD) == 13
