"""An upload decoded into a file, in a process of its own that may be killed and that others go before."""

import asyncio
import multiprocessing
from functools import partial
from pathlib import Path
from typing import Final

import pebble

from model import decode_worker
from model.audio import AudioLimits, SourceFacts
from model.errors import AudioError, DecoderCrashed, DecodeTooSlow
from service.settings import Settings

_COPIES_OF_UPLOAD: Final = 3
_BYTES_OF_DECODERS: Final = 128 * 1024 * 1024


async def decode_upload(upload: Path, samples: Path, settings: Settings) -> SourceFacts:
    """Decode ``upload`` into ``samples``, which is there in whole or not at all; given up with who waits for it.

    Raises:
        AudioError: the recording cannot be used, or costs too much.
    """
    limits = AudioLimits(
        max_bytes=settings.max_job_upload_bytes,
        max_seconds=settings.max_job_seconds,
        max_channels=settings.max_channels,
    )
    max_bytes = settings.max_decode_bytes or _COPIES_OF_UPLOAD * limits.max_bytes + _BYTES_OF_DECODERS
    seconds = settings.max_decode_seconds * max(1.0, settings.max_job_seconds / settings.max_clip_seconds)
    part = samples.with_suffix(".part")
    pool = pebble.ProcessPool(
        max_workers=1,
        initializer=decode_worker.confine_to,
        initargs=(max_bytes,),
        context=multiprocessing.get_context("spawn"),
    )
    try:
        decoding = partial(decode_worker.decode_file, upload, part, limits, max_bytes)
        answer = await _answered(pool, decoding, seconds)
    finally:
        pool.stop()
        await asyncio.to_thread(pool.join)
    if isinstance(answer, AudioError):
        raise answer
    part.rename(samples)
    return answer


async def _answered(
    pool: pebble.ProcessPool, decoding: "partial[SourceFacts | AudioError]", seconds: float
) -> SourceFacts | AudioError:
    # Begun apart from the clock, for to start a process takes a second or, on a busy machine, several.
    try:
        await asyncio.wrap_future(pool.schedule(decode_worker.has_started))
        async with asyncio.timeout(seconds):
            answer: SourceFacts | AudioError = await asyncio.wrap_future(pool.schedule(decoding))
            return answer
    except TimeoutError:
        raise DecodeTooSlow(f"to decode this recording takes more than {seconds:g} s", limit=seconds) from None
    except pebble.ProcessExpired as error:
        raise DecoderCrashed("the decoder came to its end over this recording") from error
