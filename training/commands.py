"""What each command of training does."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.distributed as dist
from rich.console import Console

from model.assets import AssetStore
from model.network import VcemoNetwork
from model.processors import one_blas_thread, usable_processors
from training import prepare as preparation
from training import retrain_command, sentence_export
from training.collation import collate_inputs, heard_in_silence
from training.comparison import Comparison, compare, print_comparison
from training.corpora import feedback
from training.corpora.catalog import corpus_named
from training.distributed import launched_ranks
from training.evaluation_table import print_evaluation
from training.experiment import Experiment, load_experiment
from training.export import golden_features
from training.logbook import read_curves
from training.prediction_rows import PredictionRow
from training.protocols import Corpora
from training.release import release
from training.report import write_report
from training.reproduction import evaluations
from training.scores import print_scores, score
from training.shapes import module_shapes
from training.side_by_side import train_side_by_side
from training.systems import network_of
from training.tables.commands import fill_table
from training.views import ALONE, SHUFFLED, SOUND, TEXT
from training.workshop import Workshop


def prepare(options: argparse.Namespace, console: Console) -> None:
    """Read a published layout, transcribe it, write its manifest; or copy corrected labels out of a database."""
    if options.corpus == feedback.NAME:
        _prepare_feedback(options, Console())
        return
    corpus = corpus_named(options.root if options.corpus == "plain" else options.corpus)
    workshop = _workshop(options, console, Experiment())
    out = options.out or options.data / corpus.name
    with workshop.progress() as progress:
        facts = preparation.prepare(
            corpus, Path(options.root), out, extraction=workshop.extraction(), limit=options.limit, progress=progress
        )
    preparation.print_preparation(facts, Console())


def extract(options: argparse.Namespace, console: Console) -> None:
    """Compute features."""
    workshop = _workshop(options, console, _experiment(options))
    corpora = workshop.corpora()
    counts = f"{len(corpora.clips)} utterances, {len(corpora.copies)} augmented copies and {len(corpora.texts)} texts"
    console.print(f"{counts} are in {workshop.cache}")


def train(options: argparse.Namespace, console: Console) -> None:
    """Train every fold, or one."""
    experiment = _experiment(options)
    if options.dry_run:
        _print_plan(experiment)
        return
    with launched_ranks() as ranks:
        workshop = replace(_workshop(options, console, experiment), ranks=ranks)
        corpora = _corpora_in_turn(workshop)
        if options.fold is not None:
            for seed in _seeds(options, experiment):
                of_seed = workshop.with_seed(seed)
                fold = of_seed.fold(corpora, options.fold)
                of_seed.network(corpora, fold, resume=options.resume)
                workshop.say(f"wrote {of_seed.run_folder(corpora, fold)}")
            return
        if ranks.world == 1:
            _train_missing(options, workshop, corpora, resume=options.resume)
        evaluation = workshop.evaluation(corpora, seeds=_seeds(options, experiment), resume=options.resume)
        if ranks.is_first:
            print_evaluation(evaluation, Console())


def evaluate(options: argparse.Namespace, console: Console) -> None:
    """Judge every fold on who was left out; what is not trained yet is trained."""
    workshop = _workshop(options, console, _experiment(options))
    corpora = workshop.corpora()
    _train_missing(options, workshop, corpora)
    evaluation = workshop.evaluation(corpora, seeds=_seeds(options, workshop.experiment))
    if options.json:
        Console().print_json(data=evaluation.to_json())
    else:
        print_evaluation(evaluation, Console())


def report(options: argparse.Namespace, console: Console) -> None:
    """Write the page."""
    workshop = _workshop(options, console, _experiment(options))
    experiment = workshop.experiment
    views, curves = _records(options, workshop)
    shown = [view for view in (ALONE, SOUND, TEXT, SHUFFLED) if view in views]
    scores = {view: score(views[view], labels=experiment.emotions, cluster=options.cluster) for view in shown}
    print_scores(scores["both"], Console())
    write_report(
        options.out,
        title=_title(options.experiment, options.set),
        scores=scores.pop("both"),
        curves=curves,
        settings=asdict(experiment),
        against=_comparison(options, workshop, views["both"]),
        views=scores,
        trained=f"Preset {experiment.preset} on {', '.join(experiment.corpora)}; {experiment.epochs} epochs at most.",
        protocol=_protocol(experiment),
        command=f"python -m training {shlex.join(sys.argv[1:])}",
        warnings=_cautions(experiment),
    )
    console.print(f"wrote {options.out}")


def export(options: argparse.Namespace, console: Console) -> None:
    """Evaluate, train on everyone, write the bundle."""
    workshop = _workshop(options, console, _experiment(options))
    corpora = workshop.corpora()
    _train_missing(options, workshop, corpora)
    evaluation = workshop.evaluation(corpora, seeds=_seeds(options, workshop.experiment))
    print_evaluation(evaluation, Console())
    release(workshop, corpora, evaluation, out=options.out, version=options.version)


def reproduce_default(options: argparse.Namespace, console: Console) -> None:
    """Rebuild the bundle that ships, and every figure of its card."""
    workshop = _workshop(options, console, _experiment(options))
    found = evaluations(workshop, name=options.experiment, overrides=options.set, jobs=options.jobs)
    for evaluation in found.values():
        print_evaluation(evaluation, Console())
    corpora = workshop.corpora()
    evaluation = found.pop(workshop.experiment.protocol.corpus)
    release(workshop, corpora, evaluation, out=options.out, version=options.version, elsewhere=found)


def retrain(options: argparse.Namespace, console: Console) -> int:
    """Fine-tune the store's current bundle, and promote what is better."""
    return int(retrain_command.run(options, _workshop(options, console, _experiment(options))))


def _prepare_feedback(options: argparse.Namespace, console: Console) -> None:
    facts = feedback.prepare_feedback(options.root, options.out or options.data / feedback.NAME)
    labels = ", ".join(f"{count} {label}" for label, count in facts.emotions.items())
    total = sum(facts.emotions.values())
    console.print(f"{total} corrections: {labels}", highlight=False)
    console.print(f"{facts.changed} differ from what was answered; {facts.with_audio} with sound", highlight=False)
    for key, reason in facts.skipped.items():
        console.print(f"skipped {key}: {reason}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"wrote {facts.manifest}", highlight=False, markup=False, soft_wrap=True)


def table(options: argparse.Namespace, console: Console) -> None:
    """Run one of the paper's tables on a corpus."""
    fill_table(options, _workshop(options, console, Experiment()))


def export_bert(options: argparse.Namespace, console: Console) -> None:
    """Turn a BERT into the bundle's sentence encoder."""
    config = sentence_export.export_bert(
        options.model, options.out, pooling=options.pooling, max_tokens=options.max_tokens
    )
    console.print(f"wrote {options.out}: {config}")


def _workshop(options: argparse.Namespace, console: Console, experiment: Experiment) -> Workshop:
    device = getattr(options, "device", "cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    one_blas_thread()
    return Workshop(
        experiment=experiment,
        data=options.data,
        cache=options.cache,
        assets=AssetStore(options.cache),
        threads=usable_processors(),
        console=console,
        bert=getattr(options, "bert", None),
        device=torch.device(device),
    )


def _experiment(options: argparse.Namespace) -> Experiment:
    return load_experiment(options.experiment, overrides=options.set)


def _seeds(options: argparse.Namespace, experiment: Experiment) -> list[int]:
    return [experiment.seed + number for number in range(options.seeds)]


def _corpora_in_turn(workshop: Workshop) -> Corpora:
    """Load the corpora; of several processes the first computes features, and the others find them."""
    if workshop.ranks.world == 1:
        return workshop.corpora()
    found = workshop.corpora() if workshop.ranks.is_first else None
    dist.barrier()
    return found or workshop.corpora()


def _train_missing(
    options: argparse.Namespace,
    workshop: Workshop,
    corpora: Corpora,
    *,
    resume: bool = True,
) -> None:
    train_side_by_side(
        workshop,
        corpora,
        seeds=_seeds(options, workshop.experiment),
        folds=[fold.name for fold in workshop.folds(corpora)],
        jobs=options.jobs,
        resume=resume,
    )


def _print_plan(experiment: Experiment) -> None:
    """Print the resolved configuration, and the network module by module on one batch of drawn features."""
    console = Console()
    if not console.is_terminal:
        console.width = 140  # a table folded for a file's 80 columns is not read by anyone
    console.print_json(json.dumps(asdict(experiment) | {"digest": experiment.digest}))
    network = network_of(experiment.system_config)
    features = experiment.input_config
    drawn = golden_features(features)
    if not isinstance(network, VcemoNetwork):
        drawn = [heard_in_silence(one) for one in drawn]
    console.print(module_shapes(network, collate_inputs(drawn, config=features)))


def _records(
    options: argparse.Namespace, workshop: Workshop
) -> tuple[dict[str, list[PredictionRow]], dict[str, list[dict[str, float]]]]:
    """Predictions by view, and curves, of every seed and fold; what is not trained yet is trained."""
    corpora = workshop.corpora()
    _train_missing(options, workshop, corpora)
    views: dict[str, list[PredictionRow]] = {}
    curves: dict[str, list[dict[str, float]]] = {}
    for seed in _seeds(options, workshop.experiment):
        of_seed = workshop.with_seed(seed)
        for row in of_seed.judged(corpora):
            views.setdefault(row.view, []).append(row)
        for fold in of_seed.folds(corpora):
            curves[f"{fold.name}, seed {seed}"] = read_curves(of_seed.run_folder(corpora, fold))
    return views, curves


def _comparison(options: argparse.Namespace, workshop: Workshop, rows: Sequence[PredictionRow]) -> Comparison | None:
    """Compare with another experiment, or with the same one changed."""
    if not (options.against or options.against_set):
        return None
    name = options.against or options.experiment
    overrides = [*([] if options.against else options.set), *options.against_set]
    other = replace(workshop, experiment=load_experiment(name, overrides=overrides))
    comparison = compare(
        rows,
        _records(options, other)[0]["both"],
        names=(_title(options.experiment, options.set), _title(name, overrides)),
        labels=workshop.experiment.emotions,
        cluster=options.cluster,
    )
    print_comparison(comparison, Console())
    return comparison


def _title(name: str, overrides: Sequence[str]) -> str:
    return " ".join([name, *overrides])


def _protocol(experiment: Experiment) -> str:
    protocol = experiment.protocol
    kinds = {
        "speakers": "One speaker left out at a time",
        "sessions": "One session left out at a time",
        "corpus": "All of a corpus left out",
    }
    kind = kinds.get(protocol.kind, "One division into 8/1/1")
    dev = {"none": "a fixed schedule, nothing selected", "own": "the epoch selected on others of the corpus"}
    return f"{kind}, {protocol.corpus}; {dev.get(protocol.dev, 'the epoch selected on the test part itself')}."


def _cautions(experiment: Experiment) -> list[str]:
    protocol = experiment.protocol
    cautions = {
        "The dev part is the test part: these figures are higher than the network is.": protocol.dev == "test",
        "Divided by utterance: speakers are shared between the parts.": protocol.paper_random,
        "Negative control: the training labels were dealt out at random.": experiment.shuffle_labels,
    }
    return [caution for caution, applies in cautions.items() if applies]
