"""The report's page in a real browser: the form, the table and the plots, within a frame."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kvcalc import estimate
from kvcalc.cli.app import main
from kvcalc.errors import UnsupportedError
from kvcalc.spec.catalog import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("chromedriver") is None, reason="chromedriver is not installed"
    ),
]

MODELS = (
    "llama-3-8b", "gemma-3-27b", "deepseek-v3", "qwen3-next-80b-a3b", "deepseek-v4-flash",
    "mamba-2.8b", "t5-base", "whisper-small", "llama-3.2-11b-vision", "gpt-oss-120b",
    "mor-360m-nr3-middle-cycle",
)  # fmt: skip
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1280,1200",
)  # fmt: skip
FILL = """
const [wanted] = arguments;
for (const [id, value] of Object.entries(wanted.fields)) document.getElementById(id).value = value;
const rank = document.getElementById("rank");
rank.selectedIndex = [...rank.options].findIndex((option) => option.textContent === wanted.ranks);
document.getElementById("context").dispatchEvent(new Event("input"));
return [...document.querySelectorAll("#answers tbody tr")].map((row) => ({
  problem: row.querySelector(".problem")?.textContent ?? null,
  ...Object.fromEntries([...row.cells].filter((cell) => cell.dataset.bytes)
    .map((cell) => [cell.dataset.field, cell.dataset.bytes])),
}));
"""


class Browser:
    """A page in headless Chromium, driven over WebDriver."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def run(self, script: str, *arguments: object) -> Any:
        body = {"script": script, "args": list(arguments)}
        return self.call("POST", f"{self.session}/execute/sync", body)

    def open(self, folder: Path) -> None:
        chrome = {"args": [*ARGUMENTS, f"--user-data-dir={folder}"]}
        wanted = {"goog:chromeOptions": chrome, "goog:loggingPrefs": {"browser": "ALL"}}
        body = {"capabilities": {"alwaysMatch": wanted}}
        self.session = f"/session/{self.call('POST', '/session', body)['sessionId']}"

    def wait(self) -> None:
        for _ in range(100):
            try:
                self.call("GET", "/status")
                return
            except OSError:
                time.sleep(0.1)
        pytest.skip("chromedriver does not start here")


@contextmanager
def started(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own; skips the test where none starts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = subprocess.DEVNULL
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=quiet, stderr=quiet)
    try:
        found = Browser(port)
        found.wait()
        try:
            found.open(folder / "profile")
        except OSError as error:
            pytest.skip(f"Chromium does not start here: {error}")
        yield found
        found.call("DELETE", found.session)
    finally:
        driver.terminate()
        driver.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("page")
    file = folder / "report.html"
    with pytest.raises(SystemExit):
        main(["report", *MODELS, "-o", str(file)])
    with started(folder) as found:
        found.call("POST", f"{found.session}/url", {"url": file.as_uri()})
        yield found


@pytest.mark.parametrize(
    ("context", "batch", "encoder", "kv_dtype", "dtype", "ranks"),
    [
        ("8k", 1, "", "bf16", "published", 1),
        ("0", 1, "", "bf16", "bf16", 1),
        ("1", 3, "100", "fp8", "fp8", 2),
        ("127", 1, "0", "bf16", "published", 1),
        ("130", 1, "", "q8_0", "q4_0", 1),
        ("4095", 999, "1500", "fp8_per_token_head", "mxfp4", 4),
        ("1000003", 32, "", "fp8_ds_mla", "published", 8),
        ("1m", 1, "", "q4_0", "bf16", 16),
        ("1048575m", 999999999, "", "bf16", "fp32", 1),
    ],
)
def test_the_form_computes_what_kvcalc_computes(
    browser: Browser, context: str, batch: int, encoder: str, kv_dtype: str, dtype: str, ranks: int
) -> None:
    fields = {
        "context": context, "batch": str(batch), "encoder": encoder, "kv-dtype": kv_dtype, "dtype": dtype,
    }  # fmt: skip
    rows = browser.run(FILL, {"fields": fields, "ranks": str(ranks)})
    unit = {"k": 1 << 10, "m": 1 << 20}.get(context[-1], 1)
    for name, row in zip(MODELS, rows, strict=True):
        try:
            answer = estimate(
                load(name), context_tokens=int(context.rstrip("km")) * unit, batch_size=batch,
                encoder_tokens=int(encoder) if encoder else None,
                dtype=None if dtype == "published" else dtype,
                kv_dtype=kv_dtype, tensor=ranks,
            )  # fmt: skip
        except UnsupportedError:
            # What cannot be divided or stored has a reason in the page, and no numbers.
            assert list(row) == ["problem"]
            assert row["problem"]
            continue
        device = answer.weight_bytes_per_device[0] + answer.cache.per_device_bytes[0]
        assert row == {
            "problem": None,
            "cache": str(answer.cache.bytes),
            "nextToken": str(answer.cache.next_token_bytes),
            "weights": str(answer.weight_bytes),
            "total": str(answer.total_bytes),
            "perDevice": str(device),
        }, name


def test_a_recomputation_takes_less_than_a_frame(browser: Browser) -> None:
    script = """
    const context = document.getElementById("context"), taken = [];
    for (let tokens = 1000; tokens < 1040; tokens += 1) {
      context.value = String(tokens);
      context.dispatchEvent(new Event("input"));
      taken.push(Number(document.documentElement.dataset.milliseconds));
    }
    return taken.sort((a, b) => a - b)[4];  // what else the machine does is no part of it
    """
    assert browser.run(script) < 1000 / 60


def test_what_is_no_workload_is_said_and_changes_nothing(browser: Browser) -> None:
    script = """
    const set = (id, value) => {
      document.getElementById(id).value = value;
      document.getElementById(id).dispatchEvent(new Event("input"));
    };
    const table = () => document.getElementById("answers").textContent;
    set("batch", "1"); set("context", "8k");
    const before = table();
    set("context", "8x");
    const said = [document.getElementById("status").textContent, table() === before,
      document.getElementById("context").getAttribute("aria-invalid")];
    set("context", "8k");
    return [...said, document.getElementById("status").className, table() === before];
    """
    said, kept, invalid, state, same = browser.run(script)
    assert said.startswith("Write tokens as 8192, 8k or 1m")
    assert (kept, invalid, state, same) == (True, "true", "", True)


def test_a_click_in_the_plot_sets_the_context(browser: Browser) -> None:
    script = """
    const svg = document.querySelector("#lines svg"), box = svg.getBoundingClientRect();
    svg.dispatchEvent(new MouseEvent("click", { clientX: box.right - 13, clientY: box.top + 50 }));
    return document.getElementById("context").value;
    """
    # The last context of the plot: gpt-oss and the others were made for less than 1m (deepseek-v4).
    assert browser.run(script) == "1m"


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_nothing_sticks_out_of_a_screen(browser: Browser, width: int) -> None:
    rectangle = {"width": width, "height": 900}
    browser.call("POST", f"{browser.session}/window/rect", rectangle)
    page, window = browser.run("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert page <= window


def test_the_browser_has_nothing_to_complain_of(browser: Browser) -> None:
    assert browser.call("POST", f"{browser.session}/se/log", {"type": "browser"}) == []
