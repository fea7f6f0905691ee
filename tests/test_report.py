"""The report, opened in a browser: what it shows, in light and dark, on a desk and on a phone."""

import os
import re
import shutil
from html.parser import HTMLParser

import pytest

from intmlp import __version__, arithmetic_version
from intmlp.io.samples import samples_of
from intmlp.study import Grid, Outcome, Result, Task, answer, plots, report
from tables import causes, table

NAME = '<script>alert("samples")</script> & <b>bold</b>'
WIDE, PHONE = 1280, 390


@pytest.fixture(scope="module")
def study():
    """Return the result of a study that nobody ran, and its answer; seed 1 never serves once."""
    cells = table(
        5, 5, (4, 3), 3, 2, 3, (5, None), seeds=2, widths=range(2, 7), shifts=range(-2, 3)
    )
    grid = Grid(fractions=range(2, 7), lr_shifts=range(-2, 3), seeds=range(2))
    samples = samples_of([[0.0, 1.0]] * 4, [0, 1, 0, 1], name=NAME)
    outcomes = (Outcome(accuracy, 10, None) for accuracy in cells["accuracy"])
    result = Result(Task(), samples, grid, dict(zip(grid, outcomes, strict=True)))
    explained = cells[cells["variant"].isin(["fixed", "fixed-update"])]
    return result, answer.find(result.to_dataframe()), causes(explained)


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    """Return the path of its report."""
    result, found, counted = study
    path = tmp_path_factory.mktemp("report") / "report.html"
    report.write(result, found, path, counted)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Return a headless Chromium, or skip."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Chromium and its driver (Debian: chromium, chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in (
        "--headless",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options, Service(driver))
    yield chrome
    chrome.quit()


def opened(browser, page, width=WIDE, scheme="light"):
    """Open the page with all its details and return a function that asks it."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == PHONE},
    )
    browser.get(page.as_uri())
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")

    def ask(expression):
        return browser.execute_script(f"return {expression}")

    return ask


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_it_renders(browser, page, study, width, scheme):
    ask = opened(browser, page, width, scheme)
    _, found, _ = study
    assert ask("document.querySelector('#verdict').textContent") == found.verdict.sentence
    assert browser.get_log("browser") == []
    assert ask("document.documentElement.scrollWidth") <= width
    figures = ask(
        "[...document.querySelectorAll('svg')].map(s => [s.getBoundingClientRect().width, "
        "s.getBoundingClientRect().height, s.getBoundingClientRect().right])"
    )
    assert len(figures) == 2 + 8 + 8 + 2 * len(plots.CAUSES)
    for w, h, right in figures:
        assert 250 < w <= width
        assert 0.5 < h / w < 1.2
        assert right <= width


def luminance(colour):
    """Return the relative luminance of a CSS colour (WCAG 2)."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_text_and_figures_stand_out(browser, page, scheme, is_dark):
    ask = opened(browser, page, scheme=scheme)
    paper = ask("getComputedStyle(document.body).backgroundColor")
    assert (luminance(paper) < 0.1) is is_dark
    for what in ("body", "#verdict", "td", "dt", ".about", "caption"):
        ink = ask(f"getComputedStyle(document.querySelector('{what}')).color")
        assert contrast(ink, paper) > 4.5, what
    # The letters of the figures have the colour of the page's text, lines at least enough.
    fills = ask("[...document.querySelectorAll('svg text')].map(t => getComputedStyle(t).fill)")
    assert {contrast(fill, paper) > 4.5 for fill in fills} == {True}
    for part in ("forward", "backward", "update"):
        browser.execute_script(f"document.body.style.outlineColor = 'var(--{part})'")
        assert contrast(ask("getComputedStyle(document.body).outlineColor"), paper) > 4.5
        assert ask(f"document.querySelectorAll('svg [style*=\"var(--{part})\"]').length") > 0


def column(ask, number):
    cells = f"[...document.querySelector('tbody').rows].map(r => r.cells[{number}].textContent)"
    return [" ".join(text.split()) for text in ask(cells)]


def test_tables_sort(browser, page):
    ask = opened(browser, page)
    given = column(ask, 0)
    assert column(ask, 1) == ["5", "5", "4", "3", "2", "3", "more than 6"]
    header = "document.querySelector('thead').rows[0].cells[{}]"

    def click(number):
        browser.execute_script(f"{header.format(number)}.querySelector('button').click()")
        return ask(f"{header.format(number)}.getAttribute('aria-sort')")

    assert click(1) == "ascending"
    assert column(ask, 1) == ["2", "3", "3", "4", "5", "5", "more than 6"]
    assert click(1) == "descending"
    assert column(ask, 1) == ["5", "5", "4", "3", "3", "2", "more than 6"]  # no number: last
    assert click(0) == "ascending"
    assert column(ask, 0) == sorted(given)
    assert ask(f"{header.format(1)}.getAttribute('aria-sort')") is None
    assert ask("document.querySelectorAll('[aria-sort]').length") == 1


def test_a_table_sorts_by_keyboard(browser, page):
    from selenium.webdriver.common.keys import Keys

    ask = opened(browser, page)
    browser.find_element("css selector", "thead th:nth-child(2) button").send_keys(Keys.ENTER)
    assert column(ask, 1)[0] == "2"


def test_nothing_is_fetched(browser, page):
    browser.get_log("performance")
    opened(browser, page)
    log = " ".join(entry["message"] for entry in browser.get_log("performance"))
    asked = set(re.findall(r'"request":\{[^{}]*"url":"([^"]*)"', log.replace('"headers":{}', "")))
    assert {url for url in asked if not url.startswith(("data:", "file:"))} == set()


class Elements(HTMLParser):
    """The start tags of a page, and the text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_what_it_says(page, study):
    result, found, _ = study
    text = page.read_text(encoding="utf-8")
    elements = Elements(text)
    assert NAME in elements.text
    assert NAME not in text
    assert elements.text.index(found.verdict.sentence) < elements.text.index("The answer")
    for said in (__version__, f"version {arithmetic_version}", result.samples.digest, "-2 to 2"):
        assert said in elements.text
    assert "Epochs" in elements.text
    # Cells without a value are grey: the ground of each map of accuracies and of causes.
    assert text.count("fill: #808080") == 8 + 2 * len(plots.CAUSES)


def test_it_stands_alone_and_is_accessible(page):
    text = page.read_text(encoding="utf-8")
    tags = Elements(text).tags
    for tag, attributes in tags:
        for name in ("src", "href", "xlink:href", "action"):
            assert attributes.get(name, "#")[:5] in ("#", "data:") or attributes[name][0] == "#", (
                tag
            )
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    images = [attributes for tag, attributes in tags if attributes.get("role") == "img"]
    assert len(images) == sum(tag == "svg" for tag, _ in tags)
    assert all(len(image["aria-label"]) > 30 for image in images)
    assert len({image["aria-label"] for image in images}) == len(images)
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")
    identifiers = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text))
    assert used <= set(identifiers)
    assert dict(tags)["html"] == {"lang": "en"}


def test_equal_studies_are_equal_bytes(study, page, tmp_path):
    result, found, counted = study
    report.write(result, found, tmp_path / "again.html", counted)
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_study_of_all_float_alone(tmp_path):
    """Whatever was not run is left out."""
    own = {"float": ([8, 9], [3])}
    grid = Grid(variants=["float"], fractions=[8], lr_shifts=[3], seeds=[0], own_ranges=own)
    samples = samples_of([[0.0, 1.0]] * 4, [0, 1, 0, 1], name="four")
    result = Result(Task(), samples, grid, {cell: Outcome(0.5, 10, None) for cell in grid})
    path = tmp_path / "report.html"
    report.write(result, answer.find(result.to_dataframe()), path)
    text = path.read_text(encoding="utf-8")
    assert "its own ranges" in text and "fraction widths 8, 9, learning rate shifts 3" in text
    tags = Elements(text).tags
    assert sum(tag == "svg" for tag, _ in tags) == 2
    assert not any(tag == "table" for tag, _ in tags)
