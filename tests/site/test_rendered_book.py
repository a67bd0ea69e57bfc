"""The rendered book in a real browser: run `make book` or `make render` first, then `make check-book`."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import shutil
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from axspa_lib.book.check import check_site

HTML = Path(__file__).parents[2] / "book" / "_build" / "html"
AXE = Path(__file__).parent / "axe-core" / "axe.min.js"
#: Console errors of the theme that change nothing on the page: jupyter-book's thebe switch is declared twice.
HARMLESS = ("THEBE_JS_URL", "invalid theme mode")

#: What sticks out of the page to the right, other than within a box that scrolls.
WIDER_THAN_THE_PAGE = """
const width = document.documentElement.clientWidth;
const boxed = e => { for (let p = e; p && p !== document.body; p = p.parentElement)
    if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX)) return true; return false; };
if (document.documentElement.scrollWidth > width + 1) return ['the page itself scrolls sideways'];
return [...document.querySelectorAll('article *')]
    .filter(e => e.getBoundingClientRect().right > width + 1 && !boxed(e)).map(e => e.outerHTML.slice(0, 120));
"""

pytestmark = [
    pytest.mark.site,
    pytest.mark.skipif(not (HTML / "index.html").exists(), reason="no rendered book: run `make book` first"),
]


@pytest.fixture(scope="module")
def address():
    handler = functools.partial(_Quiet, directory=str(HTML))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def browser():
    selenium = pytest.importorskip("selenium.webdriver")
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no Chromium with its driver: install chromium and chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync", "--no-first-run"):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    driver.set_page_load_timeout(60)
    driver.set_script_timeout(120)
    driver.set_window_size(1300, 900)
    yield driver
    driver.quit()


@contextlib.contextmanager
def phone(driver):
    """A phone of 390 x 844 pixels."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def pages() -> list[str]:
    skipped = {"genindex.html", "search.html"}
    found = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if path.name not in skipped)
    return [page for page in found if not page.startswith("_static")]


def requests(driver) -> list[str]:
    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
    return found


@pytest.mark.parametrize("page", pages() if HTML.exists() else [])
class TestPage:
    def test_loads_whole_and_asks_no_other_host(self, browser, address, page):
        browser.get(f"{address}/{page}")
        broken = browser.execute_script(
            "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        )
        assert broken == []
        foreign = [url for url in requests(browser) if urlsplit(url).scheme in ("http", "https")
                   and urlsplit(url).hostname != "127.0.0.1"]  # fmt: skip
        assert foreign == []
        errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert [text for text in errors if not any(known in text for known in HARMLESS)] == []

    def test_links_within_the_book_resolve(self, browser, address, page):
        browser.get(f"{address}/{page}")
        links = browser.execute_script("return [...document.querySelectorAll('a[href]')].map(a => a.href)")
        for link in {url.split("#")[0] for url in links if url.startswith(address)}:
            path = HTML / urlsplit(link).path.lstrip("/")
            assert path.is_file() or (path / "index.html").is_file(), f"{page} links to {link}"

    def test_fits_a_phone(self, browser, address, page):
        with phone(browser):
            browser.get(f"{address}/{page}")
            wide = browser.execute_script(WIDER_THAN_THE_PAGE)
        assert wide == []

    def test_figures_stay_legible_on_a_phone(self, browser, address, page):
        """Wider than the phone if need be, in a box that scrolls: text of 8 points in a figure is not shrunk away."""
        with phone(browser):
            browser.get(f"{address}/{page}")
            widths = browser.execute_script(
                "return [...document.querySelectorAll('article figure img')].map(i => i.getBoundingClientRect().width)"
            )
        assert [width for width in widths if width < 600] == []

    def test_no_table_of_results_is_cut_on_a_desktop(self, browser, address, page):
        browser.get(f"{address}/{page}")
        cut = browser.execute_script(
            "return [...document.querySelectorAll('article .text_html')]"
            ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 60))"
        )
        assert cut == []

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_is_accessible(self, browser, address, page, theme):
        """Contrast, names, alternative texts, landmarks: the rules of WCAG 2.1 A and AA, checked by axe-core."""
        browser.get(f"{address}/{page}")
        browser.execute_script("for (const key of ['mode', 'theme']) localStorage.setItem(key, arguments[0])", theme)
        browser.get(f"{address}/{page}")
        assert browser.execute_script("return document.documentElement.dataset.theme") == theme
        browser.execute_script(AXE.read_text(encoding="utf-8"))
        found = browser.execute_async_script(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}).then(arguments[0])"
        )
        assert found["passes"], "axe-core checked nothing"
        assert [
            f"{rule['id']}: {node['target']} {node['failureSummary']}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ] == []

    def test_every_picture_has_an_alternative_text(self, browser, address, page):
        browser.get(f"{address}/{page}")
        missing = browser.execute_script(
            "return [...document.querySelectorAll('article img')].filter(i => !i.alt).map(i => i.src)"
        )
        assert missing == []


def test_the_search_finds_a_term(browser, address):
    browser.get(f"{address}/search.html?q=sacrum")
    from selenium.webdriver.support.ui import WebDriverWait

    results = WebDriverWait(browser, 20).until(
        lambda driver: driver.execute_script("return document.querySelectorAll('#search-results li').length")
    )
    assert results > 0


def test_the_site_holds_what_it_shows_and_is_not_too_large():
    check_site(HTML)


def test_every_chapter_was_executed():
    lacking = [page for page in pages() if "This chapter was not executed" in (HTML / page).read_text(encoding="utf-8")]
    assert lacking == [], "stored results lack these chapters: run their profile, then `axspa store`"
