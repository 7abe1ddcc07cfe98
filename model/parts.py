"""The pre-trained parts that a bundle reads, in memory; what two bundles read alike is there once."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from model.assets import AssetStore
from model.bundle import LOWER_LAYERS_FILE, SENTENCE_ENCODER_FOLDER, Bundle
from model.lower_layers import LowerLayers, load_lower_layers
from model.sentence import SentenceEncoder, load_sentence_encoder
from model.speech import SpeechRecognizer
from model.words import WordVectors

Part = TypeVar("Part")


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded(Generic[Part]):
    """A part with all that it was loaded from, checksums and configuration: equal ones are interchangeable."""

    part: Part
    made_of: Hashable


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The parts of one bundle; all of them are safe to call from several threads."""

    speech: Loaded[SpeechRecognizer]
    words: Loaded[WordVectors]
    sentence: Loaded[SentenceEncoder]
    lower_layers: Loaded[LowerLayers | None]

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        *,
        assets: AssetStore,
        threads: int,
        device: str,
        compute_type: str | None,
        beside: "Parts | None" = None,
    ) -> "Parts":
        """Load what ``bundle`` reads, side by side: parts wait for files, and compute outside of Python.

        beside: those of another bundle, shared wherever they are the same.

        Raises:
            BundleInvalid: a part that travels in the bundle cannot be loaded.
            AssetMissing: a part has not been fetched.
        """
        config = bundle.facts.features
        speech = replace(config.speech, compute_type=compute_type or config.speech.compute_type)
        folder = bundle.directory / SENTENCE_ENCODER_FOLDER
        with ThreadPoolExecutor(max(2, threads)) as pool:
            heard = _loaded(
                pool,
                lambda: SpeechRecognizer(assets.path(speech.asset), config=speech, threads=threads, device=device),
                made_of=(speech, _checksums(assets, speech.asset), threads, device),
                earlier=beside.speech if beside is not None else None,
            )
            words = _loaded(
                pool,
                lambda: WordVectors.load(assets.path(config.words.asset), config=config.words),
                made_of=(config.words, _checksums(assets, config.words.asset)),
                earlier=beside.words if beside is not None else None,
            )
            sentence = _loaded(
                pool,
                lambda: load_sentence_encoder(config.sentence, folder=folder, threads=threads),
                made_of=(config.sentence, _sealed(bundle, SENTENCE_ENCODER_FOLDER), threads),
                earlier=beside.sentence if beside is not None else None,
            )
            lower_layers = _loaded(
                pool,
                lambda: load_lower_layers(
                    bundle.directory / LOWER_LAYERS_FILE, config.lower_layers, providers=bundle.providers
                ),
                made_of=(config.lower_layers, _sealed(bundle, LOWER_LAYERS_FILE), bundle.providers),
                earlier=beside.lower_layers if beside is not None else None,
            )
        return cls(
            speech=heard.result(),
            words=words.result(),
            sentence=sentence.result(),
            lower_layers=lower_layers.result(),
        )


def _loaded(
    pool: ThreadPoolExecutor, load: Callable[[], Part], *, made_of: Hashable, earlier: "Loaded[Part] | None"
) -> "Future[Loaded[Part]]":
    if earlier is None or earlier.made_of != made_of:
        return pool.submit(lambda: Loaded(part=load(), made_of=made_of))
    kept: Future[Loaded[Part]] = Future()
    kept.set_result(earlier)
    return kept


def _checksums(assets: AssetStore, name: str) -> Hashable:
    return tuple(sorted(assets.sha256(name).items()))


def _sealed(bundle: Bundle, start: str) -> Hashable:
    """Checksums of the bundle's files whose names begin so."""
    return tuple(sorted((name, sha256) for name, sha256 in bundle.files.items() if name.startswith(start)))
