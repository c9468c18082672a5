"""The whole site, as a release checks it: python -m tests.site.whole [--axe axe.min.js] [FOLDER]

Builds the pages of all shipped models twice and says how long it took and how large they are; every
link must lead somewhere. With axe-core's file (npm install axe-core) a browser opens pages of every kind,
wide and narrow, light and dark, and axe must find nothing to mend. Five minutes.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kvcalc.site.build import build
from kvcalc.spec.catalog import locate, shipped
from tests.report.test_page_in_chromium import Browser, started
from tests.site.crawl import problems

MOST_SECONDS, MOST_BYTES = 300, 60_000_000
_AXE = """
const done = arguments[0];
for (const one of document.querySelectorAll("details")) one.open = true;
axe.run().then((result) => done(result.violations.map((one) => `${one.id}: ${one.nodes[0].html}`)));
"""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--axe", type=Path)
    parser.add_argument("folder", nargs="?", type=Path)
    asked = parser.parse_args()
    with TemporaryDirectory() as made:
        folder = asked.folder or Path(made) / "site"
        found = [*_built(folder), *problems(folder)]
        if asked.axe is not None:
            found += _accessible(folder, asked.axe.read_text("utf-8"), Path(made) / "browser")
    print("\n".join(found) or "nothing to mend")
    return 1 if found else 0


def _built(folder: Path) -> Iterator[str]:
    begun = time.process_time()
    files = dict(build([(name, locate(name)) for name in shipped()]))
    seconds, size = time.process_time() - begun, sum(map(len, files.values()))
    print(f"{len(files)} files, {size:,} bytes, {seconds:.0f} s of one core")
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    if seconds > MOST_SECONDS or size > MOST_BYTES:
        yield "too slow, or too large"
    if dict(build([(name, locate(name)) for name in shipped()])) != files:
        yield "another site at the second time"


def _accessible(folder: Path, axe: str, profile: Path) -> Iterator[str]:
    """A page of each kind, and every 20th of those of which there are many."""
    kinds = ("*.html", "*/index.html", "engines/*.html", "mechanisms/*.html")
    pages = {page for kind in kinds for page in folder.glob(kind)}
    pages |= set(sorted(folder.glob("models/*.html"))[::20])
    with started(profile) as browser:
        for page in sorted(pages):
            for width in (360, 1280):
                for scheme in ("light", "dark"):
                    for said in _violations(browser, page, axe, width, scheme):
                        yield f"{page.relative_to(folder)}, {width} wide, {scheme}: {said}"
    print(f"axe on {len(pages)} pages, four times each")


def _violations(browser: Browser, page: Path, axe: str, width: int, scheme: str) -> list[str]:
    def devtools(command: str, **parameters: Any) -> None:
        body = {"cmd": command, "params": parameters}
        browser.call("POST", f"{browser.session}/goog/cdp/execute", body)

    devtools("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
             mobile=False)  # fmt: skip
    feature = {"name": "prefers-color-scheme", "value": scheme}
    devtools("Emulation.setEmulatedMedia", features=[feature])
    browser.call("POST", f"{browser.session}/url", {"url": page.resolve().as_uri()})
    browser.run(axe)
    body = {"script": _AXE, "args": []}
    found: list[str] = browser.call("POST", f"{browser.session}/execute/async", body)
    if browser.run("return document.documentElement.scrollWidth > window.innerWidth"):
        found.append("wider than the screen")
    return found


if __name__ == "__main__":
    sys.exit(main())
