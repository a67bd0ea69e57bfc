"""Check rendered pages: everything shown exists, nothing comes from elsewhere, roles are resolved."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from axspa_lib.study.errors import AxspaError

#: Bytes that the whole site, and one page, may have at most.
SITE_BYTES, PAGE_BYTES = 60_000_000, 6_000_000

#: Elements and attributes through which a page fetches something.
_FETCHES = {"img": "src", "script": "src", "iframe": "src", "link": "href", "source": "src", "video": "src"}


def check_site(html: Path) -> None:
    """Check every page: what it shows exists on disk, it fetches nothing from another host, nothing is too large.

    Raises:
        AxspaError: lists the offending pages and addresses.
    """
    if not (html / "index.html").exists():
        raise AxspaError(f"no book in {html}: the build wrote no index.html")
    problems = []
    total = sum(path.stat().st_size for path in html.rglob("*") if path.is_file())
    if total > SITE_BYTES:
        problems.append(f"the site has {total / 1e6:.1f} MB, at most {SITE_BYTES / 1e6:.0f} are allowed")
    pages = [page for page in html.rglob("*.html") if page.relative_to(html).parts[0] != "_static"]
    for page in sorted(pages):
        if (size := page.stat().st_size) > PAGE_BYTES:
            problems.append(
                f"{page.relative_to(html)} has {size / 1e6:.1f} MB, at most {PAGE_BYTES / 1e6:.0f} are allowed"
            )
        parser = _References()
        text = page.read_text(encoding="utf-8")
        parser.feed(text)
        if "{glue:" in text or "{numref}" in text:
            problems.append(f"{page.relative_to(html)} shows a role that was not rendered")
        for address in parser.addresses:
            parts = urlsplit(address)
            if parts.scheme == "data" or not (parts.path or parts.netloc):
                continue
            if parts.netloc:
                problems.append(f"{page.relative_to(html)} fetches {address}")
            elif not (page.parent / unquote(parts.path)).exists():
                problems.append(f"{page.relative_to(html)} misses {address}")
    if problems:
        raise AxspaError("the book is not complete:\n" + "\n".join(problems[:20]))


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag fetches."""
        values = dict(attrs)
        if tag == "link" and values.get("rel") not in ("stylesheet", "preload", "icon", "shortcut icon"):
            return
        address = values.get(_FETCHES.get(tag, ""))
        if address:
            self.addresses.append(address)
