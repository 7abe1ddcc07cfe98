"""One script for all text: Whisper writes traditional characters now and then."""

import re
from functools import lru_cache

from opencc import OpenCC


@lru_cache(maxsize=1)
def _converter() -> OpenCC:
    return OpenCC("t2s")


def simplified(text: str) -> str:
    """Return ``text`` in simplified characters."""
    return str(_converter().convert(text))


def bare(text: str) -> str:
    """Return ``text`` simplified, lower-case and without punctuation or spaces: what CER compares."""
    return re.sub(r"[\W_]", "", simplified(text)).lower()
