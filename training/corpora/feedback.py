"""Corrected labels from a service's database as a corpus: a manifest, and beside it what the network saw of each."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, MetaData, create_engine, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from model.errors import CorpusError
from model.feedback import feedback_table, unpack_features
from model.labels import EMOTIONS
from training.corpora.manifest import Clip, write_manifest
from training.feature_cache import Example

NAME: Final = "feedback"
MANIFEST_FILE: Final = "manifest.jsonl"
_ROWS_AT_A_TIME: Final = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackFacts:
    """What came of preparing feedback.

    emotions: corrections by label. changed: how many of them differ from what was answered. skipped: ids, by reason.
    """

    manifest: Path
    emotions: Mapping[str, int]
    changed: int
    with_audio: int
    skipped: Mapping[str, str]


def prepare_feedback(url: str, out: Path) -> FeedbackFacts:
    """Copy every correction of a database to the folder ``out``; what was there of an earlier time is replaced.

    url: as SQLAlchemy writes it. The manifest names the recording where its sound was kept, so that any experiment can
    read it; without, the features that the service computed are all there is.

    Raises:
        CorpusError: the database cannot be read, or holds no feedback.
    """
    clips: list[Clip] = []
    columns: dict[str, dict[str, Any]] = {}
    skipped: dict[str, str] = {}
    for folder in ("features", "audio"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for row in _rows(url):
        try:
            unpack_features(row.features)
        except ValueError as error:
            skipped[row.id] = str(error)
            continue
        if row.label not in EMOTIONS:
            skipped[row.id] = f"label {row.label}"
            continue
        clip = _written(row, out)
        clips.append(clip)
        columns[clip.key] = {
            "features": f"features/{row.id}.npz",
            "features_digest": row.features_digest,
            "asr_status": row.transcript_status,
            "seconds": round(row.seconds, 3),
            "predicted": row.predicted,
            "bundle_version": row.bundle_version,
        }
    if not clips:
        raise CorpusError(f"{_shown(url)} holds no feedback", value=_shown(url))
    write_manifest(out / MANIFEST_FILE, clips, columns)
    _remove_others(out, {Path(str(one["features"])).stem for one in columns.values()})
    counts = Counter(clip.emotion for clip in clips)
    return FeedbackFacts(
        manifest=out / MANIFEST_FILE,
        emotions={label: counts[label] for label in EMOTIONS if label in counts},
        changed=sum(clip.emotion != columns[clip.key]["predicted"] for clip in clips),
        with_audio=sum(clip.audio is not None for clip in clips),
        skipped=skipped,
    )


def feedback_examples(folder: Path, *, digest: str) -> tuple[list[Example], int]:
    """Read what :func:`prepare_feedback` wrote; return the examples, and how many another front end computed.

    digest: of the front end that the network reads; features of another cannot be mixed with its own.

    Raises:
        CorpusError: it is no such folder.
    """
    manifest = folder / MANIFEST_FILE
    examples: list[Example] = []
    others = 0
    try:
        rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        for row in rows:
            if row["features_digest"] != digest:
                others += 1
                continue
            examples.append(
                Example(
                    clip=_clip(row["key"], row["emotion"], session=row.get("session"), audio=None),
                    features=unpack_features((folder / row["features"]).read_bytes()),
                    seconds=row["seconds"],
                    transcript="",
                    transcript_status=row["asr_status"],
                )
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{manifest} is no prepared feedback: {error}", value=str(manifest)) from error
    return examples, others


def _rows(url: str) -> Iterator[Any]:
    engine: Engine | None = None
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
            raise CorpusError(f"there is no database {parsed.database}", value=parsed.database)
        engine = create_engine(parsed)
        if not inspect(engine).has_table(NAME):
            raise CorpusError(f"{_shown(url)} holds no feedback", value=_shown(url))
        table = feedback_table(MetaData())
        query = select(table).order_by(table.c.created_at, table.c.id)
        with engine.connect().execution_options(yield_per=_ROWS_AT_A_TIME) as connection:
            yield from connection.execute(query)
    except (SQLAlchemyError, ImportError) as error:
        raise CorpusError(f"{_shown(url)} cannot be read: {type(error).__name__}", value=_shown(url)) from error
    finally:
        if engine is not None:
            engine.dispose()


def _written(row: Any, out: Path) -> Clip:
    (out / "features" / f"{row.id}.npz").write_bytes(row.features)
    audio = None
    if row.audio is not None:
        audio = out / "audio" / f"{row.id}.flac"
        audio.write_bytes(row.audio)
    return _clip(f"{row.request_id}/{row.segment_id}", row.label, session=row.request_id, audio=audio)


def _clip(key: str, emotion: str, *, session: str | None, audio: Path | None) -> Clip:
    return Clip(
        key=key,
        corpus=NAME,
        audio=audio,
        emotion=emotion,
        speaker=None,
        sentence=None,
        text=None,
        language="zh",
        session=session,
    )


def _remove_others(out: Path, known: set[str]) -> None:
    for folder in ("features", "audio"):
        for path in (out / folder).iterdir():
            if path.stem not in known:
                path.unlink()


def _shown(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "the address of the database"
