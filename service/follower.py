"""Follows a bundle store: what its pointer names is served, and its candidate is compared with that."""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from model.bundle import Bundle
from model.errors import BundleError, BundleRefused, NotReady, ReloadUnderWay, StoreError
from service.settings import Settings

if TYPE_CHECKING:
    from model.bundle_store import BundleStore, Pointer

logger = logging.getLogger(__name__)

_KEPT_VERSIONS: Final = 5
"""Of those that were pulled to this machine; others may share the folder."""


class Follower:
    """Looks at the store now and then; what cannot be read or does not verify leaves everything as it is."""

    def __init__(
        self,
        settings: Settings,
        *,
        serve: Callable[[Path], Awaitable[object]],
        shadow: Callable[[Bundle | None], Awaitable[None]],
        on_looked: Callable[[str], None],
    ) -> None:
        """Take what follows. serve: a bundle's folder. shadow: a candidate, or none. on_looked: what a look gave."""
        self._settings = settings
        self._serve = serve
        self._shadow = shadow
        self._on_looked = on_looked
        self._store: BundleStore | None = None
        self._settled = ""
        """The pointer that was followed last, or turned out not to be servable: it is not tried again."""
        self._settled_candidate = ""

    def first(self) -> Path | None:
        """Return the folder of the current version, None where the store names none or cannot be read now."""
        try:
            pointer = self._opened().pointer()
            if pointer is None:
                return None
            folder = self._pulled(pointer)
        except (StoreError, BundleError) as error:
            logger.warning("the bundle store was not followed", extra={"facts": _facts(error)})
            return None
        self._settled = pointer.sha256
        return folder

    async def follow(self) -> None:
        """Look again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(self._settings.bundle_store_poll_seconds)
            await self.look()

    async def look(self) -> None:
        """Follow the pointers where they have moved."""
        code = "ok"
        try:
            await self._look_at_current()
            await self._look_at_candidate()
        except (NotReady, ReloadUnderWay):
            code = "busy"  # the next look finds what this one did
        except (StoreError, BundleError, BundleRefused) as error:
            code = error.code
            logger.warning("the bundle store was not followed", extra={"facts": _facts(error)})
        self._on_looked(code)

    async def _look_at_current(self) -> None:
        pointer = await asyncio.to_thread(lambda: self._opened().pointer())
        if pointer is None or pointer.sha256 == self._settled:
            return
        folder = await asyncio.to_thread(self._pulled, pointer)
        try:
            await self._serve(folder)
        except BundleRefused:
            self._settled = pointer.sha256
            raise
        self._settled = pointer.sha256

    async def _look_at_candidate(self) -> None:
        if not self._settings.candidate_share:
            return
        pointer = await asyncio.to_thread(lambda: self._opened().pointer("candidate"))
        wanted = pointer.sha256 if pointer is not None else ""
        if wanted == self._settled_candidate:
            return
        if pointer is None:
            await self._shadow(None)
            self._settled_candidate = wanted
            return
        folder = await asyncio.to_thread(self._pulled, pointer)
        self._settled_candidate = wanted
        await self._shadow(await asyncio.to_thread(Bundle.load, folder))

    def _opened(self) -> "BundleStore":
        if self._store is None:
            # Whoever serves a folder does not need the drivers of stores.
            from model.bundle_store import BundleStore

            self._store = BundleStore(self._settings.bundle_store)
        return self._store

    def _pulled(self, pointer: "Pointer") -> Path:
        folder = self._settings.bundle_store_folder / f"{pointer.version}-{pointer.sha256[:12]}"
        pulled = self._opened().pull(pointer.version, folder, sha256=pointer.sha256)
        pulled.touch()
        for old in sorted(folder.parent.glob("[!.]*-*"), key=lambda path: path.stat().st_mtime)[:-_KEPT_VERSIONS]:
            shutil.rmtree(old, ignore_errors=True)
        return pulled


def _facts(error: StoreError | BundleError | BundleRefused) -> dict[str, str]:
    return {"code": error.code, "reason": error.message}
