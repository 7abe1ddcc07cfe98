"""What a training run is: one frozen configuration, read from TOML and the command line."""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from model.features import FeatureConfig
from model.labels import EMOTIONS, FOUR_EMOTIONS
from model.network import NetworkConfig
from training.augmentation import Operation
from training.frames import FrameConfig
from training.systems import SYSTEMS, SystemConfig

_STRICT: Final = ConfigDict(extra="forbid")
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class Contrast:
    """The supervised contrastive loss (VCEMO §3.4, §3.5)."""

    alpha: Annotated[float, Field(ge=0)] = 0.1
    """Its weight: (CE + alpha SupCon) / (1 + alpha); 0 trains with cross entropy alone."""
    temperature: Positive = 0.1
    """1 in the paper, which is legal but weak: unit vectors leave .8 nat between collapse and perfection."""
    queue_size: Annotated[int, Field(ge=0)] = 0
    """Keys of earlier batches that are contrasted with as well (MoCo); 0 keeps to the batch. IEMOCAP: 16384."""
    momentum: Share = 0.99
    """Of the key encoder's weights. MoCo's .999 would leave 42 % of the initial weights after IEMOCAP's 900 steps."""
    two_passes: bool = False
    """Run every batch twice: dropout makes two views of a sample (VCEMO §3.5, IEMOCAP)."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class Protocol:
    """Who trains, who selects, who is tested."""

    kind: Literal["speakers", "sessions", "split", "corpus"] = "speakers"
    """Leave one speaker, or one session, of ``corpus`` out at a time; one division into 8/1/1; or all of ``corpus``
    left out, which says how the others carry over to it."""
    corpus: str = "casia"
    """Corpus that is tested; the others are always trained on."""
    dev: Literal["none", "own", "test"] = "none"
    """What selects the best epoch: nothing (a fixed schedule), another speaker or session, or the test part itself.

    ``test`` is what many papers do and is worth points that are not there; reports say so.
    """
    paper_random: bool = False
    """Divide 8/1/1 by utterance, as the paper does not rule out; else whole speakers are divided."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class Experiment:
    """Every choice of a run; TOML files in ``training/experiments`` give some, these defaults the rest."""

    name: str = "default"
    system: Literal["vcemo", "xu2019", "umons", "mha2", "mdre", "cme", "probe"] = "vcemo"
    """What is trained: VCEMO's network, or one that it is compared with (:mod:`training.baselines`)."""
    preset: Literal["paper", "mcan", "whisper"] = "whisper"
    """Of VCEMO's network."""
    network: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the preset's :class:`NetworkConfig`, or to the configuration of the other system."""
    frames: FrameConfig = field(default_factory=FrameConfig)
    """What another system than VCEMO hears in place of the log mel."""
    features: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Changes to :class:`FeatureConfig`, by room: speech, mel, words, sentence, segment."""
    protocol: Protocol = field(default_factory=Protocol)
    labels: Literal[4, 6] = 6
    """Six emotions, or angry, happy, neutral and sad (VCEMO §4.2)."""
    corpora: Mapping[str, Annotated[float, Field(ge=0)]] = field(default_factory=dict)
    """Audio corpora (names, or paths of manifests), and how many times an epoch shows each clip."""
    text: Literal["asr", "gold"] = "asr"
    """Whose words: what the recogniser wrote, or the corpus's transcripts."""
    text_corpora: tuple[str, ...] = ()
    texts_per_clip: Annotated[float, Field(ge=0)] = 0.5
    """Text-only examples drawn each epoch, for each clip shown."""
    augmentation: tuple[Operation, ...] = ()
    """One extra copy of every training clip for each operation (VCEMO §3.5), drawn anew where one is named again; text
    is kept."""
    copies_of: Literal["utterance", "recording"] = "utterance"
    """``utterance`` changes what was found in the clean recording and keeps its words (VCEMO §3.5); ``recording``
    changes the sound before anything hears it, so that it is cut and transcribed as on a bad line."""
    copy_probability: Share | None = None
    """None shows every copy beside its clip, as the paper does; else how often one is shown instead of it."""
    conditions: tuple[Operation, ...] = ()
    """What the recordings of those left out are changed by, to see how much is lost on a phone line, say."""
    max_clips: Annotated[int, Field(ge=1)] | None = None
    """Keep this many clips and texts of each corpus: quick runs only."""
    epochs: Annotated[int, Field(ge=1)] = 20
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many epochs without a better recall on the dev part."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    optimiser: Literal["adam", "adamw"] = "adamw"
    """``adam`` couples weight decay to the gradient, as the paper's does."""
    learning_rate: Positive = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    schedule: Literal["cosine", "constant", "plateau"] = "cosine"
    """``plateau``: an epoch without a better recall on the dev part goes back to the best one, and halves the rate, as
    often as :data:`training.trainer.MOST_HALVINGS` (UMONS). Without a dev part the rate stays."""
    warmup_share: Share = 0.1
    max_gradient_norm: Positive | None = 1.0
    max_gradient_value: Positive | None = None
    """Clip every single gradient (MDRE), before the norm."""
    loss: Literal["softmax", "sigmoid"] = "softmax"
    """``sigmoid``: binary cross entropy of every class by itself (MDRE); the answer is the largest all the same."""
    label_smoothing: Share = 0.1
    contrast: Contrast = field(default_factory=Contrast)
    judged_alone: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the losses of sound, sentence, words and n-grams each by itself, beside that of all together."""
    text_balance: Share = 0.0
    """How far texts are drawn evenly from the emotions: 0 as they are, 1 each emotion as often."""
    misheard_probability: Share = 0.0
    """How often a text is shown as a recogniser might have written it: see :mod:`training.mishearing`."""
    own_text_probability: Share = 0.5
    """How often a clip keeps the transcript of its own."""
    paired_text_probability: Share = 0.2
    """How often a clip of the training part gets a text of the same label from the text corpora instead."""
    adversary: Annotated[float, Field(ge=0)] = 0.0
    """Strength of a judge of corpora that is trained against, so that emotion is learnt and not the recording."""
    known_speaker_probability: Share = 0.0
    """How often a clip comes with what was heard of its speaker: itself and others, drawn anew, together at most
    :data:`training.acquaintance.MOST_CLIPS`."""
    time_mask_share: Share = 0.15
    """Longest stretch of states and mel that is blanked in training, as a share of the utterance."""
    shuffle_labels: bool = False
    """Negative control: training labels are dealt out at random, and recall must fall to chance."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the forward pass; half precision is for GPUs."""
    seed: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.corpora and self.protocol.corpus not in self.corpora:
            raise ValueError(
                f"protocol.corpus {self.protocol.corpus!r} is not among corpora: {', '.join(self.corpora)}"
            )
        if self.own_text_probability + self.paired_text_probability > 1:
            raise ValueError("own_text_probability and paired_text_probability add up to more than 1")
        if self.patience is not None and self.protocol.dev == "none" and self.protocol.kind != "split":
            raise ValueError("patience needs a dev part: set protocol.dev")
        if self.network.get("expert_dimension") and not self.judged_alone:
            raise ValueError("network.expert_dimension needs judged_alone above 0: nothing else teaches the expert")
        if self.protocol.kind == "corpus" and self.protocol.dev == "own":
            raise ValueError("protocol corpus leaves nobody to be a dev part: set protocol.dev to none or test")
        _ = self.feature_config
        self._check_system()
        known = {each.name for each in fields(SYSTEMS[self.system].config)}
        if unknown := sorted(set(self.network) - known):
            raise ValueError(f"network has unknown fields {', '.join(unknown)}; known are {', '.join(sorted(known))}")

    def _check_system(self) -> None:
        """Refuse what only VCEMO's network has a part for, or only the others."""
        if self.system == "vcemo":
            if not self.frames.is_default:
                raise ValueError("frames are what other systems hear; VCEMO's network reads the log mel")
            return
        of_vcemo: dict[str, object] = {"contrast.alpha": self.contrast.alpha, "judged_alone": self.judged_alone}
        of_vcemo |= {"adversary": self.adversary, "augmentation": self.augmentation, "conditions": self.conditions}
        of_vcemo |= {"known_speaker_probability": self.known_speaker_probability, "text_corpora": self.text_corpora}
        if turned_on := sorted(name for name, value in of_vcemo.items() if value):
            raise ValueError(f"{', '.join(turned_on)} are VCEMO's own; system {self.system!r} goes without")

    @property
    def emotions(self) -> tuple[str, ...]:
        """The labels that are told apart, in the order of the logits."""
        return EMOTIONS if self.labels == len(EMOTIONS) else FOUR_EMOTIONS

    @property
    def network_config(self) -> NetworkConfig:
        """The network that this run trains."""
        features = self.feature_config
        sizes = {
            "num_classes": self.labels,
            "num_mels": features.mel.num_mels,
            "state_dimension": features.step_dimension,
            "word_dimension": features.words.dimension,
            "sentence_dimension": features.sentence.dimension,
            "ngram_buckets": features.ngrams.buckets,
        }
        changes = {key: tuple(value) if isinstance(value, list) else value for key, value in self.network.items()}
        return NetworkConfig.preset_named(self.preset, **(sizes | changes))

    @property
    def system_config(self) -> SystemConfig:
        """The configuration of whatever system this run trains."""
        if self.system == "vcemo":
            return self.network_config
        features = self.input_config
        sizes = {
            "frame_dimension": features.mel.num_mels,
            "state_dimension": features.step_dimension,
            "word_dimension": features.words.dimension,
            "num_classes": self.labels,
        }
        changes = {key: tuple(value) if isinstance(value, list) else value for key, value in self.network.items()}
        config: SystemConfig = SYSTEMS[self.system].config(**(sizes | changes))
        return config

    @property
    def input_config(self) -> FeatureConfig:
        """What the network is given: the features, with other frames for the mel where another system hears them."""
        features = self.feature_config
        if self.frames.is_default:
            return features
        return replace(features, mel=replace(features.mel, num_mels=self.frames.dimension))

    @property
    def feature_config(self) -> FeatureConfig:
        """What the network sees: the service's own configuration, with this run's changes."""
        document = FeatureConfig().to_json()
        for room, changes in self.features.items():
            if room not in document or not isinstance(document[room], dict):
                rooms = sorted(name for name, value in document.items() if isinstance(value, dict))
                raise ValueError(f"features has no room {room!r}; known are {', '.join(rooms)}")
            if unknown := sorted(set(changes) - set(document[room])):
                raise ValueError(f"features.{room} has unknown fields {', '.join(unknown)}")
            document[room] |= changes
        return FeatureConfig.from_json(document)

    @property
    def digest(self) -> str:
        """Short name of everything that decides the result."""
        facts = asdict(self) | {"network": asdict(self.system_config)}
        for name, value in _LATER.items():
            if facts[name] == value:
                del facts[name]  # runs of before have no such choice, and are the same
        document = json.dumps(facts, sort_keys=True, default=list)
        return hashlib.sha256(document.encode()).hexdigest()[:12]


_LATER: Final = {"system": "vcemo", "frames": asdict(FrameConfig()), "loss": "softmax", "max_gradient_value": None}
"""Choices that came after networks had been trained, and what stands for none."""


def load_experiment(name: str, *, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment by its name or path in ``training/``, or by the path of any TOML file.

    overrides: ``key=value`` with dots for sections and TOML's values, such as ``contrast.alpha=0``; a value
    that is no TOML is taken as text, and with nothing behind the sign the default is put back.

    Raises:
        ValueError: there is no such experiment, or it has an unknown field or a value that cannot be.
    """
    document = tomllib.loads(_text_of(name))
    for override in overrides:
        _set(document, override)
    try:
        return TypeAdapter(Experiment).validate_python(document)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, one['loc']))}: {one['msg']} (it is {one['input']!r})" for one in error.errors()
        )
        raise ValueError(f"experiment {name}: {'; '.join(problems)}") from error


def _text_of(name: str) -> str:
    folder = resources.files("training") / "experiments"
    known = sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return path.read_text(encoding="utf-8")
    short = name.removeprefix("experiments/").removesuffix(".toml")
    if short in known:
        return (folder / f"{short}.toml").read_text(encoding="utf-8")
    raise ValueError(f"no experiment {name!r}; known: {', '.join(known)}, or the path of a .toml file")


def _set(document: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ValueError(f"{override!r} is not of the form key=value")
    *sections, key = path.strip().split(".")
    for section in sections:
        document = document.setdefault(section, {})
        if not isinstance(document, dict):
            raise ValueError(f"{override!r}: {section} is a value and holds no fields")
    if not text.strip():
        document.pop(key, None)
        return
    try:
        document[key] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        document[key] = text.strip()
