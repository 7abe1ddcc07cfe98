"""Corrected labels and new clips in, a promoted bundle out; or a reason why not. Run again, it does nothing twice."""

import datetime
from enum import IntEnum

from rich.console import Console

from model.bundle_store import BundleStore
from model.network import VcemoNetwork
from training.export import network_of
from training.fine_tune import Sources, fine_tuned
from training.half_precision import round_to_half
from training.logbook import Row
from training.retraining import Retraining, Terms, judged, opened
from training.slices import Decision, decide, print_decision
from training.successor import push_successor
from training.trial import watched
from training.workshop import Workshop


class Outcome(IntEnum):
    """What a run came to; the number is the exit code."""

    PROMOTED = 0
    """The new bundle is current, now or since an earlier run with the same data; or a dry run ended."""
    REFUSED = 3
    """Not better with its interval, or worse on a slice; the store's pointer has not moved."""
    TOO_LITTLE = 4
    """Fewer new labels than asked for; nothing was trained."""
    DISAGREED = 5
    """On live traffic the candidate agreed too rarely, or was heard too little; it was withdrawn."""


def retrain(
    store: BundleStore, sources: Sources, workshop: Workshop, *, terms: Terms, dry_run: bool = False, out: Console
) -> Outcome:
    """Fine-tune the store's current bundle, judge both on the fixed test sets, and promote the better one.

    workshop: with the recipe; the network and the features are those of the bundle. dry_run: say what would be done.

    Raises:
        StoreError: the store cannot be used, has no current version, or it was moved meanwhile.
        CorpusError: the data cannot be used.
        BundleInvalid: the bundle carries no weights, or other parts than the cache holds.
        TrainingInterrupted: a signal asked to stop; the next run goes on from there.
    """
    run = opened(store, sources, workshop, terms)
    _print_plan(run, out)
    if run.material.num_new < terms.least_new:
        _say(out, f"too little: {run.material.num_new} new labels, {terms.least_new} are asked for")
        return Outcome.TOO_LITTLE
    known = _known_outcome(run, out)
    if known is not None:
        return known
    if dry_run:
        _say(out, f"dry run: nothing was trained; it would become {run.version}")
        return Outcome.PROMOTED
    network = _trained(run)
    new, served = (judged(one, run) for one in (network, network_of(run.bundle)))
    decision = decide(new, served, labels=run.facts.labels, least_gain=terms.least_gain, most_loss=terms.most_loss)
    print_decision(decision, out)
    if not decision.promotes:
        _record(run, "refused", decision)
        _say(out, f"refused: {run.start.version} stays current in {store.url}")
        return Outcome.REFUSED
    if not store.has(run.version):
        push_successor(run, network, new, decision)
    return _promoted(run, decision, out)


def _print_plan(run: Retraining, out: Console) -> None:
    material = run.material
    _say(out, f"from {run.facts.name} {run.start.version} of {run.store.url}; recipe {run.workshop.experiment.name}")
    labels = ", ".join(f"{count} {label}" for label, count in sorted(material.emotions.items()))
    by_corpus = ", ".join(
        f"{sum(one.clip.corpus == name for one in material.train)} of {name}" for name in material.times
    )
    _say(out, f"trained on: {len(material.train)} utterances ({by_corpus}): {labels}")
    for name, examples in material.tests.items():
        _say(out, f"judged on: {name}, {len({one.clip.key for one in examples})} clips")
    if material.leaked:
        _say(out, f"left out of training: {material.leaked} utterances that are in a test set")
    if material.other_front_end:
        _say(out, f"left out: {material.other_front_end} corrections whose features another front end computed")


def _known_outcome(run: Retraining, out: Console) -> Outcome | None:
    """Return what an earlier run with the same data came to, where that still holds."""
    record = run.store.read_record(run.record_name)
    if record is None:
        return None
    if record["outcome"] == "promoted":
        _say(out, f"nothing to do: this data made {record['version']}, which was promoted at {record['at']}")
        return Outcome.PROMOTED
    if record["started_from"] != run.start.sha256:
        return None  # another bundle is current since: it may go better with that one
    _say(out, f"nothing to do: refused at {record['at']}: {record['reason']}")
    return Outcome.REFUSED if record["outcome"] == "refused" else Outcome.DISAGREED


def _trained(run: Retraining) -> VcemoNetwork:
    workshop = run.workshop
    epochs = workshop.experiment.epochs
    with workshop.progress() as progress:
        task = progress.add_task("fine-tuning", total=epochs)

        def on_epoch(row: Row) -> None:
            progress.update(task, completed=row["epoch"], description=f"fine-tuning: loss {row['loss']:.3f}")
            if not workshop.console.is_terminal:
                workshop.say(f"fine-tuning: epoch {row['epoch']:.0f} of {epochs}, loss {row['loss']:.3f}")

        folder = workshop.cache / "runs" / f"retrain-{run.version}"
        network = fine_tuned(run.bundle, run.material, workshop=workshop, folder=folder, on_epoch=on_epoch)
    # As it will be sealed: what is judged is what is served.
    round_to_half(network)
    return network


def _promoted(run: Retraining, decision: Decision, out: Console) -> Outcome:
    trial = run.terms.trial
    if trial is not None:
        run.store.nominate(run.version)
        _say(out, f"{run.version} is the candidate; waiting for {trial.utterances} live utterances judged by both")
        found = watched(run.version, trial)
        _say(out, f"live: {found.total} utterances judged by both, {found.agreement:.1%} alike")
        if found.total < trial.utterances or found.agreement < trial.least_agreement:
            run.store.withdraw()
            _record(run, "disagreed", decision, reason=f"live agreement {found.agreement:.3f} of {found.total}")
            _say(out, f"withdrawn: at least {trial.least_agreement:.1%} of {trial.utterances} are asked for")
            return Outcome.DISAGREED
    run.store.promote(run.version, expected=run.start.version)
    _record(run, "promoted", decision)
    _say(out, f"promoted: {run.version} is current in {run.store.url}, before: {run.start.version}")
    return Outcome.PROMOTED


def _record(run: Retraining, outcome: str, decision: Decision, *, reason: str = "") -> None:
    run.store.write_record(
        run.record_name,
        {
            "outcome": outcome,
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "started_from": run.start.sha256,
            "version": run.version,
            "reason": reason or decision.reason,
            "decision": decision.to_json(),
        },
    )


def _say(out: Console, message: str) -> None:
    out.print(message, highlight=False, markup=False, soft_wrap=True)
