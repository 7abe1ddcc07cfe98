"""The command line of ``python -m training retrain``: options, and the exit codes that a schedule looks at."""

import argparse
import hashlib
from pathlib import Path
from typing import Final

from rich.console import Console

from model.bundle_store import BundleStore
from training.corpora.feedback import MANIFEST_FILE, prepare_feedback
from training.fine_tune import Sources
from training.retrain import Outcome, retrain
from training.retraining import Terms
from training.trial import Trial
from training.workshop import Workshop

EPILOG: Final = """\
What it does: takes the store's current bundle, goes on training it with new manifests and corrected labels, judges both
on the same fixed test sets, and promotes the new one only if it is better, interval included, and no slice (test set,
emotion, speaker) got worse. Services that follow the store serve it within seconds; `python -m model.bundles rollback`
takes it back. The card in the bundle says what changed. Run again with the same data it does nothing.

exit codes:
  0    promoted, now or by an earlier run with the same data; or the dry run ended
  1    an error; nothing was promoted
  2    the command line is wrong
  3    refused: not better with its interval, or worse on a slice
  4    fewer new labels than --least-new; nothing was trained
  5    the candidate agreed too rarely on live traffic, or was heard too little; withdrawn
  143  stopped by a signal; the next run goes on from there

examples:
  python -m training retrain --store bundles --feedback sqlite:////data/vcemo.sqlite3 --test fixed.jsonl --dry-run
  python -m training retrain --store s3://models/vcemo --manifest calls.jsonl --test fixed.jsonl --replay casia=0.5
  python -m training retrain --store bundles --feedback feedback --test fixed.jsonl --trial http://vcemo:8000
"""


def add_options(command: argparse.ArgumentParser) -> None:
    """Describe the options."""
    command.add_argument("--store", required=True, metavar="URL", help="bundle store: a folder or s3://BUCKET/PREFIX")
    command.add_argument(
        "--feedback", metavar="URL", help="database of corrected labels, or the folder `prepare feedback` wrote"
    )
    command.add_argument(
        "--feedback-times", type=float, default=1.0, help="how often an epoch shows each (default %(default)s)"
    )
    command.add_argument(
        "--manifest",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="new clips; rows with split test are a fixed test set; may be repeated",
    )
    command.add_argument(
        "--manifest-times", type=float, default=1.0, help="how often an epoch shows each (default %(default)s)"
    )
    command.add_argument(
        "--test", type=Path, action="append", default=[], metavar="FILE", help="fixed test set; may be repeated"
    )
    command.add_argument(
        "--replay",
        action="append",
        default=[],
        metavar="CORPUS=TIMES",
        help="corpus that the bundle learnt from, shown again so that it is not forgotten; may be repeated",
    )
    command.add_argument(
        "--least-new", type=int, default=50, help="fewer new labels train nothing (default %(default)s)"
    )
    command.add_argument(
        "--least-gain", type=float, default=0.0, help="the interval's lower end must exceed it (default %(default)s)"
    )
    command.add_argument(
        "--most-loss", type=float, default=0.1, help="more on any slice of 20 clips refuses (default %(default)s)"
    )
    command.add_argument(
        "--trial", action="append", default=[], metavar="URL", help="service that compares the candidate first"
    )
    command.add_argument(
        "--trial-utterances", type=int, default=200, help="live utterances to compare (default %(default)s)"
    )
    command.add_argument(
        "--least-agreement", type=float, default=0.6, help="share of them that must be alike (default %(default)s)"
    )
    command.add_argument("--trial-minutes", type=float, default=60.0, help="longest wait (default %(default)s)")
    command.add_argument("--dry-run", action="store_true", help="say what would be done; train and write nothing")


def run(options: argparse.Namespace, workshop: Workshop) -> Outcome:
    """Run the command; raises as :func:`training.retrain.retrain` does."""
    trial = None
    if options.trial:
        trial = Trial(
            urls=options.trial,
            utterances=options.trial_utterances,
            least_agreement=options.least_agreement,
            minutes=options.trial_minutes,
        )
    sources = Sources(
        replay=dict(_replayed(one) for one in options.replay),
        manifests=options.manifest,
        manifest_times=options.manifest_times,
        feedback=_feedback(options.feedback, workshop.cache) if options.feedback else None,
        feedback_times=options.feedback_times,
        tests=options.test,
    )
    terms = Terms(least_new=options.least_new, least_gain=options.least_gain, most_loss=options.most_loss, trial=trial)
    console = Console()
    if not console.is_terminal:
        console.width = 140
    return retrain(BundleStore(options.store), sources, workshop, terms=terms, dry_run=options.dry_run, out=console)


def _replayed(text: str) -> tuple[str, float]:
    name, _, times = text.rpartition("=") if "=" in text else (text, "", "")
    try:
        return name, float(times or 1)
    except ValueError as error:
        raise ValueError(f"--replay takes CORPUS=TIMES, such as casia=0.5; it is {text!r}") from error


def _feedback(given: str, cache: Path) -> Path:
    if (Path(given) / MANIFEST_FILE).is_file():
        return Path(given)
    folder = cache / "retrain" / f"feedback-{hashlib.sha256(given.encode()).hexdigest()[:12]}"
    prepare_feedback(given, folder)
    return folder
