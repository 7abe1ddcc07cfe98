"""SMP2020-EWECT: which of its posts are held out. Its files are read as they lie below ``VCEMO_DATA``."""

import hashlib
from typing import Final

from training.corpora.manifest import Clip

_DIVIDED_FILE: Final = "usual_train"


def is_held_out(clip: Clip) -> bool:
    """Whether a post belongs to the tenth of ``usual_train`` that is never trained on: its key's hash says so."""
    digest = hashlib.sha256(clip.key.encode()).digest()
    return _DIVIDED_FILE in clip.key and int.from_bytes(digest) % 10 == 0
