"""What a training run is: one frozen configuration, read from TOML."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from model.network import NetworkConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """Every choice of a run; TOML files in ``training/experiments`` give some, these defaults the rest."""

    name: str = "default"
    preset: Literal["paper", "whisper"] = "whisper"
    network: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the preset's :class:`NetworkConfig`."""
    corpora: Mapping[str, float] = field(default_factory=dict)
    """Audio corpora, and how many times an epoch shows each clip."""
    text_corpora: tuple[str, ...] = ()
    texts_per_clip: float = 0.5
    """Text-only examples drawn each epoch, for each clip shown."""
    test_corpus: str = "casia"
    """Corpus whose speakers are left out one by one."""
    max_clips: int | None = None
    """Keep this many clips and texts of each corpus: quick runs only."""
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 5e-4
    weight_decay: float = 1e-2
    warmup_share: float = 0.1
    label_smoothing: float = 0.1
    contrast_alpha: float = 0.1
    contrast_temperature: float = 0.1
    own_text_probability: float = 0.5
    """How often a clip keeps the transcript of its own."""
    paired_text_probability: float = 0.2
    """How often a clip of the training part gets a text of the same label from the text corpora instead."""
    time_mask_share: float = 0.15
    """Longest stretch of states and mel that is blanked in training, as a share of the utterance."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(f"epochs {self.epochs} must be >= 1 and batch_size {self.batch_size} >= 2")
        if self.corpora and self.test_corpus not in self.corpora:
            raise ValueError(f"test_corpus {self.test_corpus!r} is not among corpora: {', '.join(self.corpora)}")
        if self.own_text_probability + self.paired_text_probability > 1:
            raise ValueError("own_text_probability and paired_text_probability add up to more than 1")

    @property
    def network_config(self) -> NetworkConfig:
        """The network that this run trains."""
        changes = {key: tuple(value) if isinstance(value, list) else value for key, value in self.network.items()}
        return NetworkConfig.preset_named(self.preset, **changes)

    @property
    def digest(self) -> str:
        """Short name of everything that decides the result."""
        document = json.dumps(asdict(self) | {"network": self.network_config.to_json()}, sort_keys=True, default=list)
        return hashlib.sha256(document.encode()).hexdigest()[:12]


def load_experiment(name: str) -> Experiment:
    """Read an experiment by its name in ``training/experiments``, or by the path of a TOML file.

    Raises:
        ValueError: there is no such experiment, or it has an unknown field.
    """
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        folder = resources.files("training") / "experiments"
        known = sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))
        if name not in known:
            raise ValueError(f"no experiment {name!r}; known: {', '.join(known)}, or the path of a .toml file")
        text = (folder / f"{name}.toml").read_text(encoding="utf-8")
    document = tomllib.loads(text)
    unknown = set(document) - {each.name for each in fields(Experiment)}
    unknown |= {f"network.{key}" for key in document.get("network", {})} - {
        f"network.{each.name}" for each in fields(NetworkConfig)
    }
    if unknown:
        raise ValueError(f"experiment {name} has unknown fields: {', '.join(sorted(unknown))}")
    if "text_corpora" in document:
        document["text_corpora"] = tuple(document["text_corpora"])
    return Experiment(**document)
