"""The report of 1,000 trials against that of 12: seconds to render it, and until its page answers in Chromium.

Run: python benchmarks/report.py [--trials 1000] [--rounds 7] [--chromium /usr/bin/chromium]
Claim (2 CPU cores): 1,000 trials are rendered in less than 5 s, and their page answers in less than 1 s: opened, its
table filtered to one trial by words that are typed, and laid out again. Without Chromium only the
rendering is timed. Both reports are taken in turns; a ratio is that of two times of the same round.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit"))

from report_records import make_search

from acmix_nas.report import render

FEW = 12
TYPED = """() => {
  const filter = document.querySelector("#filter");
  filter.value = "plain host";
  filter.dispatchEvent(new Event("input", {bubbles: true}));
  const rows = [...document.querySelectorAll("#trials tbody tr")];
  return [rows.filter((row) => row.offsetHeight > 0).length, performance.now() / 1000].reverse();
}"""
"""Types into the filter, and asks for the height of what is left, which makes the browser lay the page out."""


def rendered(folder: Path, trials: int) -> float:
    """Renders a study of so many trials; returns the seconds that takes."""
    study = make_search(count=trials)
    start = time.perf_counter()
    render(folder / str(trials), *study)
    return time.perf_counter() - start


def answers(browser: Any, file: Path) -> float:
    """Opens a page and filters its table; returns the seconds from the start of the navigation until it is drawn."""
    page = browser.new_page()
    page.goto(file.as_uri(), wait_until="domcontentloaded")
    seconds, left = page.evaluate(TYPED)
    page.close()
    assert left == 1
    return float(seconds)


def compare(what: str, act: Callable[[int], float], trials: int, rounds: int) -> None:
    """Times an act for many and for few trials, in turns, and prints a line."""
    found = [(count, act(count)) for count in (trials, FEW) * (rounds + 1)]
    times = {count: [seconds for number, seconds in found[2:] if number == count] for count in (trials, FEW)}
    ratios = [many / few for many, few in zip(times[trials], times[FEW], strict=True)]
    told = [f"{count} trials {spread(times[count])} s" for count in (trials, FEW)]
    print(f"{what:8} {'  '.join(told)}  ratio {spread(ratios)}", flush=True)


def spread(values: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Prints a line for the rendering and one for the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--chromium", type=Path, default=Path("/usr/bin/chromium"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in (asked.trials, FEW):
            (folder / str(count)).mkdir()
        compare("rendered", lambda count: rendered(folder, count), asked.trials, asked.rounds)
        print(f"page     {(folder / str(asked.trials) / 'report.html').stat().st_size / 1e6:.2f} MB", flush=True)
        if not asked.chromium.is_file():
            return
        from playwright.sync_api import sync_playwright

        with sync_playwright() as session:
            browser = session.chromium.launch(executable_path=str(asked.chromium), args=["--no-sandbox"])
            opened = {count: folder / str(count) / "report.html" for count in (asked.trials, FEW)}
            compare("answers", lambda count: answers(browser, opened[count]), asked.trials, asked.rounds)
            browser.close()


if __name__ == "__main__":
    main()
