"""The report page in a real browser: it answers to mouse and keyboard, alone and with a thousand trials."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_records import make_ablation, make_search
from test_report_metric import turned

from acmix_nas.report import render
from acmix_nas.space.arch_file import load_arch

CHROMIUM = Path("/usr/bin/chromium")
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
MOST_BYTES = 6_000_000

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    with playwright.sync_playwright() as session:
        running = session.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """Opens a file; in the end nothing was written to the console and no request has left."""
    seen: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def open_file(file: Path, hash_: str = "") -> Any:
        page = context.new_page()
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("request", lambda sent: seen.append(sent.url) if not sent.url.startswith(("file:", "data:")) else None)
        page.goto(file.as_uri() + hash_)
        return page

    yield open_file
    context.close()
    assert seen == []


@pytest.fixture(params=[make_search, make_ablation], ids=["search", "ablate"])
def page(request: pytest.FixtureRequest, opened: Any, tmp_path: Path) -> Any:
    render(tmp_path, *request.param())
    return opened(tmp_path / "report.html")


def test_the_page_answers(page: Any) -> None:
    mark = page.locator("#accuracy .mark").first
    mark.hover()
    assert page.locator("#tip").is_visible()
    assert "stage 1:" in page.locator("#tip").inner_text()
    mark.click()
    number = mark.get_attribute("data-number")
    assert page.locator("#trials tr[aria-selected=true]").get_attribute("data-number") == number
    page.locator("#axis label", has_text="params").click()
    assert "parameters of the full network" in page.locator("#accuracy svg").text_content()


def test_a_page_of_errors_shows_them_in_their_unit(opened: Any, tmp_path: Path) -> None:
    header, records = turned(*make_search())
    render(tmp_path, header, records)
    page = opened(tmp_path / "report.html", "#trial-4")
    assert "MAE on search images, years (proxy training)" in page.locator("#accuracy svg").text_content()
    assert f"{records[4].score:.2f} years" in page.locator("#trial dd").first.inner_text()
    assert page.locator("#trial dt").first.inner_text() == "MAE"
    page.locator("#accuracy .mark").first.hover()
    assert re.match(r"trial \d+, .*: \d+\.\d\d years\n", page.locator("#tip").inner_text())
    for summary in page.locator("#trial summary").all():
        summary.click()
    assert f"search MAE {records[4].scores[-1]:.2f}" in page.locator("#trial").inner_text()


def test_the_table_sorts_and_filters(page: Any) -> None:
    heading = page.locator("#trials th", has_text="top-1")
    for order, reverse in (("descending", True), ("ascending", False)):
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == order
        texts = page.locator("#trials tbody tr td:nth-child(4)").all_inner_texts()
        values = [-1.0 if text == "-" else float(text) for text in texts]
        assert values == sorted(values, reverse=reverse)
    page.locator("#filter").fill("out of memory")
    assert page.locator("#trials tbody tr:visible").count() == 1
    assert page.locator("#count").inner_text().startswith("1 of ")


def test_a_keyboard_is_enough(page: Any) -> None:
    mark = page.locator("#accuracy [tabindex='0']")
    mark.focus()
    assert page.locator("#tip").is_visible()
    page.keyboard.press("ArrowRight")
    mark = page.locator("#accuracy .mark:focus")
    page.keyboard.press("Enter")
    number = mark.get_attribute("data-number")
    assert page.locator("#trial-title").inner_text().startswith(f"Trial {number},")
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()
    page.locator("#trials tbody tr[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    third = page.locator("#trials tbody tr").nth(2).get_attribute("data-number")
    page.keyboard.press("Enter")
    assert page.locator("#trial-title").inner_text().startswith(f"Trial {third},")
    page.locator("#trials th button").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator("#trials th").nth(1).get_attribute("aria-sort") == "descending"


def test_a_trial_opens_to_all_that_is_known_of_it(opened: Any, tmp_path: Path) -> None:
    header, records = make_search()
    render(tmp_path / "reports" / "demo", header, records)
    page = opened(tmp_path / "reports" / "demo" / "report.html", "#trial-4")
    assert page.locator("#trial-title").inner_text() == f"Trial 4, {records[4].label}"
    assert page.locator("#trial .own path").count() == 1
    for summary in page.locator("#trial summary").all():
        summary.click()
    network, log, again = page.locator("#trial pre").all_inner_texts()
    (tmp_path / "copied.yaml").write_text(network)
    assert load_arch(tmp_path / "copied.yaml") == records[4].arch
    assert f"epoch 6: search top-1 {records[4].scores[-1]:.4f}, training loss" in log
    assert again == f"acmix repeat demo:4 --reports {tmp_path / 'reports'}"


def test_a_trial_shows_what_both_paths_contribute(opened: Any, tmp_path: Path) -> None:
    header, records = make_search()
    render(tmp_path, header, records)
    page = opened(tmp_path / "report.html", "#trial-1")
    alpha, beta = next(pair for pair in records[1].mixing[-1] if pair)
    titles = page.locator("#mixing title").all_text_contents(), page.locator("#norms title").all_text_contents()
    assert any(title.endswith(f"|{ALPHA}| attention {alpha:.4g}") for title in titles[0])
    assert any(title.endswith(f"‖{ALPHA}·F_att‖ {2 * alpha:.4g}") for title in titles[1])
    assert any(title.endswith(f"‖β·F_conv‖ {5 * abs(beta):.4g}") for title in titles[1])
    assert page.locator("#contributions").is_visible()
    page.locator("#trials tbody tr[data-number='0']").click()
    assert not page.locator("#contributions").is_visible()


def test_buttons_put_text_on_the_clipboard(opened: Any, tmp_path: Path) -> None:
    render(tmp_path, *make_ablation())
    page = opened(tmp_path / "report.html")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="copy LaTeX").click()
    page.get_by_role("button", name="copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == (tmp_path / "table.tex").read_text()


@pytest.mark.slow
@pytest.mark.nightly
def test_a_thousand_trials_are_no_burden(opened: Any, tmp_path: Path) -> None:
    render(tmp_path, *make_search(count=1000))
    assert (tmp_path / "report.html").stat().st_size < MOST_BYTES
    page = opened(tmp_path / "report.html")
    assert page.locator("#accuracy .mark").count() == 999
    page.locator("#filter").fill("plain host")
    assert page.locator("#trials tbody tr:visible").count() == 1
    page.locator("#trials tbody tr:visible").click()
    assert page.locator("#trial-title").inner_text() == "Trial 0, plain host"


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("make", [make_search, make_ablation], ids=["search", "ablate"])
def test_nothing_sticks_out_of_the_page(width: int, make: Any, opened: Any, tmp_path: Path) -> None:
    render(tmp_path, *make())
    page = opened(tmp_path / "report.html")
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
@pytest.mark.nightly
def test_dark_and_light_are_both_legible(opened: Any, tmp_path: Path) -> None:
    """Text on its ground has a contrast of at least 4.5 to 1 (WCAG 2.1, AA)."""
    render(tmp_path, *make_search())
    page = opened(tmp_path / "report.html")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for selector in ("h1", ".facts dt", ".note", ".warning", "#trials td", "#trials th"):
            assert contrast(*page.evaluate(COLOURS, selector)) >= 4.5, (scheme, selector)


COLOURS = """(selector) => {
  const node = document.querySelector(selector), rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  let under = node;
  while (under && rgb(getComputedStyle(under).backgroundColor)[3] === 0) under = under.parentElement;
  return [rgb(getComputedStyle(node).color), rgb(getComputedStyle(under || document.body).backgroundColor)];
}"""


def contrast(one: list[float], other: list[float]) -> float:
    def luminance(colour: list[float]) -> float:
        parts = [value / 255 for value in colour[:3]]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
