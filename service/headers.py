"""Headers that let a browser guess, keep, frame or run nothing of an answer."""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.pages import PARTS

_EVERYWHERE: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_NOTHING: Final = "default-src 'none'; frame-ancestors 'none'"
# Swagger and ReDoc start from a script in the page, style what they draw and, ReDoc, search in a worker. The pages hold
# nothing that a caller sent.
_PAGE: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; frame-ancestors 'none'"
)
_PAGES: Final = frozenset({"/docs", "/redoc"})
_PARTS_OF_DOCS: Final = "/static-offline-docs/"


class HeadersMiddleware:
    """Plain ASGI, around everything else: errors and preflights get the headers as well."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                secure(MutableHeaders(scope=message), path=scope["path"])
            await send(message)

        await self._app(scope, receive, guarded)


def secure(headers: MutableHeaders, *, path: str = "") -> None:
    """Add them to the headers of an answer."""
    headers.update(_EVERYWHERE)
    # The dashboard's page brings a policy of its own: each has another nonce.
    headers.setdefault("Content-Security-Policy", _PAGE if path in _PAGES else _NOTHING)
    if path.startswith(PARTS):
        # Asked for again, by its ETag: a page of one version never runs parts of another.
        headers["Cache-Control"] = "no-cache"
    elif not path.startswith(_PARTS_OF_DOCS):
        # An answer carries what was said: no cache on the way keeps it.
        headers["Cache-Control"] = "no-store"
