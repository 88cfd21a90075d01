"""The report of a large model: how large the file is, how long it takes to make, to paint, and to point at."""

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import heedful
from benchmarks._measure import keep, size
from heedful.inspection import AttentionCall, Recording
from heedful.ops import AttentionMatrix
from heedful.report import AttentionSection, Layer, LivePage, Positions, Text, write_report

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "viewer"
# name, layers, heads, width, positions, megabytes that the file may have
CASES = (
    ("1,024 positions, 12 layers of 12 heads", 12, 12, 768, 1024, 12),
    ("16,384 positions, 1 layer of 8 heads", 1, 8, 512, 16_384, 20),
)
MOVES = 240  # of the pointer over a view
WINDOWS = (2, 5, 10, 20, 50, 100, 200, 1000, 5000, 100_000)  # shares of the map
SETTLED_MS = 3000  # until all is decoded and drawn
LONGEST_FRAME_MS, FIRST_PAINT_MS, WINDOW_MS = 50, 1000, 300


def model(layers: int, heads: int, width: int) -> nn.Module:
    """An encoder of PyTorch's with random weights."""
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()


def reports(folder: Path) -> list[dict[str, Any]]:
    """Makes a report of each case, opens it, and moves the pointer over its overview and its map."""
    rows = []
    for name, layers, heads, width, n, megabytes in CASES:
        network, x = model(layers, heads, width), torch.randn(1, n, width)
        with torch.inference_mode():
            with heedful.watch(network) as seen:
                network(x)
            started = time.perf_counter()
            with heedful.watch(network) as seen:
                network(x)
            forward = time.perf_counter() - started
        path = folder / f"{n}.html"
        started = time.perf_counter()
        seen.report(path, axes=[Text([f"word{i % 997}" for i in range(n)])])
        build = time.perf_counter() - started
        row = {
            "case": name,
            "megabytes": path.stat().st_size / 1e6,
            "megabytes_target": megabytes,
            "watched_forward_s": forward,
            "build_s": build,
            "build_target_s": 3 * forward + 2,
        }
        with page() as opened:
            row |= pointed(opened, path.as_uri())
        rows.append(row)
        print(json.dumps(row, indent=2), flush=True)
    return rows


@contextmanager
def page(*, dark: bool = False) -> Iterator[Any]:
    """A page of the system's Chromium."""
    import os
    import shutil

    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    executable = os.environ.get("HEEDFUL_CHROMIUM") or next(filter(None, map(shutil.which, names)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page(viewport={"width": 1280, "height": 1100}, color_scheme="dark" if dark else "light")
        browser.close()


def pointed(opened: Any, address: str) -> dict[str, Any]:
    """When the page first paints, and the longest task of its main thread while the pointer moves over each view."""
    opened.goto(address)
    opened.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length > 0")
    paint = opened.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime")
    found: dict[str, Any] = {"first_paint_ms": paint, "first_paint_target_ms": FIRST_PAINT_MS, "longest_frame_ms": {}}
    for view in ("overview", "map", "input", "input&layout=columns", "layers", "compare"):
        opened.goto(f"{address}#section-0&view={view}&head=0")
        opened.wait_for_timeout(SETTLED_MS)
        found["longest_frame_ms"][view] = longest_task(opened)
    found["longest_frame_target_ms"] = LONGEST_FRAME_MS
    return found


def longest_task(opened: Any) -> float:
    """Moves the pointer to and fro under the browser's own tracing."""
    session = opened.context.new_cdp_session(opened)
    events: list[dict[str, Any]] = []
    session.on("Tracing.dataCollected", lambda part: events.extend(part["value"]))
    done: list[Any] = []
    session.on("Tracing.tracingComplete", lambda event: done.append(event))
    session.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": {"includedCategories": ["toplevel"]}})
    box = opened.locator(".attend-stage").bounding_box()
    top, height = max(box["y"], 0), min(box["height"], 880 - max(box["y"], 0))
    for step in range(MOVES):
        across, down = (step * 37 % MOVES) / MOVES, step / MOVES
        opened.mouse.move(box["x"] + 10 + across * (box["width"] - 20), top + 10 + down * (height - 20))
    session.send("Tracing.end")
    while not done:
        opened.wait_for_timeout(50)
    threads = {
        (e["pid"], e["tid"]) for e in events if e["name"] == "thread_name" and e["args"]["name"] == "CrRendererMain"
    }
    tasks = [e["dur"] / 1000 for e in events if e.get("dur") and (e["pid"], e["tid"]) in threads]
    return max(tasks, default=0.0)


def live(heads: int = 8, width: int = 64) -> dict[str, Any]:
    """Zooms a live page from the whole matrix to single pairs, and notes how long each window takes to arrive in the page."""
    n = size(100_000)
    query, key = torch.randn(2, 1, heads, n, width).unbind()
    seen = Recording([AttentionCall("layers.0.attention", "self", AttentionMatrix(query, key), "by hand")])
    # the map of the section is not what is measured: it stands there until the first window has come
    grid = torch.full((heads, 64, 64), 1 / 64).numpy()
    layer = Layer("layers.0.attention", "layer 0", "self", grid, None, n, n, 0, 0)
    section = AttentionSection("A long input", "", [layer], [Positions(n)])
    found: dict[str, Any] = {"positions": n, "heads": heads, "target_ms": WINDOW_MS, "windows": []}
    random = torch.Generator().manual_seed(0)
    with LivePage(title="Live", sections=[section], recordings=[seen]) as served, page() as opened:
        threading.Thread(target=served.serve, daemon=True).start()
        for side in (max(n // part, 1) for part in WINDOWS):
            for head in ("3", "mean"):
                top, left = (int(torch.randint(0, n - side, (1,), generator=random)) for _ in range(2))
                rect = f"{top},{left},{top + side},{left + side}"
                opened.goto("about:blank")
                opened.goto(f"{served.address}#section-0&view=map&head={head}&rect={rect}")
                opened.wait_for_timeout(SETTLED_MS // 2)
                times = opened.evaluate(
                    "() => performance.getEntriesByType('resource').filter((e) => e.name.includes('window?'))"
                    ".map((e) => e.duration)"
                )
                found["windows"].append({"size": side, "head": head, "ms": [round(ms, 1) for ms in times]})
                print(found["windows"][-1], flush=True)
    return found


# name of the picture, section of examples/viewer.py, what the address says, dark
PICTURES = (
    ("overview", 0, "view=overview", False),
    ("map", 3, "view=map&head=2", False),
    ("text", 0, "view=input&layer=0&head=1&pins=18", False),
    ("translation", 1, "view=map&layer=2&head=0", True),
    ("picture", 2, "view=input&layer=0&head=0", False),
    ("long", 3, "view=map&head=2&rect=1000,1000,1080,1080", True),
    ("sound", 4, "view=input&layer=1&head=0&query=2", False),
    ("series", 5, "view=input&layer=0&head=0&query=100", True),
    ("layers", 0, "view=layers", False),
    ("compare", 0, "view=compare&layer=0&head=1&with=0:0:2", False),
)


def pictures() -> None:
    """The pictures of docs/viewer.md, from the page of examples/viewer.py, and that of the README."""
    import runpy

    sections = runpy.run_path(str(ROOT / "examples" / "viewer.py"))["SECTIONS"]
    with tempfile.TemporaryDirectory() as temporary:
        for name, section, address, dark in PICTURES:
            path = Path(temporary) / f"{section}.html"
            if not path.exists():
                write_report(path, title="Attention over everything", sections=[sections[section]()])
            with page(dark=dark) as opened:
                opened.goto(f"{path.as_uri()}#section-0&{address}")
                opened.wait_for_timeout(SETTLED_MS)
                opened.locator("section").first.screenshot(path=FOLDER / f"{name}.png")
    demo()


def demo() -> None:
    """The picture of the README: the first section of the demo, without what depends on the machine."""
    from heedful.cli.demo import POSITIONS, first_act

    section = first_act(size(POSITIONS))[1]
    with tempfile.TemporaryDirectory() as temporary, page(dark=True) as opened:
        path = Path(temporary) / "demo.html"
        write_report(path, title="heedful demo", sections=[replace(section, facts=section.facts[:2])])
        opened.goto(path.as_uri())
        opened.wait_for_timeout(SETTLED_MS)
        opened.locator("section").first.screenshot(path=FOLDER.parent / "report-matrix.png")


def main() -> None:
    """Prints what was measured, keeps results/viewer.json."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        keep("viewer", {"reports": reports(Path(folder)), "live": live()})
    print("kept in results/viewer.json")
