"""Who may ask, and how much at a time: the guard before the routes that need a key."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Final

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from model.errors import RateLimited, TooManyAtOnce, Unauthorized
from service.exchange import exchange_of
from service.keys import ApiKey, Keyring
from service.problems import documented

HEADER: Final = "X-API-Key"

ACCESS_ERRORS: Final = documented(
    Unauthorized("this API key is not known"),
    RateLimited("this API key may ask 120 times a minute", limit=120, retry_after_seconds=7),
    TooManyAtOnce("this API key may have 4 requests under way", value=4, limit=4),
)

_HEADER: Final = APIKeyHeader(name=HEADER, scheme_name="X-API-Key", auto_error=False)
_BEARER: Final = HTTPBearer(scheme_name="Bearer", auto_error=False)
_WINDOW_SECONDS: Final = 60


class Access:
    """Lets a request pass that shows a known key which has some of its rate and of its places left."""

    def __init__(self, keyring: Keyring, *, limiter: MovingWindowRateLimiter | None = None) -> None:
        self._keyring = keyring
        self._limiter = limiter or MovingWindowRateLimiter(MemoryStorage())
        self._num_in_flight: Counter[str] = Counter()

    async def guard(
        self,
        request: Request,
        header: Annotated[str | None, Security(_HEADER)],
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> AsyncIterator[None]:
        """Surround a route, as a dependency that ends before its answer is sent: nothing of the body is read before.

        Raises:
            Unauthorized: no key was sent, it is none of ours, or has expired.
            TooManyAtOnce: the key has as many requests under way as it may.
            RateLimited: the key has asked as often as it may within a minute.
        """
        key = self._known(header or (bearer.credentials if bearer else ""))
        exchange_of(request).key_name = key.name
        with self._place(key):
            self._count(key)
            yield

    @contextmanager
    def entered(self, shown: str) -> Iterator[str]:
        """Surround a WebSocket, which holds a place of its key as long as it is open; yields the key's name.

        Raises:
            Unauthorized, TooManyAtOnce, RateLimited: as :meth:`guard`.
        """
        key = self._known(shown)
        with self._place(key):
            self._count(key)
            yield key.name

    def _known(self, shown: str) -> ApiKey:
        if not shown:
            raise Unauthorized(f"send an API key as {HEADER} or as Authorization: Bearer")
        return self._keyring.find(shown)

    @contextmanager
    def _place(self, key: ApiKey) -> Iterator[None]:
        taken, limit = self._num_in_flight[key.name], key.max_concurrent
        if limit is not None and taken >= limit:
            raise TooManyAtOnce(f"this API key may have {limit} requests under way", value=taken, limit=limit)
        self._num_in_flight[key.name] += 1
        try:
            yield
        finally:
            self._num_in_flight[key.name] -= 1

    def _count(self, key: ApiKey) -> None:
        limit = key.requests_per_minute
        if limit is None:
            return
        rate = RateLimitItemPerMinute(limit)
        if self._limiter.hit(rate, key.name):
            return
        wait_seconds = self._limiter.get_window_stats(rate, key.name).reset_time - time.time()
        if wait_seconds > _WINDOW_SECONDS + 1:
            # The library reads the wall clock: set back by an hour, it would refuse for that hour.
            self._limiter.clear(rate, key.name)
            self._limiter.hit(rate, key.name)
            return
        raise RateLimited(f"this API key may ask {limit} times a minute", limit=limit, retry_after_seconds=wait_seconds)
