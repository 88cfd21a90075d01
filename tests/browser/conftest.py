"""A real browser, where the machine has one: no test leaves an error in its console or asks anything of a network.

One browser serves all tests of a process. Its pages are used again, and a page of the report is written once for sections
that several tests share.
"""

import asyncio
import os
import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from heedful.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
UNTIL = """async () => {
  const end = performance.now() + 10_000;
  while (!(%s)()) {
    if (performance.now() > end) return false;
    await new Promise((done) => setTimeout(done, 10));
  }
  return true;
}"""
QUIET = """async ([selector, wanted]) => {
  let [text, frames] = [null, 0];
  const end = performance.now() + 10_000;
  while (frames < wanted && performance.now() < end) {
    await new Promise((done) => requestAnimationFrame(done));
    const now = document.querySelector(selector)?.innerText ?? "";
    frames = now === text && now !== "" ? frames + 1 : 0;
    text = now;
  }
  return text;
}"""


@dataclass
class Opened:
    """A report in a browser, with what its page asked for and complained about."""

    page: object
    address: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def settle(self):
        """Waits until what was asked for has been drawn."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def until(self, function):
        """Waits until a function of the page says yes. (Playwright's own way evaluates strings there, which the page forbids.)"""
        function = function if function.startswith("(") else f"() => {function}"
        assert self.page.evaluate(UNTIL % function), f"within ten seconds not true: {function}"

    def quiet(self, selector=".attend > .readout", frames=4):
        """Waits until the text of an element is there and stays the same for some frames; returns it."""
        return self.page.evaluate(QUIET, [selector, frames]).replace("\u00a0", " ")

    def words(self, selector):
        """The text of one element, its hard spaces as plain ones."""
        self.settle()
        return self.page.locator(selector).inner_text().replace("\u00a0", " ")


class Pages:
    """Pages of a browser by the options of their contexts; what a page says goes to the report that is open on it."""

    def __init__(self, browser):
        self._browser = browser
        self._free = defaultdict(list)
        self._reports = {}

    def open(self, path, fragment, options):
        free = self._free[repr(options)]
        page = free.pop() if free else self._new(options)
        self._reports[page] = opened = Opened(page, path.as_uri())
        page.goto(opened.address + fragment)
        opened.settle()
        return opened

    def close(self, opened, options):
        """Takes a page back, with nothing on it and nothing pointed at."""
        self._reports[opened.page] = None
        if opened.page.is_closed():
            return
        opened.page.emulate_media(media="null", color_scheme=options["color_scheme"])
        opened.page.goto("about:blank")
        opened.page.mouse.move(0, 0)
        self._free[repr(options)].append(opened.page)

    def _new(self, options):
        context = self._browser.new_context(**options)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.on("request", lambda request: self._note(page, "requests", request.url))
        page.on("pageerror", lambda error: self._note(page, "complaints", str(error)))
        page.on("console", lambda message: self._note(page, "complaints", message.text))
        page.on("dialog", lambda dialog: (self._note(page, "complaints", dialog.message), dialog.dismiss()))
        return page

    def _note(self, page, kind, text):
        if self._reports[page] is not None:
            getattr(self._reports[page], kind).append(text)


@pytest.fixture(scope="session")
def session_browser():
    """The browser and its pages, with the event loop that drives it: between tests, this thread is in none."""
    executable = os.environ.get("HEEDFUL_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} on the PATH and no HEEDFUL_CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        loop = asyncio.get_running_loop()
        asyncio._set_running_loop(None)
        yield browser, Pages(browser), loop
        asyncio._set_running_loop(loop)
        browser.close()


@pytest.fixture
def browser(session_browser):
    browser, _, loop = session_browser
    asyncio._set_running_loop(loop)
    yield browser
    asyncio._set_running_loop(None)


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Returns a function that writes a report, once for the same sections."""
    folder, reports = tmp_path_factory.mktemp("reports"), {}

    def write(title, sections, about) -> Path:
        key = (title, repr(about), *map(id, sections))
        if key not in reports:
            path = folder / f"{len(reports)}.html"
            write_report(path, title=title, sections=sections, about=about)
            reports[key] = path, sections  # held, so that no other section gets the same id
        return reports[key][0]

    return write


@pytest.fixture
def open_report(browser, session_browser, written):
    """Returns a function that writes a report and opens it from the disk; afterwards the page must have been quiet."""
    pages, reports = session_browser[1], []

    def open_one(sections, *, width=1280, scheme="light", fragment="", title="A report", about=None, **options):
        path = written(title, sections, about)
        context = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, **options}
        reports.append((pages.open(path, fragment, context), context))
        return reports[-1][0]

    yield open_one
    for report, context in reports:
        pages.close(report, context)
    for report, _ in reports:
        assert report.complaints == []
        assert {request.split("#")[0] for request in report.requests} <= {report.address}
