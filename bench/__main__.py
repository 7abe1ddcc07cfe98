"""Every measurement: ``python -m bench shows NAME``, ``serve``, ``compare``, ``scaling`` and ``capacity``."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final

from rich.console import Console

from bench.figures import Report, print_report
from bench.workbench import Workbench
from model.assets import default_cache
from model.errors import VcemoError
from model.processors import one_blas_thread

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
    "throughput": "our service beside a plain one with faster-whisper's defaults, and greedy (a quarter of an hour)",
    "load": "latency at half of saturation, and the processor time that is not Whisper's (minutes)",
    "long-recording": "ten minutes of speech in one upload: speed and memory",
    "call": "a call of ten minutes, every turn known: times, roles, the summary by hand, as a job, live (long)",
    "job-restart": "kill -9 in the middle of a job, and what a busy job costs whoever asks meanwhile (minutes)",
    "job-hour": "an hour of a call as a job: speed, memory, and what is left on the disk (ten minutes)",
    "live": "four live calls at once in real time: from the end of speech to its label; against uploads (minutes)",
    "stream-restart": "kill -9 in the middle of a live call, twice: what is lost, and what comes twice (minutes)",
    "start-up": "seconds from the command to ready, median of five",
    "life-cycle": "kill -TERM and other bundles under load, 20 times each: requests lost, errors (minutes)",
    "retrain": "200 corrected labels to a promoted bundle under load, and a worse one refused (minutes)",
    "archive": "900 recordings over two workers, one of them killed; then again (minutes)",
    "bombs": "hostile recordings over HTTP: how soon each is refused, and what they leave in memory",
    "soak": "memory, open files and threads over 5,000 requests (ten minutes)",
    "hostile": "ten thousand hostile requests among a thousand good ones: answers, memory, files, threads (minutes)",
    "openapi": "a thousand requests to each operation, drawn from the OpenAPI document, with every check",
    "dashboard": "the dashboard in Chromium: pictures to build/dashboard/, axe-core, policy, phones (minutes)",
    "image": "the Dockerfile's steps in a clean root, to a confined service that answers (root; many minutes)",
    "validators": "what hadolint, promtool and the schemas of Kubernetes say of all that deploys the service",
    "dashboard-queries": "every query of the dashboard and the alerts, in a real Prometheus, the service under load",
    "capacity": "replicas and money for 10 to 100,000 calls: stages measured, a replica simulated (minutes)",
    "overload": "four times more callers than can be answered: goodput, and how soon the rest hear no (minutes)",
}


_EXAMPLES: Final = """\
examples:
  python -m bench shows fusion                             one claim, beside its floor and goal
  python -m bench serve --concurrency 1 4 16               our service under load
  python -m bench serve --concurrency --rate 4 8           arrivals that do not wait (Poisson), 4 and 8 a second
  python -m bench compare --openai http://localhost:9000   beside what a user would run otherwise
  python -m bench scaling --plot scaling.png
  python -m bench capacity --calls-per-replica 10 --dollars-per-processor-hour 0.03   your prices
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; return 0 where every floor holds, 1 where one does not, 2 on an error."""
    options = _parser().parse_args(arguments)
    progress = Console(stderr=True)
    one_blas_thread()
    workbench = Workbench(bundle=options.bundle, data=options.data, cache=options.cache, console=progress)
    commands = {"shows": _shows, "serve": _serve, "compare": _compare, "scaling": _scaling, "capacity": _capacity}
    try:
        return commands[options.command](options, workbench)
    except VcemoError as error:
        progress.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 2


def measure(name: str, workbench: Workbench) -> Report:
    """Run one of :data:`SHOWS`."""
    module = importlib.import_module(f"bench.shows.{name.replace('-', '_')}")
    report: Report = module.measure(workbench)
    return report


def _shows(options: argparse.Namespace, workbench: Workbench) -> int:
    names = list(SHOWS) if options.name == "all" else [options.name]
    held = True
    for name in names:
        report = measure(name, workbench)
        held = held and report.holds
        _print(report, options)
    return 0 if held else 1


# Imported where they are run: the drawing library and the servers' parts are not needed for a figure.
def _serve(options: argparse.Namespace, workbench: Workbench) -> int:
    from bench.serving import serve

    plan = serve.ServePlan(
        corpus=options.corpus,
        concurrency=options.concurrency,
        requests_per_second=options.rate,
        requests=options.requests,
        options=options.option,
    )
    found = serve.serve(plan, workbench)
    if options.json:
        Console().print_json(data=serve.to_json(plan, found))
    else:
        serve.print_observations(plan, found, _wide())
    if options.plot:
        serve.save_plot(found, options.plot)
    return 0


def _compare(options: argparse.Namespace, workbench: Workbench) -> int:
    from bench.serving.compare import ComparePlan, compare

    plan = ComparePlan(
        corpus=options.corpus,
        concurrency=options.concurrency,
        requests=options.requests,
        rounds=options.rounds,
        openai_urls=options.openai,
    )
    report = compare(plan, workbench)
    _print(report, options)
    return 0 if report.holds else 1


def _scaling(options: argparse.Namespace, workbench: Workbench) -> int:
    from bench.serving import scaling

    series = scaling.scaling(workbench)
    if options.json:
        Console().print_json(data=scaling.to_json(series))
    else:
        scaling.print_series(series, _wide())
    if options.plot:
        scaling.save_plot(series, options.plot)
    return 0


def _capacity(options: argparse.Namespace, _: Workbench) -> int:
    from bench.serving.fleet import NUMBERS_OF_CALLS, Prices, fleet_for

    prices = Prices(
        dollars_per_processor_hour=options.dollars_per_processor_hour,
        dollars_per_gpu_hour=options.dollars_per_gpu_hour,
        gpu_times=options.gpu_times,
        spare=options.spare,
    )
    fleets = [
        fleet_for(
            calls,
            calls_per_replica=options.calls_per_replica,
            processors_per_replica=options.processors_per_replica,
            prices=prices,
        )
        for calls in options.calls or NUMBERS_OF_CALLS
    ]
    if options.json:
        Console().print_json(data=[asdict(fleet) for fleet in fleets])
    else:
        for fleet in fleets:
            _wide().print(str(fleet), highlight=False, soft_wrap=True)
    return 0


def _print(report: Report, options: argparse.Namespace) -> None:
    if options.json:
        Console().print_json(data=report.to_json())
    else:
        print_report(report, _wide())


def _wide() -> Console:
    return Console(width=max(Console().width, 100))


def _parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {name:20} {what}" for name, what in SHOWS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure what the project claims. Exit code 1 where a floor does not hold.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shows = commands.add_parser(
        "shows",
        help="measure one claim, or all",
        epilog=f"figures:\n{listing}\n  {'all':20} each of them",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shows.add_argument("name", choices=[*SHOWS, "all"], metavar="NAME", help="one of the figures below")
    serve = commands.add_parser("serve", help="drive our service with real recordings")
    serve.add_argument("--corpus", default="casia", help="whose recordings (default %(default)s)")
    serve.add_argument(
        "--concurrency", type=_at_least_one, nargs="*", default=[1, 4, 16], help="callers at a time (default 1 4 16)"
    )
    serve.add_argument(
        "--rate", type=float, nargs="*", default=[], help="arrivals a second that do not wait for each other (Poisson)"
    )
    serve.add_argument("--requests", type=_at_least_one, default=96, help="of each level (default %(default)s)")
    serve.add_argument("--option", nargs="*", default=[], help="options of the service, as in --option=--threads=1")
    compare = commands.add_parser("compare", help="our service beside what a user would run otherwise, in turn")
    compare.add_argument("--corpus", default="casia", help="whose recordings (default %(default)s)")
    compare.add_argument("--concurrency", type=_at_least_one, default=16, help="callers (default %(default)s)")
    compare.add_argument("--requests", type=_at_least_one, default=48, help="of each round (default %(default)s)")
    compare.add_argument("--rounds", type=_at_least_one, default=5, help="turns of each (default %(default)s)")
    compare.add_argument(
        "--openai", nargs="*", default=[], metavar="URL", help="OpenAI-compatible transcription servers that run"
    )
    scaling = commands.add_parser("scaling", help="cost over utterance length, callers, recording length, threads")
    for drawn in (serve, scaling):
        drawn.add_argument("--plot", type=Path, metavar="FILE", help="save a plot")
    capacity = commands.add_parser("capacity", help="replicas, GPUs and money for calls, by what a replica carries")
    _add_prices(capacity)
    for each in (shows, serve, compare, scaling, capacity):
        _add_places(each)
    return parser


def _add_prices(parser: argparse.ArgumentParser) -> None:
    from bench.serving.fleet import Prices

    parser.add_argument("--calls", type=_at_least_one, nargs="*", help="at the same time (default 10 1000 100000)")
    parser.add_argument(
        "--calls-per-replica", type=_above_zero, required=True, help="as `shows capacity` measures on your machine"
    )
    parser.add_argument(
        "--processors-per-replica", type=_at_least_one, default=2, help="of that machine (default %(default)s)"
    )
    for field in fields(Prices):
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=_above_zero, default=field.default, help="default %(default)s")


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--bundle", type=Path, default=Path("artifacts/vcemo-whisper-zh"), help="default %(default)s")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("VCEMO_DATA", "../shared/data")),
        help="folder of the corpora (now %(default)s)",
    )
    parser.add_argument("--cache", type=Path, default=default_cache(), help="cache folder (now %(default)s)")


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{number:g} is not a number above zero")
    return number


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
