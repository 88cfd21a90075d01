"""A real browser, where the machine has one: no test leaves an error in its console or asks anything of a network."""

import os
import shutil
from dataclasses import dataclass, field

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
        for _ in range(200):
            if self.page.evaluate(function):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"within ten seconds not true: {function}")

    def words(self, selector):
        """The text of one element, its hard spaces as plain ones."""
        self.settle()
        return self.page.locator(selector).inner_text().replace("\u00a0", " ")


@pytest.fixture(scope="module")  # not for the whole session: while it runs, this thread counts as inside an event loop
def browser():
    executable = os.environ.get("HEEDFUL_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} on the PATH and no HEEDFUL_CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_report(browser, tmp_path):
    """Returns a function that writes a report and opens it from the disk; afterwards the page must have been quiet."""
    contexts, reports = [], []

    def open_one(sections, *, width=1280, scheme="light", fragment="", title="A report", about=None, **options):
        path = tmp_path / f"report-{len(reports)}.html"
        write_report(path, title=title, sections=sections, about=about)
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        opened = Opened(context.new_page(), path.as_uri())
        reports.append(opened)
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on("console", lambda message: opened.complaints.append(message.text))
        opened.page.on("dialog", lambda dialog: (opened.complaints.append(dialog.message), dialog.dismiss()))
        opened.page.goto(opened.address + fragment)
        opened.settle()
        return opened

    yield open_one
    for context in contexts:
        context.close()
    for report in reports:
        assert report.complaints == []
        assert {request.split("#")[0] for request in report.requests} <= {report.address}
