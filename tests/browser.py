"""Pages as a reader sees them: opened from their files in headless Chromium, where nothing may go wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

try:
    from playwright import sync_api
except ImportError:
    sync_api = None

WIDTHS = {1280: 800, 390: 844}
"""Width of a window → its height."""
_ARGUMENTS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]

_DRIVER = "GL Driver Message"
"""What a graphics driver says of a test that reads its pixels, not the page."""


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    """Chromium: the one that is installed, else playwright's own."""
    if sync_api is None:
        pytest.skip("no playwright")
    with sync_api.sync_playwright() as playwright:
        installed = shutil.which("chromium") or shutil.which("google-chrome")
        try:
            found = playwright.chromium.launch(executable_path=installed, args=_ARGUMENTS)
        except sync_api.Error as error:
            if installed:
                raise
            pytest.skip(f"no Chromium: {error.message.splitlines()[0]}")
        yield found
        found.close()


@contextmanager
def opened(
    browser: sync_api.Browser, path: Path, width: int, scheme: str = "light"
) -> Iterator[sync_api.Page]:
    """The page in a window of this width. Fails where it says anything on its console, raises an error, asks for
    anything but files, or is wider than the window."""
    said: list[str] = []
    window = {"width": width, "height": WIDTHS[width]}
    context = browser.new_context(viewport=window, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on(
        "console", lambda message: _DRIVER in message.text or said.append(f"{message.type}: {message.text}")
    )
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on(
        "request",
        lambda request: said.append(f"request: {request.url}") if _is_outside(request.url) else None,
    )
    try:
        page.goto(path.as_uri())
        yield page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert said == []
    finally:
        context.close()


def _is_outside(address: str) -> bool:
    return not address.startswith(("file:", "data:", "blob:"))
