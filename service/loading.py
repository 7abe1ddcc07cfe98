"""A bundle from its folder to a recogniser that has proved itself: at start, and beside one that is served."""

import logging
import re
import time
from pathlib import Path

from model.assets import AssetStore
from model.bundle import read_facts
from model.errors import AssetError, BundleError, BundleInvalid, BundleOutside, BundleRefused, NoRoom
from model.heap import keep_few_arenas, return_free_memory
from model.processors import one_blas_thread
from model.recognizer import EmotionRecognizer
from model.room import room_to_write
from service.settings import Settings

logger = logging.getLogger(__name__)


def load_recognizer(
    settings: Settings, directory: Path, *, threads: int, beside: EmotionRecognizer | None = None
) -> EmotionRecognizer:
    """Load a bundle, verify it, warm it up and have it judge its golden recording.

    beside: one that is served meanwhile, whose parts are shared where they are the same.

    Raises:
        BundleError: the bundle does not verify, or was trained with other parts than the cache holds.
        AssetError: a part is missing or damaged.
        NoRoom: what is prepared in the temporary folder finds no room there.
    """
    with room_to_write("a copy of the pre-trained parts"):
        return _load_recognizer(settings, directory, threads=threads, beside=beside)


def _load_recognizer(
    settings: Settings, directory: Path, *, threads: int, beside: EmotionRecognizer | None
) -> EmotionRecognizer:
    started = time.monotonic()
    one_blas_thread()
    keep_few_arenas()
    logger.info("loading the bundle and its pre-trained parts", extra={"facts": {"bundle": str(directory)}})
    recognizer = EmotionRecognizer.load(
        directory,
        assets=AssetStore(settings.cache),
        threads=threads,
        device=settings.device,
        compute_type=settings.compute_type or None,
        beside=beside,
    )
    loaded = time.monotonic()
    logger.info("golden features matched, warming up", extra={"facts": {"seconds": round(loaded - started, 1)}})
    recognizer.warm_up()
    difference = recognizer.check_golden_audio()
    return_free_memory()
    facts = {"seconds": round(time.monotonic() - loaded, 1), "difference": round(difference, 4)}
    logger.info("golden recording matched", extra={"facts": facts})
    return recognizer


def load_other(
    settings: Settings, directory: Path, *, threads: int, serving: EmotionRecognizer
) -> EmotionRecognizer | None:
    """Load a bundle beside the one that is served; None where it is the same.

    Raises:
        BundleRefused: it does not verify, lacks a part, or gives other files the version that is served.
    """
    try:
        if _is_served(directory, serving):
            return None
        return load_recognizer(settings, directory, threads=threads, beside=serving)
    except (BundleError, AssetError, NoRoom) as error:
        logger.warning("the bundle was refused", extra={"facts": {"code": error.code, "reason": error.message}})
        raise BundleRefused(_reason(error, directory), value=error.code) from error


def allowed_bundle(configured: Path, asked: str = "") -> Path:
    """Resolve the path of a bundle, symbolic links included.

    asked: relative to the folder that the configured bundle lies in; empty for the configured bundle.

    Raises:
        BundleOutside: it, or a file in it, is not below that folder.
    """
    folder = configured.absolute().parent.resolve()
    try:
        found = (folder / (asked or configured.name)).resolve()
        inside = folder in found.parents and all(folder in path.resolve().parents for path in found.rglob("*"))
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a null character, a name too long
        raise BundleOutside("the path of the bundle cannot be followed") from error
    if not inside:
        raise BundleOutside("a bundle has to lie, with all its files, below the folder of the configured one")
    return found


def _is_served(directory: Path, serving: EmotionRecognizer) -> bool:
    facts, files = read_facts(directory)
    served = serving.bundle
    if (facts, files) == (served.facts, served.files):
        return True
    if (facts.name, facts.version) == (served.facts.name, served.facts.version):
        raise BundleInvalid(
            f"{facts.name} {facts.version} is served already with other contents: give this one a version of its own",
            value=facts.version,
        )
    return False


def _reason(error: BundleError | AssetError | NoRoom, directory: Path) -> str:
    """What a caller may know: messages of the model name absolute paths, and those of assets the cache."""
    if isinstance(error, AssetError):
        return "a pre-trained part that the bundle was trained with is missing or damaged; the log names it"
    relative = error.message.replace(f"{directory}/", "").replace(str(directory), "the bundle")
    return re.sub(r"(?<!\w)(?:/[^\s/'\":,]+)+/", "", relative)
