"""The dashboard: one page over the same JSON and the same stream that everybody else uses."""

import secrets
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

PAGE: Final = "/dashboard"
PARTS: Final = f"{PAGE}/"

_FOLDER: Final = Path(__file__).parent / "dashboard"
_NONCE: Final = "{{nonce}}"
# The nonce is for the page's one inline script, which names the libraries, and for the style that wavesurfer.js puts
# into its own shadow; nothing a caller sent is ever in the page. blob: is what the browser itself has in its hands.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; "
    "connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def add_pages(app: FastAPI) -> None:
    """Serve the page to everybody: it holds nothing, and asks its reader for a key where the service wants one."""
    app.add_api_route(PAGE, _page, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route(PARTS, _page_with_slash, methods=["GET", "HEAD"], include_in_schema=False)
    # Scripts, styles and libraries, each with an ETag.
    app.mount(PARTS, StaticFiles(directory=_FOLDER))


async def _page() -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    html = (_FOLDER / "index.html").read_text(encoding="utf-8").replace(_NONCE, nonce)
    return HTMLResponse(html, headers={"Content-Security-Policy": _POLICY.format(nonce=nonce)})


async def _page_with_slash() -> RedirectResponse:
    # Relative, as the page's links are, so that both also work behind a prefix.
    return RedirectResponse(f"..{PAGE}")
