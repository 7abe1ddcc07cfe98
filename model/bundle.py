"""The contract between training and service: a sealed directory that proves itself when it is loaded.

``bundle.json``  facts, FeatureConfig, temperature, the sha256 of every other file, and at its end its own
``fusion.onnx``  the network, without what only training needs
``golden.npz``   a padded batch and the probabilities that it must give
``golden.wav``   a recording; ``bundle.json`` says what it must give under each compute type
``MODEL_CARD.md``
``lower_layers.onnx``    only where lower layers of Whisper are read
``sentence_encoder/``  only where the sentence encoder is not the embedded default
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from model.errors import BundleChecksumMismatch, BundleInvalid, GoldenMismatch
from model.features import Array, FeatureConfig, Features, collate
from model.seal import SEAL, check_seal, write_sealed

SCHEMA_VERSION: Final = 1
GOLDEN_TOLERANCE: Final = 1e-4
GOLDEN_AUDIO_TOLERANCE: Final = 0.05
"""From audio: int8 encoder states differ between machines' instruction sets, and from float32."""

FACTS_FILE: Final = "bundle.json"
NETWORK_FILE: Final = "fusion.onnx"
LOWER_LAYERS_FILE: Final = "lower_layers.onnx"
GOLDEN_FILE: Final = "golden.npz"
GOLDEN_AUDIO_FILE: Final = "golden.wav"
CARD_FILE: Final = "MODEL_CARD.md"
SENTENCE_ENCODER_FOLDER: Final = "sentence_encoder"


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleFacts:
    """What ``bundle.json`` says.

    assets maps each pre-trained part to the sha256 of the files that the bundle was trained with.
    reference is how the clips that the bundle was judged on look from outside: see :mod:`model.reference`.
    golden_audio maps each compute type that was checked to the probabilities of ``golden.wav``. abstain_below is the
    confidence that 70 % of the clips of speakers left out reached; an answer below it is marked as uncertain.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    features: FeatureConfig
    network: Mapping[str, Any]
    assets: Mapping[str, Mapping[str, str]]
    golden_audio: Mapping[str, Mapping[str, float]]
    temperature: float
    metrics: Mapping[str, Any]
    corpora: Sequence[Mapping[str, str]]
    created: str
    git_commit: str
    abstain_below: float = 0.0
    reference: Mapping[str, Any] = field(default_factory=dict)

    @property
    def features_digest(self) -> str:
        """Name all that decides what the network sees: features of one digest may be mixed."""
        document = {"features": self.features.to_json(), "assets": {name: dict(of) for name, of in self.assets.items()}}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self, *, files: Mapping[str, str]) -> dict[str, Any]:
        """Return the document that :func:`write_facts` writes, sealing ``files`` (name -> sha256)."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "version": self.version,
            "labels": list(self.labels),
            "features": self.features.to_json(),
            "network": dict(self.network),
            "assets": {name: dict(checksums) for name, checksums in self.assets.items()},
            "golden_audio": {name: dict(expected) for name, expected in self.golden_audio.items()},
            "temperature": self.temperature,
            "abstain_below": self.abstain_below,
            "metrics": dict(self.metrics),
            "corpora": [dict(corpus) for corpus in self.corpora],
            "created": self.created,
            "git_commit": self.git_commit,
            "reference": dict(self.reference),
            "files": dict(files),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "BundleFacts":
        """Read what :meth:`to_json` wrote.

        Raises:
            BundleInvalid: a field is missing or unknown, or the schema version is another.
        """
        _require_schema(document)
        fields = {key: value for key, value in document.items() if key not in ("schema_version", "files", SEAL)}
        try:
            fields["features"] = FeatureConfig.from_json(fields["features"])
            fields["labels"] = tuple(fields["labels"])
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleInvalid(f"{FACTS_FILE} is not a bundle's: {error}", value=str(error)) from error


class Bundle:
    """A loaded bundle: calibrated probabilities of features."""

    def __init__(
        self,
        facts: BundleFacts,
        session: onnxruntime.InferenceSession,
        *,
        directory: Path,
        files: Mapping[str, str],
        providers: Sequence[str],
    ) -> None:
        """Join what :meth:`load` has verified. files: the checksum of each, as sealed."""
        self.facts = facts
        self.directory = directory
        self.files = files
        self.providers = tuple(providers)
        self._session = session
        self._inputs = [node.name for node in session.get_inputs()]

    @classmethod
    def load(
        cls, directory: Path, *, threads: int = 1, providers: Sequence[str] = ("CPUExecutionProvider",)
    ) -> "Bundle":
        """Load a bundle, verify every checksum and re-run its golden case.

        Raises:
            BundleInvalid: a file or field is missing or of another schema.
            BundleChecksumMismatch: a file is not the one the bundle was sealed with.
            GoldenMismatch: the network does not reproduce the golden probabilities.
        """
        facts, files = read_facts(directory)
        _verify_files(directory, facts, files)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Batches and lengths differ from call to call; a pattern for each would only grow the arena.
        options.enable_mem_pattern = False
        try:
            session = onnxruntime.InferenceSession(str(directory / NETWORK_FILE), options, providers=list(providers))
        except Exception as error:  # onnxruntime's errors share no public base class
            raise BundleInvalid(f"{NETWORK_FILE} cannot be loaded: {error}") from error
        bundle = cls(facts, session, directory=directory, files=files, providers=providers)
        bundle.check_golden()
        return bundle

    def check_golden(self) -> float:
        """Re-run the golden case; return the largest difference of a probability.

        Raises:
            GoldenMismatch: it exceeds :data:`GOLDEN_TOLERANCE`.
        """
        with np.load(self.directory / GOLDEN_FILE, allow_pickle=False) as golden:
            inputs = {name: golden[name] for name in self._inputs}
            expected = golden["probabilities"]
        difference = float(np.abs(self._probabilities(inputs) - expected).max())
        if not difference <= GOLDEN_TOLERANCE:
            raise GoldenMismatch(
                f"golden probabilities differ by {difference:.2e}; at most {GOLDEN_TOLERANCE:.0e} is accepted",
                value=difference,
                limit=GOLDEN_TOLERANCE,
            )
        return difference

    @property
    def adapts_to_speakers(self) -> bool:
        """True where the network reads what has been heard of a speaker; those of before could not."""
        return "speaker_rows" in self._inputs

    def predict(self, batch: Sequence[Features]) -> Array:
        """Return calibrated probabilities (batch, labels) of a batch of features."""
        return self._probabilities(collate(batch, config=self.facts.features))

    def _probabilities(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Array:
        (logits,) = self._session.run(["logits"], {name: inputs[name] for name in self._inputs})
        return calibrated(logits, self.facts.temperature)


def calibrated(logits: npt.NDArray[Any], temperature: float) -> Array:
    """Softmax of ``logits`` (batch, labels) divided by the calibration temperature."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    weights = np.exp(scaled)
    probabilities: Array = (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)
    return probabilities


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed_files(directory: Path) -> dict[str, str]:
    """Return the sha256 of every file of a bundle but ``bundle.json`` itself."""
    return {
        path.relative_to(directory).as_posix(): sha256_of(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != FACTS_FILE
    }


def write_facts(directory: Path, document: Mapping[str, Any]) -> None:
    """Write what :meth:`BundleFacts.to_json` returned, sealed."""
    write_sealed(directory / FACTS_FILE, document)


def seal_again(directory: Path) -> BundleFacts:
    """Seal ``bundle.json`` as it is, after a change that is meant; the other files have to be those of before.

    Raises:
        BundleInvalid: a file or a field is missing or of another schema.
        BundleChecksumMismatch: another file was changed.
    """
    document, _ = _read_document(directory)
    facts, files = _facts_in(document)
    _verify_files(directory, facts, files)
    write_facts(directory, facts.to_json(files=files))
    return facts


def read_facts(directory: Path) -> tuple[BundleFacts, Mapping[str, str]]:
    """Read what a bundle says of itself, and the checksum of each other file, none of which is verified.

    Raises:
        BundleInvalid: the file, a field or the seal is missing, or it is of another schema.
        BundleChecksumMismatch: a byte of it was changed since it was sealed.
    """
    document, content = _read_document(directory)
    _require_schema(document)  # first, for another one may be sealed in another way
    check_seal(content, name=FACTS_FILE)
    return _facts_in(document)


def _facts_in(document: Mapping[str, Any]) -> tuple[BundleFacts, Mapping[str, str]]:
    facts = BundleFacts.from_json(document)
    files = document.get("files")
    if not isinstance(files, dict):
        raise BundleInvalid(f"{FACTS_FILE} seals no files", value=type(files).__name__)
    return facts, files


def _read_document(directory: Path) -> tuple[dict[str, Any], bytes]:
    path = directory / FACTS_FILE
    try:
        content = path.read_bytes()
        document = json.loads(content.decode())
    except (OSError, ValueError) as error:
        raise BundleInvalid(f"{path} cannot be read: {error}", value=str(path)) from error
    if not isinstance(document, dict):
        raise BundleInvalid(f"{path} does not hold an object", value=type(document).__name__)
    return document, content


def _require_schema(document: Mapping[str, Any]) -> None:
    found = document.get("schema_version")
    if found != SCHEMA_VERSION:
        raise BundleInvalid(
            f"the bundle has schema version {found}, this program reads {SCHEMA_VERSION}",
            value=found,
            limit=SCHEMA_VERSION,
        )


def _verify_files(directory: Path, facts: BundleFacts, files: Mapping[str, str]) -> None:
    more = (LOWER_LAYERS_FILE,) if facts.features.lower_layers.layers else ()
    for required in (NETWORK_FILE, GOLDEN_FILE, GOLDEN_AUDIO_FILE, CARD_FILE, *more):
        if required not in files:
            raise BundleInvalid(f"{FACTS_FILE} seals no {required}", value=sorted(files), limit=required)
    for name, expected in files.items():
        path = directory / name
        if not path.is_file():
            raise BundleInvalid(f"the bundle has no {name}", value=name)
        try:
            found = sha256_of(path)
        except OSError as error:
            raise BundleInvalid(f"{name} cannot be read: {error}", value=name) from error
        if found != expected:
            raise BundleChecksumMismatch(
                f"{name} has sha256 {found}, the bundle was sealed with {expected}", value=found, limit=expected
            )
