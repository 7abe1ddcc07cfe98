"""Score an archive of recordings: ``python -m training.archive FOLDER|MANIFEST --out DIR``.

Ray Data hands recordings to workers on this machine, or on every machine of a Ray cluster. It is imported here alone.
"""

import argparse
import csv
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.assets import default_cache
from model.bundle import read_facts
from model.errors import CorpusError, VcemoError
from model.processors import usable_processors
from training.archive_results import FAILED, FAILED_LIST, RESULTS, claim, forget_failed, keys_of, write_failed_list
from training.archive_scorer import Scorer, ScorerSettings

SUFFIXES: Final = frozenset(
    f".{name}"
    for name in (
        *("wav", "flac", "ogg", "oga", "opus", "mp3", "m4a", "aac", "mp4", "webm"),
        *("mkv", "amr", "wma", "aif", "aiff", "au", "gsm", "3gp", "caf"),
    )
)
"""What counts as a recording in a folder."""
_RECORDINGS_AT_A_TIME: Final = 8
_OBJECT_STORE_BYTES: Final = 128 * 1024 * 1024
"""Only names travel through it."""
_EXAMPLES: Final = """\
examples:
  python -m training.archive ~/calls --out scored
  python -m training.archive calls.jsonl --out scored --workers 4
  python -m training.archive /shared/calls --out /shared/scored --address auto --workers 64    on a Ray cluster

Results are Parquet below OUT/results, a row a recording, utterances nested; what could not be used is below OUT/failed,
and in OUT/failed.jsonl with its reason. Stopped or killed, the same command goes on with what is missing; when all is
there it does nothing. --retry-failed tries those again. On a cluster every machine has to see the recordings, OUT, the
bundle and the cache under the same paths. A manifest has a column audio (or file), relative to itself, and perhaps key.

exit codes: 0 every recording has a result; 1 some could not be used, and are listed; 2 an error.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A recording to be scored."""

    key: str
    file: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        return _archive(options, console)
    except (VcemoError, OSError) as error:
        console.print(f"error: {error}", style="red")
        return 2


def items_of(source: Path) -> list[Item]:
    """List the recordings below a folder, or those of a manifest, whether or not they can be read.

    Raises:
        CorpusError: there are none, or two have one key.
    """
    found = list(_of_folder(source) if source.is_dir() else _of_manifest(source))
    if not found:
        raise CorpusError(f"{source} holds no recordings", value=str(source))
    (key, times), *_ = Counter(item.key for item in found).most_common(1)
    if times > 1:
        raise CorpusError(f"two recordings have the key {key!r}", value=key)
    return found


def _archive(options: argparse.Namespace, console: Console) -> int:
    items = items_of(options.source)
    out: Path = options.out.absolute()
    bundle: Path = options.bundle.absolute()
    read_facts(bundle)
    claim(out, bundle)
    if options.retry_failed:
        forget_failed(out)
    done = {*keys_of(out, RESULTS), *keys_of(out, FAILED)}
    missing = [item for item in items if item.key not in done]
    console.print(f"{len(items)} recordings, {len(items) - len(missing)} of them done already")
    if missing:
        workers = options.workers or max(1, usable_processors() // options.threads)
        settings = ScorerSettings(
            bundle=bundle,
            cache=options.cache.absolute(),
            out=out,
            threads=options.threads,
            max_seconds=options.max_seconds,
            with_text=not options.no_text,
        )
        with _progress(console) as progress:
            _score(missing, settings, workers=workers, address=options.address, progress=progress)
    return _summary(items, out, console)


def _score(
    missing: Sequence[Item], settings: ScorerSettings, *, workers: int, address: str | None, progress: Progress
) -> None:
    # Nothing is told to anybody about who uses it how.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # The workers run in the environment that this runs in.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    import ray
    import ray.data

    if address:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            num_cpus=workers + 1,
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    task = progress.add_task("scoring", total=len(missing))
    try:
        rows = [{"key": item.key, "file": item.file} for item in missing]
        # A block is what a worker takes at a time, and what is done again where it dies.
        dataset = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // _RECORDINGS_AT_A_TIME)).map_batches(
            Scorer,
            fn_constructor_args=(settings,),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=-1,
        )
        for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
            progress.advance(task, len(batch["key"]))
            if not progress.console.is_terminal:
                progress.console.print(f"scored {progress.tasks[task].completed:.0f} of {len(missing)}")
    finally:
        ray.shutdown()


def _summary(items: Sequence[Item], out: Path, console: Console) -> int:
    """Say what is there, and make sure that it is everything, once."""
    results = Counter(keys_of(out, RESULTS))
    failed = write_failed_list(out)
    found = results + Counter(row["key"] for row in failed)
    missing = [item.key for item in items if not found[item.key]]
    twice = [key for key, times in found.items() if times > 1]
    if missing or twice:
        raise CorpusError(
            f"{len(missing)} recordings have no result and {len(twice)} have several: {[*missing, *twice][:5]}",
            value=len(missing),
        )
    wanted = {item.key for item in items}
    unusable = [row for row in failed if row["key"] in wanted]
    console.print(f"{len(items) - len(unusable)} results in {out / RESULTS}")
    for code, count in Counter(row["code"] for row in unusable).most_common():
        console.print(f"failed: {count} {code}")
    if unusable:
        console.print(f"each is in {out / FAILED_LIST}")
    return 1 if unusable else 0


def _of_folder(folder: Path) -> Iterator[Item]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix.lower() in SUFFIXES:
            yield Item(key=path.relative_to(folder).as_posix(), file=str(path.absolute()))


def _of_manifest(manifest: Path) -> Iterator[Item]:
    try:
        text = manifest.read_text(encoding="utf-8-sig")
        is_table = manifest.suffix.lower() == ".csv"
        lines = text.splitlines()
        rows = list(csv.DictReader(lines)) if is_table else [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise CorpusError(f"{manifest} is neither a folder nor a manifest: {error}", value=str(manifest)) from error
    for number, row in enumerate(rows, start=1):
        audio = isinstance(row, dict) and (row.get("audio") or row.get("file"))
        if not audio:
            raise CorpusError(f"{manifest}: row {number} names no audio file", value=number)
        yield Item(key=str(row.get("key") or audio), file=str((manifest.parent / audio).absolute()))


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.archive",
        description="Score a folder or a manifest of recordings with many workers; resumable, Parquet out.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, metavar="FOLDER|MANIFEST", help="a folder, or a .jsonl or .csv")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--workers", type=int, default=0, help="default: as many as processors; about 1 GB each")
    parser.add_argument("--threads", type=int, default=1, help="threads of each worker (default %(default)s)")
    parser.add_argument("--address", help="Ray cluster, such as auto; default: this machine alone")
    parser.add_argument("--retry-failed", action="store_true", help="try again what failed before")
    parser.add_argument("--no-text", action="store_true", help="leave transcripts out")
    parser.add_argument("--max-seconds", type=float, default=7200.0, help="longest recording (default %(default)s)")
    parser.add_argument(
        "--bundle", type=Path, default=Path("artifacts/vcemo-whisper-zh"), help="bundle (default %(default)s)"
    )
    parser.add_argument("--cache", type=Path, default=default_cache(), help="cache folder (now %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
