"""Command line of training: ``python -m training COMMAND --help``."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console

from model.assets import default_cache
from model.errors import TrainingInterrupted, VcemoError
from model.processors import usable_processors
from training import commands, retrain_command

_EXAMPLES = """\
examples:
  python -m training prepare feedback --root sqlite:////var/lib/vcemo/vcemo.sqlite3 --out feedback
  python -m training retrain --store bundles --feedback feedback --test fixed.jsonl --dry-run
  python -m training prepare casia --root ~/CASIA --out ../shared/data/casia
  python -m training train                             the recipe that ships: every fold, then the figures
  python -m training train experiments/vcemo.toml --dry-run
  python -m training train paper_casia --seeds 3 --jobs 2 --set contrast.alpha=0
  torchrun --nproc-per-node 2 -m training train paper_casia
  python -m training evaluate --json                   recall by speaker left out, and the controls
  python -m training report paper_casia --seeds 3 --against paper_casia --against-set contrast.alpha=0
  python -m training table 3 --corpus paired --seeds 3 --small
  python -m training export --out artifacts/vcemo-whisper-zh
  python -m training reproduce-default
  python -m training export-bert --model ./bert-base-chinese --out ./bert-onnx

Corpora are read below --data, else $VCEMO_DATA, else ../shared/data. Features and networks are kept in
--cache, else $VCEMO_CACHE, else .cache/vcemo of your home folder; what is there is not computed again.
"""

_COMMANDS: Mapping[str, Callable[[argparse.Namespace, Console], int | None]] = {
    "prepare": commands.prepare,
    "extract": commands.extract,
    "train": commands.train,
    "evaluate": commands.evaluate,
    "report": commands.report,
    "table": commands.table,
    "export": commands.export,
    "reproduce-default": commands.reproduce_default,
    "export-bert": commands.export_bert,
    "retrain": commands.retrain,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 1 on an error, 143 where a signal stopped a run; retrain has more."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True)
    # The networks are small: on a busy machine the barriers of two threads made them seven times slower than one.
    torch.set_num_threads(1)
    try:
        code = _COMMANDS[options.command](options, console)
    except TrainingInterrupted as error:
        console.print(error.message, highlight=False, markup=False)
        return 143
    except (VcemoError, ValueError) as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 1
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Train the emotion network, say honestly what it is worth, and seal it into a bundle.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_subparsers(dest="command", required=True).add_parser
    _add_prepare(add("prepare", help="a corpus as it was downloaded -> manifest, transcripts, cached features"))
    _add_experiment(add("extract", help="compute the features of an experiment's corpora"))
    train = add("train", help="train every fold of an experiment, and judge each on who was left out")
    _add_experiment(train)
    _add_training(train)
    train.add_argument("--dry-run", action="store_true", help="print the configuration and the network; train nothing")
    train.add_argument("--fold", help="train only this one, such as a speaker; 'all' leaves nobody out")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint of a run that was stopped")
    evaluate = add("evaluate", help="recall by fold, controls, calibration")
    _add_experiment(evaluate)
    _add_training(evaluate)
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    report = add("report", help="an HTML page with figures, intervals and plots")
    _add_experiment(report)
    _add_training(report)
    report.add_argument("--out", type=Path, default=Path("report.html"), help="file to write (default %(default)s)")
    report.add_argument("--against", help="another experiment on the same clips, compared pair by pair")
    report.add_argument(
        "--cluster",
        choices=("given", "speaker"),
        default="given",
        help="what intervals resample: sentences or dialogues (given), or speakers, where there are many",
    )
    report.add_argument("--against-set", action="append", default=[], metavar="KEY=VALUE", help="its changes")
    _add_table(add("table", help="one of the paper's tables, run on a corpus, beside what the paper printed"))
    export = add("export", help="train on everyone, and seal the bundle that is served")
    _add_experiment(export)
    _add_training(export)
    export.add_argument("--out", type=Path, default=Path("artifacts/vcemo-whisper-zh"), help="folder of the bundle")
    export.add_argument("--version", default="0.3.0", help="version of the bundle (default %(default)s)")
    reproduce = add("reproduce-default", help="rebuild the bundle that ships, and every figure of its card: hours")
    _add_experiment(reproduce)
    reproduce.add_argument("--jobs", type=int, default=usable_processors(), help="folds side by side (now %(default)s)")
    reproduce.add_argument("--device", default="auto", help="cpu, cuda, or auto (default)")
    reproduce.add_argument("--out", type=Path, default=Path("artifacts/vcemo-whisper-zh"), help="folder of the bundle")
    reproduce.add_argument("--version", default="0.3.0", help="version of the bundle (default %(default)s)")
    retrain = add(
        "retrain",
        help="corrected labels and new clips -> a better bundle in the store, or a reason why not",
        epilog=retrain_command.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    retrain.add_argument("experiment", nargs="?", default="fine_tune", help="recipe (default %(default)s)")
    retrain.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one of its choices")
    retrain.add_argument("--device", default="auto", help="cpu, cuda, or auto (default)")
    retrain_command.add_options(retrain)
    _add_folders(retrain)
    _add_bert(add("export-bert", help="a BERT folder of transformers -> ONNX sentence encoder"))
    return parser


def _add_table(command: argparse.ArgumentParser) -> None:
    command.add_argument("number", type=int, choices=(1, 2, 3), help="which of the paper's")
    command.add_argument("--corpus", default="paired", help="name, or path of a manifest (default %(default)s)")
    command.add_argument("--recall", action="store_true", help="print what has been run; train nothing")
    command.add_argument("--classes", type=int, choices=(4, 6), help="only this half of the table")
    command.add_argument(
        "--small", action="store_true", help="widths and epochs for an hour of one core; see small.toml"
    )
    command.add_argument("--out", type=Path, default=Path("tables"), help="folder to write to (default %(default)s)")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change this in every cell")
    command.add_argument(
        "--bert", type=Path, help="folder that export-bert wrote, where the corpus's experiment reads one"
    )
    _add_training(command)
    _add_folders(command)


def _add_experiment(command: argparse.ArgumentParser) -> None:
    command.add_argument("experiment", nargs="?", default="default", help="name or .toml file (default %(default)s)")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one choice, such as contrast.alpha=0; may be repeated",
    )
    command.add_argument("--bert", type=Path, help="folder that export-bert wrote, where the experiment reads a BERT")
    _add_folders(command)


def _add_training(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seeds", type=int, default=1, help="how many seeds, from the experiment's own upwards")
    command.add_argument("--jobs", type=int, default=1, help="folds trained side by side, one thread each")
    command.add_argument("--device", default="auto", help="cpu, cuda, or auto (default)")


def _add_folders(command: argparse.ArgumentParser) -> None:
    data = Path(os.environ.get("VCEMO_DATA", "../shared/data"))
    command.add_argument("--data", type=Path, default=data, help="folder of the corpora (now %(default)s)")
    command.add_argument("--cache", type=Path, default=default_cache(), help="cache folder (now %(default)s)")


def _add_prepare(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "corpus",
        help="a published layout: casia, esd, iemocap, ...; plain for JSONL and CSV; feedback for corrected labels",
    )
    command.add_argument(
        "--root",
        required=True,
        help="the corpus as it was unpacked; for plain the file, for feedback the database's URL",
    )
    command.add_argument("--out", type=Path, help="folder of the manifest (default DATA/CORPUS)")
    command.add_argument("--limit", type=int, help="keep this many clips, evenly over the corpus")
    _add_folders(command)


def _add_bert(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", required=True, help="folder, or a name on the hub such as bert-base-chinese")
    command.add_argument("--out", type=Path, required=True, help="folder to write model.onnx and tokenizer.json to")
    command.add_argument("--pooling", choices=("cls", "mean"), default="cls", help="sentence vector (default cls)")
    command.add_argument("--max-tokens", type=int, default=128, help="longest input (default %(default)s)")


if __name__ == "__main__":
    sys.exit(main())
