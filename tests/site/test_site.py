"""``kvcalc site``: a folder whose links all lead somewhere, the same twice, and nobody else's lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kvcalc import attention, recurrent
from kvcalc.cli.app import main
from kvcalc.cli.folder import LIST
from kvcalc.engines import ENGINES, engine_of
from kvcalc.site import accuracy, examples
from kvcalc.site.text import docstring
from kvcalc.spec import catalog
from tests.site.crawl import outline, problems

MODELS = ("llama-3-8b", "gemma-3-27b", "deepseek-v4-flash", "mamba-2.8b", "t5-base")
HOSTILE = """\
name: "<script>alert(1)</script> \\"index\\" | & ../../x"
source: "https://example.org/<img src=x onerror=alert(1)>"
hidden_size: 64
vocab_size: 100
tie_word_embeddings: true
blocks:
  "<b>": {attention: {kind: gqa, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16}}
layers: [{repeat: 2, blocks: ["<b>"]}]
"""


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["site", *arguments])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    spec = folder / "hostile.yaml"
    spec.write_text(HOSTILE)
    assert run(*MODELS, str(spec), "-o", str(folder / "out"), "-q") == 0
    return folder / "out"


def test_it_is_right_for_browsers_and_screen_readers(site: Path) -> None:
    assert list(problems(site)) == []


def test_the_crawler_finds_faults(site: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(site, broken)
    page = broken / "life.html"
    said = (
        page.read_text("utf-8")
        .replace("<h2>", "<h4>", 1)
        .replace("engines/vllm.html", "engines/x.html", 1)
    )
    page.write_text(said + '<p style="color:red"><a href="#none">x</a>')
    found = "\n".join(problems(broken))
    for words in ("closes another", "headings is left out", "nowhere: engines/x.html", "#none",
                  "a style", "never closed"):  # fmt: skip
        assert words in found, words


def test_it_says_what_kvcalc_says(site: Path) -> None:
    model = (site / "models/gemma-3-27b.html").read_text("utf-8")
    # 'kvcalc estimate gemma-3-27b' and '--engine all' at 8k, as they have been since before the site.
    for number in ("27,009,346,304", "1,107,296,256", "4,705,484,800", "81,920", "11,173,625,856"):
        assert number in model, number
    assert "2 × 16 × 128" in model
    assert "kvcalc explain gemma-3-27b\nkvcalc fit" in model
    # A log of llama.cpp's and what kvcalc says of it, from the accuracy page.
    assert "<h2>In public logs</h2>" in model
    life = (site / "life.html").read_text("utf-8")
    assert "<mark>num_key_value_heads: 16</mark>" in life
    # 52 layers of a window, 10 of every token; then vLLM's pages of them.
    assert "436,207,616 + 671,088,640 = <strong>1,107,296,256</strong>" in life
    assert "513 pages of 131,072 bytes" in life
    mechanism = (site / "mechanisms/mla.html").read_text("utf-8")
    assert "none of the models here has it" in mechanism.lower()
    assert "arXiv 2405.04434" in mechanism


def test_every_figure_of_the_accuracy_page_is_read() -> None:
    # The page's own table of how many each engine has.
    for engine, count in (("vLLM", 181), ("SGLang", 67), ("TensorRT-LLM", 25), ("llama.cpp", 159)):
        rows = [line for line in accuracy.section(engine).splitlines() if line.startswith("| ")]
        assert len(accuracy.figures(engine)) == len(rows) - 1 >= count
    assert {one.verdict for one in accuracy.figures("vLLM")} == {"exact", "in range", "consistent"}
    known = {engine_of(name).words for name in ENGINES}
    headings = set(accuracy._sections()) - {""}
    assert headings <= known, "a section of no engine is on no page"


def test_each_page_of_an_engine_has_its_rules(site: Path) -> None:
    page = (site / "engines/vllm.html").read_text("utf-8")
    assert "num_blocks = min over workers of available // bytes_per_block" in page
    assert f"All {len(accuracy.figures('vLLM'))} figures, with their logs" in page


def test_the_search_finds_names_ids_and_fields(site: Path) -> None:
    script = (site / "assets/index.js").read_text("utf-8")
    assert len(script) < 1_000_000
    entries = json.loads(script.removeprefix("window.kvcalcIndex=").removesuffix(";\n"))
    pages = {(kind, name, page) for kind, name, _, page, _ in entries}
    assert ("model", "gemma-3-27b", "models/gemma-3-27b.html") in pages
    assert ("engine", "vLLM", "engines/vllm.html") in pages
    assert ("field", "kv_lora_rank", "mechanisms/mla.html#field-kv_lora_rank") in pages
    assert ("hub id", "google/gemma-3-27b-it", "models/gemma-3-27b.html#ids") in pages
    outlines = {file: outline(file) for file in site.rglob("*.html")}
    for _, _, _, page, _ in entries:
        place, _, part = page.partition("#")
        assert not part or part in outlines[site / place].ids, page
        assert site / place in outlines, page


def test_hostile_names_stay_words(site: Path) -> None:
    page = site / "models/script-alert-1-script-index-..-..-x.html"
    said = page.read_text("utf-8")
    assert "<script>alert" not in said
    assert "<img" not in said
    assert "&lt;script&gt;alert(1)" in said
    assert "alert(1)</script>" not in said


def test_it_is_the_same_bytes_twice(site: Path, tmp_path: Path) -> None:
    """In another process, with other seeds of Python's hashes; the list has every file's checksum."""
    models = (*MODELS, str(site.parent / "hostile.yaml"))
    command = (sys.executable, "-m", "kvcalc", "site", *models, "-o", str(tmp_path / "again"), "-q")
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert (tmp_path / "again" / LIST).read_bytes() == (site / LIST).read_bytes()


def test_docstrings_become_what_they_are_laid_out_as() -> None:
    said = docstring(
        "A rule (arXiv 2405.04434):\n    a * b   equation\n\n1. one\n   and more\n2. two\n\n"
        "auto takes it\n    when it can.\nMLA\n    SM 9.0  this\n    SM 10  that\n\n* ``x`` <y>\n* **z** a"
    )
    assert said == (
        '<p>A rule (<a href="https://arxiv.org/abs/2405.04434">arXiv 2405.04434</a>):</p>\n'
        '<pre tabindex="0">a * b   equation</pre>\n'
        "<ol><li>one and more</li><li>two</li></ol>\n"
        '<ul><li>auto takes it when it can.</li><li>MLA<pre tabindex="0">SM 9.0  this\nSM 10  that</pre>\n'
        "</li></ul>\n<ul><li><code>x</code> &lt;y&gt;</li><li><strong>z</strong> a</li></ul>\n"
    )


def test_every_mechanisms_page_shows_numbers() -> None:
    """Those that no shipped model has are made up."""
    shipped = {
        part.kind
        for path in catalog.shipped().values()
        for block in catalog.load(path).blocks.values()
        for part in (block.attention, block.recurrent, block.cross_attention)
        if part is not None
    }
    kinds = {**attention.KINDS, **recurrent.KINDS}
    missing = {module for kind, (module, _) in kinds.items()
               if kind not in shipped and not examples.example_of(module)}  # fmt: skip
    assert missing == set(), "EXAMPLE in its file, the fields of a layer"
