"""Command line of training: ``python -m training train``, ``evaluate``, ``extract``, ``export-bert``."""

import argparse
import datetime
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from model.assets import AssetStore, default_cache
from model.bundle import BundleFacts
from model.errors import VcemoError
from model.features import FeatureConfig
from model.labels import EMOTIONS
from model.processors import usable_processors
from training.card import model_card
from training.corpora.catalog import corpus_named
from training.evaluation import Evaluation, print_evaluation
from training.experiment import Experiment, load_experiment
from training.export import write_bundle
from training.sentence_export import export_bert
from training.workshop import Workshop

_EXAMPLES = """\
examples:
  python -m training train                         train, evaluate, export the bundle that ships
  python -m training train --experiment tiny --out /tmp/tiny-bundle
  python -m training evaluate                      recall by speaker left out, and the controls
  python -m training evaluate --json               the same as JSON
  python -m training extract                       only compute the features of the corpora
  python -m training export-bert --model ./bert-base-chinese --out ./bert-onnx

Corpora are read below --data, else $VCEMO_DATA, else ../shared/data. Features and networks are kept in
--cache, else $VCEMO_CACHE, else .cache/vcemo of your home folder; what is there is not computed again.
"""
_GOLDEN_LICENCE = "a voice prompt of Asterisk, spoken by Allison Smith, CC BY-SA 3.0 (Digium, Inc.)."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        if options.command == "export-bert":
            config = export_bert(options.model, options.out, pooling=options.pooling, max_tokens=options.max_tokens)
            console.print(f"wrote {options.out}: {config}")
            return 0
        # The network is small: on a busy machine the barriers of two threads made it seven times slower than one.
        torch.set_num_threads(1)
        workshop = _workshop(options, console)
        corpora = workshop.corpora()
        if options.command == "extract":
            console.print(f"{len(corpora.clips)} utterances and {len(corpora.texts)} texts are in {workshop.cache}")
            return 0
        evaluation = workshop.evaluation(corpora)
        if options.command == "evaluate" and options.json:
            Console().print_json(data=evaluation.to_json())
        else:
            print_evaluation(evaluation, Console())
        if options.command == "train":
            network = workshop.network(corpora, left_out=None)
            facts = _facts(workshop, evaluation, version=options.version)
            card = model_card(facts=facts, evaluation=evaluation, corpora=facts.corpora, golden_licence=_GOLDEN_LICENCE)
            write_bundle(
                options.out, network=network, facts=facts, card=card, assets=workshop.assets, threads=workshop.threads
            )
            console.print(f"wrote {options.out}; try: python -m model recognize RECORDING --bundle {options.out}")
    except (VcemoError, ValueError) as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False)
        return 1
    return 0


def _workshop(options: argparse.Namespace, console: Console) -> Workshop:
    return Workshop(
        experiment=load_experiment(options.experiment),
        features=FeatureConfig(),
        data=options.data,
        cache=options.cache,
        assets=AssetStore(options.cache),
        threads=usable_processors(),
        console=console,
    )


def _facts(workshop: Workshop, evaluation: Evaluation, *, version: str) -> BundleFacts:
    experiment: Experiment = workshop.experiment
    names = [*experiment.corpora, *experiment.text_corpora]
    corpora = [corpus_named(name) for name in dict.fromkeys(names)]
    return BundleFacts(
        name=f"vcemo-{experiment.preset}-zh",
        version=version,
        labels=EMOTIONS,
        features=workshop.features,
        network=experiment.network_config.to_json(),
        assets=workshop.asset_checksums,
        golden_audio={},
        temperature=evaluation.temperature,
        metrics=evaluation.to_json(),
        corpora=[{"name": corpus.name, "title": corpus.title, "licence": corpus.licence} for corpus in corpora],
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        git_commit=_git_commit(),
    )


def _git_commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    except FileNotFoundError:  # an image without git
        return "unknown"
    return found.stdout.strip() or "unknown"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Train the emotion network, say honestly what it is worth, and seal it into a bundle.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train, evaluate and export a bundle")
    train.add_argument("--out", type=Path, default=Path("artifacts/vcemo-whisper-zh"), help="folder of the bundle")
    train.add_argument("--version", default="0.1.0", help="version of the bundle (default %(default)s)")
    evaluate = commands.add_parser("evaluate", help="leave one speaker out: recall, controls, calibration")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    extract = commands.add_parser("extract", help="compute the features of the corpora")
    for command in (train, evaluate, extract):
        _add_common(command)
    bert = commands.add_parser("export-bert", help="a BERT folder of transformers -> ONNX sentence encoder")
    bert.add_argument("--model", required=True, help="folder, or a name on the hub such as bert-base-chinese")
    bert.add_argument("--out", type=Path, required=True, help="folder to write model.onnx and tokenizer.json to")
    bert.add_argument("--pooling", choices=("cls", "mean"), default="cls", help="sentence vector (default cls)")
    bert.add_argument("--max-tokens", type=int, default=128, help="longest input (default %(default)s)")
    return parser


def _add_common(command: argparse.ArgumentParser) -> None:
    data = Path(os.environ.get("VCEMO_DATA", "../shared/data"))
    command.add_argument("--experiment", default="default", help="name or .toml file (default %(default)s)")
    command.add_argument("--data", type=Path, default=data, help="folder of the corpora (now %(default)s)")
    command.add_argument("--cache", type=Path, default=default_cache(), help="cache folder (now %(default)s)")


if __name__ == "__main__":
    sys.exit(main())
