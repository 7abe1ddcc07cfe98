"""The contract of feedback between service and training: one row a corrected segment, with what the network saw of it.

Neither words nor, unless the operator has asked for it, sound: features of a text cannot be read back as that text, but
they are derived from a person's voice all the same, and are to be kept and deleted as such.
"""

import io
from typing import TYPE_CHECKING, Final

import numpy as np

from model.features import Features
from model.ngrams import Ngrams

if TYPE_CHECKING:  # takes a third of a second, which whoever only serves recordings does not need
    from sqlalchemy import MetaData, Table

MAX_NOTE_CHARACTERS: Final = 2000
_SEQUENCES: Final = ("mel", "states", "words")


def feedback_table(metadata: "MetaData") -> "Table":
    """Describe the table to SQLAlchemy: written by the service, read by training.

    features: as :func:`pack_features` writes them. features_digest: of the front end that computed them (see
    ``BundleFacts.features_digest``). audio: the utterance as FLAC, where the operator keeps it.
    """
    from sqlalchemy import Column, Float, LargeBinary, String, Table, Text, UniqueConstraint

    return Table(
        "feedback",
        metadata,
        Column("id", String(32), primary_key=True),
        Column("request_id", String(64), nullable=False),
        Column("segment_id", String(64), nullable=False),
        Column("label", String(32), nullable=False),
        Column("note", Text, nullable=False),
        Column("created_at", String(32), nullable=False),
        Column("predicted", String(32), nullable=False),
        Column("confidence", Float, nullable=False),
        Column("bundle", String(64), nullable=False),
        Column("bundle_version", String(64), nullable=False),
        Column("features_digest", String(64), nullable=False),
        Column("transcript_status", String(32), nullable=False),
        Column("seconds", Float, nullable=False),
        Column("features", LargeBinary, nullable=False),
        Column("audio", LargeBinary),
        UniqueConstraint("request_id", "segment_id"),
    )


def pack_features(features: Features) -> bytes:
    """Write features as one file: sequences in half precision, as the cache of training keeps them."""
    columns = {name: rows.astype(np.float16) for name in _SEQUENCES if (rows := getattr(features, name)) is not None}
    if features.sentence is not None:
        columns["sentence"] = features.sentence
    if features.ngrams is not None:
        columns |= {"ngram_buckets": features.ngrams.buckets, "ngram_weights": features.ngrams.weights}
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **columns)
    return file.getvalue()


def unpack_features(packed: bytes) -> Features:
    """Read what :func:`pack_features` wrote.

    Raises:
        ValueError: it is nothing of the kind.
    """
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as file:
            columns = {name: file[name] for name in file.files}
    except (OSError, EOFError, KeyError) as error:
        raise ValueError(f"no features: {error}") from error
    ngrams = None
    if "ngram_buckets" in columns:
        ngrams = Ngrams(buckets=columns["ngram_buckets"], weights=columns["ngram_weights"])
    return Features(**{name: columns.get(name) for name in _SEQUENCES}, sentence=columns.get("sentence"), ngrams=ngrams)
