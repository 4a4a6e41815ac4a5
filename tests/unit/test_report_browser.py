from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_records import make_ablation, make_search

from acmix_nas.report import render

CHROMIUM = Path("/usr/bin/chromium")

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


@pytest.fixture(params=[make_search, make_ablation], ids=["search", "ablate"])
def page(request: pytest.FixtureRequest, browser: Any, tmp_path: Path) -> Iterator[Any]:
    render(tmp_path, *request.param())
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    seen: list[str] = []
    opened.on("console", lambda message: seen.append(message.text))
    opened.on("pageerror", lambda error: seen.append(str(error)))
    opened.on("request", lambda sent: seen.append(sent.url) if not sent.url.startswith(("file:", "data:")) else None)
    opened.goto((tmp_path / "report.html").as_uri())
    yield opened
    opened.close()
    assert seen == []


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
    mark = page.locator("#accuracy .mark").nth(2)
    mark.focus()
    assert page.locator("#tip").is_visible()
    page.keyboard.press("Enter")
    number = mark.get_attribute("data-number")
    assert page.locator("#trial-title").inner_text().startswith(f"Trial {number},")
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()
