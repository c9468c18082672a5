"""The site in a real browser: forms that compute what kvcalc computes, the search, wide and narrow."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvcalc import estimate
from kvcalc.cli.app import main
from kvcalc.errors import UnsupportedError
from kvcalc.spec.catalog import load
from tests.report.test_page_in_chromium import Browser, started

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("chromedriver") is None, reason="chromedriver is not installed"
    ),
]

MODELS = ("gemma-3-27b", "deepseek-v4-flash", "t5-base", "mor-360m-nr3-middle-cycle")
CONTEXTS = (0, 1, 127, 1000, 4095, 8192, 131071, 1000003, 1 << 20)
PAGES = ("index.html", "models/index.html", "models/gemma-3-27b.html", "mechanisms/csa.html",
         "engines/vllm.html", "life.html", "search.html")  # fmt: skip
# Every answer of the form for these contexts and formats, without leaving the page.
ASK = """
const [contexts, formats, ranks] = arguments, answers = [];
const set = (id, value) => { document.getElementById(id).value = value; };
const rank = document.getElementById("rank");
for (const number of ranks) for (const format of formats) for (const context of contexts) {
  rank.selectedIndex = [...rank.options].findIndex((option) => option.textContent === String(number));
  set("kv-dtype", format); set("batch", "3"); set("context", String(context));
  document.getElementById("context").dispatchEvent(new Event("input"));
  const row = document.querySelector("#answers tbody tr");
  answers.push(row.querySelector(".problem") ? null : Object.fromEntries(
    [...row.cells].filter((cell) => cell.dataset.bytes)
      .map((cell) => [cell.dataset.field, cell.dataset.bytes])));
}
return answers;
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "out"
    with pytest.raises(SystemExit):
        main(["site", *MODELS, "-o", str(folder), "-q"])
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started(tmp_path_factory.mktemp("browser")) as found:
        yield found


def visit(browser: Browser, page: str, site: Path) -> None:
    browser.call("POST", f"{browser.session}/url", {"url": (site / page).as_uri()})
    # On a busy machine the driver answers before the page's deferred scripts have run.
    for _ in range(200):
        if browser.run("return document.readyState") == "complete":
            return
        time.sleep(0.05)


@pytest.mark.parametrize("name", MODELS)
def test_a_form_computes_what_kvcalc_computes(browser: Browser, site: Path, name: str) -> None:
    visit(browser, f"models/{name}.html", site)
    formats, ranks = ("bf16", "fp8", "q4_0"), (1, 2)
    answers = iter(browser.run(ASK, CONTEXTS, formats, ranks))
    spec = load(name)
    for tensor in ranks:
        for kv_dtype in formats:
            for context in CONTEXTS:
                shown = next(answers)
                try:
                    own = estimate(spec, context_tokens=context, batch_size=3, kv_dtype=kv_dtype,
                                   tensor=tensor)  # fmt: skip
                except UnsupportedError:
                    assert shown is None
                    continue
                device = own.weight_bytes_per_device[0] + own.cache.per_device_bytes[0]
                assert shown == {
                    "cache": str(own.cache.bytes),
                    "nextToken": str(own.cache.next_token_bytes),
                    "weights": str(own.weight_bytes),
                    "total": str(own.total_bytes),
                    "perDevice": str(device),
                }, (context, kv_dtype, tensor)


def test_the_search_answers_below_and_on_its_page(browser: Browser, site: Path) -> None:
    visit(browser, "models/gemma-3-27b.html", site)
    script = """
    const [words, done] = arguments, input = document.querySelector("form.search input");
    input.focus(); input.value = words; input.dispatchEvent(new Event("input"));
    setTimeout(() => done([...document.querySelectorAll(".found a")].map((link) => link.href)), 300);
    """
    body = {"script": script, "args": ["kv_lora"]}
    links = browser.call("POST", f"{browser.session}/execute/async", body)
    assert (site / "mechanisms/mla.html").as_uri() + "#field-kv_lora_rank" in links
    browser.run("document.querySelector('form.search').requestSubmit()")
    shown = "return document.getElementById('answer-count')?.textContent ?? ''"
    for _ in range(50):
        if "found" in (said := browser.run(shown)):
            break
    assert said.startswith("“kv_lora”: ")
    assert browser.run("return document.querySelectorAll('.answers a').length") == len(links)


def test_a_list_is_narrowed(browser: Browser, site: Path) -> None:
    visit(browser, "models/index.html", site)
    script = """
    const input = document.querySelector("[data-narrows]");
    input.value = "GEMMA gqa"; input.dispatchEvent(new Event("input"));
    const links = [...document.querySelectorAll("#models tbody tr:not([hidden]) a")];
    return [links.map((link) => link.textContent),
      document.querySelector(".narrow output").textContent];
    """
    assert browser.run(script) == [["gemma-3-27b"], "1 found."]


@pytest.mark.parametrize("page", PAGES)
def test_no_screen_is_too_narrow(browser: Browser, site: Path, page: str) -> None:
    """Tables and drawings scroll by themselves, also where details are open."""
    for width in (360, 1600):
        rectangle = {"width": width, "height": 900}
        browser.call("POST", f"{browser.session}/window/rect", rectangle)
        visit(browser, page, site)
        browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
        sizes = "return [document.documentElement.scrollWidth, window.innerWidth]"
        whole, window = browser.run(sizes)
        assert whole <= window, width


def test_the_browser_has_nothing_to_complain_of(browser: Browser, site: Path) -> None:
    for page in PAGES:
        visit(browser, page, site)
    assert browser.call("POST", f"{browser.session}/se/log", {"type": "browser"}) == []
