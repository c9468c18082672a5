"""``kvcalc report``: one page without a network, and a script that computes what kvcalc computes."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kvcalc.cli.app import main
from kvcalc.dtypes import CACHE_FORMATS, CacheDtypes
from kvcalc.errors import UnsupportedError
from kvcalc.memory.cache import cache_function
from kvcalc.report.page import data, html
from kvcalc.spec.catalog import load, shipped
from kvcalc.units import format_bytes, format_tokens

PAGE = Path(html.__file__).parent
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def report(tmp_path: Path, *arguments: str) -> str:
    file = tmp_path / "report.html"
    with pytest.raises(SystemExit) as stop:
        main(["report", *arguments, "-o", str(file)])
    assert stop.value.code == 0
    return file.read_text("utf-8")


def data_of(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    loaded: dict[str, object] = json.loads(found[1])
    return loaded


class Outline(HTMLParser):
    """What a page opens and closes, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.loads += [str(named[key]) for key in ("src", "href", "action") if key in named]
        self.ids += [str(named["id"])] if "id" in named else []
        if tag not in ("meta", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_small_and_loads_nothing(tmp_path: Path) -> None:
    page = report(tmp_path, "llama-3-8b", "gemma-3-27b", "deepseek-v3", "t5-base", "mamba-2.8b")
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.loads == ["data:,"]
    assert len(outline.ids) == len(set(outline.ids))
    assert len(page.encode()) < 150_000
    assert "default-src 'none'" in page
    assert "{{" not in page
    assert not re.search(r"\b(fetch|XMLHttpRequest|import)\b *\(", page)


def test_it_reads_without_its_script(tmp_path: Path) -> None:
    page = report(tmp_path, "llama-3-8b", "--context", "8k")
    # The contract's example, in the table; the primer's equation, with its numbers.
    assert 'data-bytes="1073741824">1.00 GiB<small>1,073,741,824</small>' in page
    assert 'data-bytes="16060522496">' in page
    assert "2 × n_kv × d_h" in page
    assert "2 × 8 × 128" in page
    assert "arXiv 2305.13245" in page
    assert "<td>8,030,261,248</td><td>holds</td>" in page
    assert "kvcalc report llama-3-8b --context 8k -o report.html" in page


def test_the_same_models_give_the_same_page(tmp_path: Path) -> None:
    first = report(tmp_path, "llama-3-8b", "gemma-3-1b")
    (tmp_path / "report.html").unlink()
    assert report(tmp_path, "llama-3-8b", "gemma-3-1b") == first


def test_an_existing_file_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.html"
    file.write_text("mine")
    with pytest.raises(SystemExit) as stop:
        main(["report", "llama-3-8b", "-o", str(file)])
    assert stop.value.code == 2
    assert "--force overwrites it" in capsys.readouterr().err
    assert file.read_text() == "mine"
    with pytest.raises(SystemExit) as stop:
        main(["report", "llama-3-8b", "-o", str(file), "--force"])
    assert stop.value.code == 0
    assert file.read_text("utf-8").startswith("<!doctype html>")


def test_names_and_notes_cannot_leave_their_place(tmp_path: Path) -> None:
    text = shipped()["gemma-3-1b"].read_text("utf-8")
    hostile = "</script><script>alert(1)</script>&amp;{{data}}"
    spec = tmp_path / "hostile.yaml"
    spec.write_text(
        text.replace("  - https://github.com", f'  - "{hostile}"\n  - https://github.com')
        + "notes: []\n",
        "utf-8",
    )
    page = report(tmp_path, str(spec))
    assert "alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page
    assert page.count("</script>") == 2


def test_a_page_that_would_be_too_large_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(html, "MAX_BYTES", 10_000)
    with pytest.raises(SystemExit) as stop:
        main(["report", "llama-3-8b", "-o", str(tmp_path / "report.html")])
    assert stop.value.code == 2
    assert "name fewer models" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_what_does_not_apply_is_said_with_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["report", "gemma-3-1b", "llama-3-8b", "--tp", "3", "-o", str(tmp_path / "a.html")])
    assert stop.value.code == 2
    assert "kvcalc: gemma-3-1b: tensor parallelism over 3 ranks" in capsys.readouterr().err


VERIFIED = {
    "schema_version": 2,
    "models": [
        {
            "model": "llama-3-8b", "against": "reference", "device": "cpu",
            "torch_version": "2.13.0", "trouble": None,
            "proofs": [
                {"name": "parameters", "passed": True, "applies": True, "unit": "parameters",
                 "formula_total": 8030261248, "measured_total": 8030261248},
                {"name": "cache<b>", "passed": False, "applies": True, "unit": "bytes",
                 "formula_total": 131072, "measured_total": 131071},
            ],
        }
    ],
}  # fmt: skip


def test_proofs_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "proofs.json"
    file.write_text(json.dumps(VERIFIED))
    page = report(tmp_path, "llama-3-8b", "gemma-3-1b", "--proofs", str(file))
    assert "<td>8,030,261,248 parameters</td><td>reference on cpu, torch 2.13.0</td>" in page
    assert "<td>cache&lt;b&gt;</td><td>131,072 bytes</td><td>131,071 bytes</td>" in page
    assert "<td>failed</td>" in page
    assert '<th scope="row">gemma-3-1b</th><td colspan="5">not run</td>' in page


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema_version": 2, "models": [1]}', "[" * 99999]
)
def test_what_is_no_proof_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "proofs.json"
    file.write_text(text)
    with pytest.raises(SystemExit) as stop:
        main(["report", "llama-3-8b", "-o", str(tmp_path / "a.html"), "--proofs", str(file)])
    assert stop.value.code == 2
    assert "does not hold what 'kvcalc verify" in capsys.readouterr().err


def node(program: str, payload: object) -> object:
    """Run a program after the page's own script; it reads JSON and prints JSON."""
    recompute = json.dumps(str(PAGE / "recompute.js"))
    head = f"const kvcalc = require({recompute});\n"
    head += "const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));\n"
    done = subprocess.run(
        ["node", "-e", head + program],
        input=json.dumps(payload), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


CONTEXTS = (0, 1, 3, 4, 127, 128, 129, 1023, 1024, 8191, 8192, 131072, 1000003, (1 << 40) - 1)


@needs_node
def test_the_script_computes_every_shipped_cache() -> None:
    """Every model, in formats with and without blocks, on one and on eight ranks, to the byte."""
    formats, ranks = ("bf16", "q8_0", "fp8_per_token_head"), [1, 8]
    models, expected = [], []
    for name, path in shipped().items():
        spec = load(path)
        entry = data.model_object(spec, formats, ranks, None)
        models.append(entry)
        for kv_dtype in formats:
            for rank in ranks:
                try:
                    function = cache_function(spec, CacheDtypes.parse(kv_dtype), rank)
                except UnsupportedError as error:
                    expected.append([name, kv_dtype, rank, error.message])
                    continue
                held = [str(function.most(tokens, 77)) for tokens in CONTEXTS]
                grows = [str(function.next_token_bytes(tokens)) for tokens in CONTEXTS]
                slope = str(function.bytes_per_token)
                expected.append([name, kv_dtype, rank, [*held, *grows, slope]])
    program = """
    for (const model of given.models) model.weights = {};
    const data = kvcalc.read({ models: given.models, devices: [], ranks: given.ranks });
    const found = [];
    for (const model of data.models)
      for (const kvDtype of given.formats)
        data.ranks.forEach((rank, index) => {
          const terms = kvcalc.terms(model, kvDtype, index);
          if (typeof terms === "string") return found.push([model.name, kvDtype, rank, terms]);
          const held = given.contexts.map((tokens) => String(kvcalc.most(terms, BigInt(tokens), 77n)));
          const cost = (tokens) => String(kvcalc.nextTokenBytes(terms, BigInt(tokens)));
          const grows = given.contexts.map(cost);
          const slope = String(kvcalc.bytesPerToken(terms));
          found.push([model.name, kvDtype, rank, [...held, ...grows, slope]]);
        });
    console.log(JSON.stringify(found));
    """
    contexts = [str(tokens) for tokens in CONTEXTS]
    payload = {"models": models, "ranks": ranks, "formats": formats, "contexts": contexts}
    assert node(program, payload) == expected


@needs_node
def test_the_script_writes_sizes_as_kvcalc_does() -> None:
    sizes = [0, 1, 1023, 1024, 1536, 1073741824, 16060522496, 1099511627775, 123456789012345678]
    tokens = [0, 1, 1000, 1024, 8192, 131072, 1048576, 1048577]
    program = """
    console.log(JSON.stringify([given.sizes.map((n) => kvcalc.formatBytes(BigInt(n))),
      given.tokens.map((n) => kvcalc.formatTokens(BigInt(n))),
      given.sizes.map((n) => kvcalc.digits(BigInt(n))),
      ["8192", "8k", " 128K ", "1m", "1_000", "8x", "010", "-1", "", "1.5k", "1048577m"]
        .map((text) => { const n = kvcalc.parseTokens(text); return n === null ? null : Number(n); })]));
    """
    payload = {"sizes": [str(size) for size in sizes], "tokens": [str(count) for count in tokens]}
    assert node(program, payload) == [
        [format_bytes(size) for size in sizes],
        [format_tokens(count) for count in tokens],
        [f"{size:,}" for size in sizes],
        [8192, 8192, 131072, 1048576, 1000, None, None, None, None, None, None],
    ]


def test_the_form_offers_every_cache_format_and_the_asked_ranks(tmp_path: Path) -> None:
    data = data_of(report(tmp_path, "llama-3-8b", "--kv-dtype", "q8_0:bf16", "--tp", "1"))
    assert data["kv_dtypes"] == ["q8_0:bf16", *CACHE_FORMATS]
    assert data["ranks"] == [1, 2, 4, 8, 16, 32, 64]
