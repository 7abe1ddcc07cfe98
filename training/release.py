"""An experiment's network for everyone, sealed into a bundle with its card."""

import datetime
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from model.bundle import BundleFacts
from training.card import model_card
from training.corpora.catalog import corpus_named
from training.evaluation import Evaluation
from training.export import write_bundle
from training.outlook import reference_of_rows
from training.protocols import Corpora, everyone
from training.views import ALONE
from training.workshop import Workshop

GOLDEN_LICENCE: Final = "a voice prompt of Asterisk, spoken by Allison Smith, CC BY-SA 3.0 (Digium, Inc.)."


def release(
    workshop: Workshop,
    corpora: Corpora,
    evaluation: Evaluation,
    *,
    out: Path,
    version: str,
    elsewhere: Mapping[str, Evaluation] | None = None,
) -> None:
    """Train the network that leaves nobody out, or recall it, and write the bundle.

    elsewhere: the same recipe judged on other speakers, by name; the card speaks of them too.
    """
    network = workshop.servable(corpora, everyone(corpora))
    others = elsewhere or {}
    metrics = evaluation.to_json() | {name: other.to_json() for name, other in others.items()}
    facts = replace(
        _facts(workshop, evaluation, version=version, metrics=metrics),
        reference=_reference(workshop, corpora, evaluation),
    )
    write_bundle(
        out,
        network=network,
        facts=facts,
        card=model_card(
            facts=facts,
            evaluation=evaluation,
            corpora=facts.corpora,
            golden_licence=GOLDEN_LICENCE,
            elsewhere=others,
        ),
        assets=workshop.assets,
        sentence_encoder=workshop.bert,
        lower_layers=workshop.lower_layers(),
        threads=workshop.threads,
    )
    workshop.say(f"wrote {out}; try: python -m model recognize RECORDING --bundle {out}")


def _facts(workshop: Workshop, evaluation: Evaluation, *, version: str, metrics: Mapping[str, Any]) -> BundleFacts:
    experiment = workshop.experiment
    names = [*experiment.corpora, *experiment.text_corpora]
    corpora = [corpus_named(name) for name in dict.fromkeys(names)]
    return BundleFacts(
        name=f"vcemo-{experiment.preset}-zh",
        version=version,
        labels=experiment.emotions,
        features=workshop.features,
        network=experiment.network_config.to_json(),
        assets=workshop.asset_checksums,
        golden_audio={},
        temperature=evaluation.calibration.temperature if evaluation.calibration else 1.0,
        abstain_below=evaluation.calibration.abstention.threshold if evaluation.calibration else 0.0,
        metrics=metrics,
        corpora=[{"name": corpus.name, "title": corpus.title, "licence": corpus.licence} for corpus in corpora],
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        git_commit=git_commit(),
    )


def _reference(workshop: Workshop, corpora: Corpora, evaluation: Evaluation) -> dict[str, Any]:
    """Describe the clips that the recipe was judged on, as networks that had not heard them judged them."""
    alone = [row for seed in evaluation.seeds for row in workshop.with_seed(seed).judged(corpora) if row.view == ALONE]
    temperature = evaluation.calibration.temperature if evaluation.calibration else 1.0
    return reference_of_rows(alone, corpora.clips, labels=workshop.experiment.emotions, temperature=temperature)


def git_commit() -> str:
    """Name the commit that is checked out."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    except FileNotFoundError:  # an image without git
        return "unknown"
    return found.stdout.strip() or "unknown"
