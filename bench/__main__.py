"""Command line of the figures: ``python -m bench shows NAME``."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from bench.figures import Report, print_report
from bench.workbench import Workbench
from model.assets import default_cache
from model.errors import VcemoError

SHOWS: Final = {
    "predict": "real recordings over HTTP: CASIA, mu-law, three minutes, silence",
    "recall": "CASIA, leave one speaker out, and two controls at chance (trains what is not cached: minutes)",
    "default-model": "CASIA, three seeds: alone, in calls, on the phone, calibration, pairs (trains for half an hour)",
    "zero-shot": "CASIA with none of it in training, three seeds (trains for minutes)",
    "nemo": "Polish speakers left out, three seeds: alone and in calls (trains for an hour)",
    "layers": "which layer of Whisper hears emotion best: a linear probe on each (minutes)",
    "text": "microblog posts through the bundle's text path",
    "served": "CASIA files through the recogniser against the training evaluation",
    "fusion": "size of the fused network, and milliseconds an utterance on one core",
    "parity": "ONNX against torch over 200 real utterances",
    "batch-independence": "an utterance alone against among longer ones, over HTTP",
    "base-install": "a clean virtual environment with the base only: size, no torch, serves",
    "paper-recipe": "preset `paper` on CASIA: SupCon, augmentation, controls, three seeds (trains for half an hour)",
    "train-tiny": "make train-tiny, timed with an empty cache",
    "resume": "kill -9 and --resume against a run left alone",
    "distributed": "gradients of two processes against one, SupCon included",
    "speech": "character error rate and time against faster-whisper's own greedy transcribe",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; return 0 where every floor holds, 1 where one does not, 2 on an error."""
    options = _parser().parse_args(arguments)
    progress = Console(stderr=True)
    workbench = Workbench(bundle=options.bundle, data=options.data, cache=options.cache, console=progress)
    names = list(SHOWS) if options.name == "all" else [options.name]
    held = True
    for name in names:
        try:
            report = measure(name, workbench)
        except VcemoError as error:
            progress.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
            return 2
        held = held and report.holds
        if options.json:
            Console().print_json(data=report.to_json())
        else:
            print_report(report, Console(width=max(Console().width, 100)))
    return 0 if held else 1


def measure(name: str, workbench: Workbench) -> Report:
    """Run one of :data:`SHOWS`."""
    module = importlib.import_module(f"bench.shows.{name.replace('-', '_')}")
    report: Report = module.measure(workbench)
    return report


def _parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {name:20} {what}" for name, what in SHOWS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure what the project claims. Exit code 1 where a floor does not hold.",
        epilog=f"figures:\n{listing}\n  {'all':20} each of them",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shows = commands.add_parser(
        "shows",
        help="measure one claim, or all",
        epilog=parser.epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shows.add_argument("name", choices=[*SHOWS, "all"], metavar="NAME", help="one of the figures below")
    shows.add_argument("--json", action="store_true", help="print JSON")
    shows.add_argument("--bundle", type=Path, default=Path("artifacts/vcemo-whisper-zh"), help="default %(default)s")
    shows.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("VCEMO_DATA", "../shared/data")),
        help="folder of the corpora (now %(default)s)",
    )
    shows.add_argument("--cache", type=Path, default=default_cache(), help="cache folder (now %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
