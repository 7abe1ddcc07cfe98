"""The successor of a bundle: fine-tuned, judged, sealed with a card that says what changed."""

import datetime
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from model.bundle import LOWER_LAYERS_FILE, calibrated
from model.network import VcemoNetwork
from training.abstention import abstention
from training.card import retrained_card
from training.corpora import feedback
from training.corpora.catalog import CORPORA
from training.evaluation import Evaluation, evaluate
from training.export import write_bundle
from training.metrics import fit_temperature
from training.outlook import reference_of_rows
from training.prediction_rows import PredictionRow
from training.release import GOLDEN_LICENCE, git_commit
from training.retraining import Retraining, judged
from training.slices import Decision

_ORDERS: Final = 2
"""Random orders of each speaker's clips, for the figures of calls."""


def push_successor(run: Retraining, network: VcemoNetwork, rows: Sequence[PredictionRow], decision: Decision) -> None:
    """Write the bundle and push it; a version that is half pushed is no version."""
    logits = np.array([row.logits for row in rows])
    truth = np.array([run.facts.labels.index(row.emotion) for row in rows])
    temperature = fit_temperature(logits, truth)
    found = abstention(calibrated(logits, temperature), truth)
    evaluation = evaluate(
        judged(network, run, orders=_ORDERS), corpus=", ".join(run.material.tests), emotions=run.facts.labels
    )
    facts = replace(
        run.facts,
        version=run.version,
        golden_audio={},
        temperature=temperature,
        abstain_below=found.threshold,
        metrics=_metrics(run, evaluation, decision),
        corpora=_corpora(run),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        git_commit=git_commit(),
        reference=_reference(run, rows, temperature),
    )
    card = retrained_card(
        facts=facts,
        evaluation=evaluation,
        found=found,
        changes=_changes(run, decision),
        corpora=facts.corpora,
        golden_licence=GOLDEN_LICENCE,
    )
    lower_layers = run.bundle / LOWER_LAYERS_FILE
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(
            Path(folder) / run.version,
            network=network,
            facts=facts,
            card=card,
            assets=run.workshop.assets,
            compute_types=tuple(run.facts.golden_audio),
            sentence_encoder=run.workshop.bert,
            lower_layers=lower_layers if lower_layers.is_file() else None,
            threads=run.workshop.threads,
        )
        run.store.push(Path(folder) / run.version)


def _metrics(run: Retraining, evaluation: Evaluation, decision: Decision) -> Mapping[str, Any]:
    retrained = {
        "from_version": run.start.version,
        "from_sha256": run.start.sha256,
        "data": run.digest,
        "utterances": len(run.material.train),
        "difference": asdict(decision.overall.recall),
    }
    return evaluation.to_json() | {"retrained": retrained}


def _corpora(run: Retraining) -> list[Mapping[str, str]]:
    known: dict[str, Mapping[str, str]] = {str(corpus["name"]): corpus for corpus in run.facts.corpora}
    for name in run.material.times:
        title, licence = f"{name} (a manifest of one's own)", "not stated"
        if name == feedback.NAME:
            title, licence = "corrected labels of served calls", "the operator's own"
        elif name in CORPORA:
            title, licence = CORPORA[name].title, CORPORA[name].licence
        known.setdefault(name, {"name": name, "title": title, "licence": licence})
    return list(known.values())


def _reference(run: Retraining, rows: Sequence[PredictionRow], temperature: float) -> dict[str, Any]:
    examples = [
        replace(one, clip=replace(one.clip, key=f"{name}/{one.clip.key}"))
        for name, some in run.material.tests.items()
        for one in some
    ]
    return reference_of_rows(rows, examples, labels=run.facts.labels, temperature=temperature)


def _changes(run: Retraining, decision: Decision) -> list[str]:
    """Lines of the card: what is different from the bundle before."""
    material = run.material
    counts = {name: sum(one.clip.corpus == name for one in material.train) for name in material.times}
    labels = ", ".join(f"{count} {label}" for label, count in sorted(material.emotions.items()))
    slices = (decision.overall, *decision.slices)
    return [
        f"## What changed since {run.start.version}",
        "",
        f"Fine-tuned from {run.facts.name} {run.start.version} by `python -m training retrain`, recipe "
        f"`{run.workshop.experiment.name}`, {run.workshop.experiment.epochs} epochs, on {len(material.train)} "
        f"utterances: {', '.join(f'{count} of {name}' for name, count in counts.items())}; {labels}.",
        "Differences are paired: both networks judged the same clips, none of which this one was trained on.",
        "",
        "| slice | clips | before | now | difference [95 % interval] |",
        "|---|---|---|---|---|",
        *(
            f"| {one.name} | {one.clips} | {one.recall.second:.3f} | {one.recall.first:.3f} | {one.recall} |"
            for one in slices
        ),
        "",
    ]
