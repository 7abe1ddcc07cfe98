"""``python -m bench compare``: our service beside what a user would run otherwise, in one run, in turn."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rapidfuzz.distance import Levenshtein

from bench.figures import Figure, Report
from bench.serving.corpus import recordings
from bench.serving.load import Answered, Load, Recorded, Send, closed_loop, send_predict, send_transcription
from bench.serving.server import service_command, started
from bench.workbench import Workbench
from model.script import bare

DEFAULTS: Final = "plain, defaults"
GREEDY: Final = "plain, greedy"
OURS: Final = "ours"
_WORKERS: Final = (1, 2, 4)
_FLOORS: Final = {DEFAULTS: (4.5, 6.0), GREEDY: (3.5, 5.0)}
_ALONE_FLOOR: Final = 0.35


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparePlan:
    """What is compared. openai_urls: OpenAI-compatible transcription servers that run already."""

    corpus: str = "casia"
    concurrency: int = 16
    requests: int = 48
    rounds: int = 5
    trial_requests: int = 24
    """Of each number of workers, to find a rival's best."""
    alone_requests: int = 24
    openai_urls: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rival:
    name: str
    url: str
    send: Send


def compare(plan: ComparePlan, workbench: Workbench) -> Report:
    """Find each rival's best number of workers, then let all take turns; return medians of the rounds' ratios."""
    drawn = recordings(workbench, plan.corpus, number=plan.requests)
    with ExitStack() as stack:
        workers = {name: _best_workers(name, plan, drawn, workbench) for name in _FLOORS}
        servers = [stack.enter_context(started(OURS, _ours(workbench), ready_path="/health/ready"))]
        for name, number in workers.items():
            server = started(name, _plain(name, number, workbench), ready_path="/health")
            servers.append(stack.enter_context(server))
        rivals = [_Rival(name=server.name, url=server.url, send=send_predict) for server in servers]
        rivals += [_Rival(name=url, url=url, send=send_transcription) for url in plan.openai_urls]
        for rival in rivals:
            _run(rival, drawn[: 2 * max(_WORKERS)], concurrency=2 * max(_WORKERS))
        busy = _rounds(plan.rounds, rivals, drawn, concurrency=plan.concurrency, workbench=workbench)
        alone = _rounds(plan.rounds, rivals, drawn[: plan.alone_requests], concurrency=1, workbench=workbench)
    return Report(
        title=f"Throughput and latency on {plan.corpus}, against what a user would run otherwise",
        figures=[*_throughput(busy), *_alone(alone), *_error_rates(busy), *_failures(busy)],
        settings=_settings(plan, workers),
    )


def _best_workers(name: str, plan: ComparePlan, drawn: Sequence[Recorded], workbench: Workbench) -> int:
    found: dict[int, float] = {}
    for number in _WORKERS:
        with started(name, _plain(name, number, workbench), ready_path="/health") as server:
            rival = _Rival(name=name, url=server.url, send=send_predict)
            _run(rival, drawn[: 2 * number], concurrency=2 * number)
            found[number] = _run(rival, drawn[: plan.trial_requests], concurrency=plan.concurrency).throughput
        workbench.console.print(f"{name}, {number} workers: {found[number]:.2f} answers/s", highlight=False)
    return max(found, key=found.__getitem__)


def _rounds(
    rounds: int, rivals: Sequence[_Rival], drawn: Sequence[Recorded], *, concurrency: int, workbench: Workbench
) -> dict[str, list[Load]]:
    loads: dict[str, list[Load]] = {rival.name: [] for rival in rivals}
    for number in range(rounds):
        # Each round begins with another, so that nobody always follows the same one.
        order = [*rivals[number % len(rivals) :], *rivals[: number % len(rivals)]]
        for rival in order:
            loads[rival.name].append(_run(rival, drawn, concurrency=concurrency))
        said = ", ".join(f"{name} {found[-1].throughput:.2f}" for name, found in loads.items())
        title = f"round {number + 1} of {rounds}, {concurrency} at a time"
        workbench.console.print(f"{title}: {said} answers/s", highlight=False)
    return loads


def _run(rival: _Rival, drawn: Sequence[Recorded], *, concurrency: int) -> Load:
    return asyncio.run(closed_loop(rival.url, drawn, send=rival.send, concurrency=concurrency))


def _throughput(loads: Mapping[str, Sequence[Load]]) -> list[Figure]:
    figures = [
        Figure(name=f"answers a second, {name}", value=float(np.median([load.throughput for load in found])))
        for name, found in loads.items()
    ]
    for name, found in loads.items():
        if name == OURS:
            continue
        pairs = zip(loads[OURS], found, strict=True)
        ratios = [our.throughput / their.throughput for our, their in pairs]
        floor, goal = _FLOORS.get(name, (None, None))
        figures.append(
            Figure(
                name=f"throughput, ours / {name}",
                value=float(np.median(ratios)),
                floor=floor,
                goal=goal,
                interval=(min(ratios), max(ratios)),
            )
        )
    return figures


def _alone(loads: Mapping[str, Sequence[Load]]) -> list[Figure]:
    medians = {name: [load.latency_ms(50) for load in found] for name, found in loads.items()}
    figures = [Figure(name=f"p50 alone, ms, {name}", value=float(np.median(found))) for name, found in medians.items()]
    for name in medians:
        if name == OURS:
            continue
        ratios = [our / their for our, their in zip(medians[OURS], medians[name], strict=True)]
        figures.append(
            Figure(
                name=f"p50 alone, ours / {name}",
                value=float(np.median(ratios)),
                floor=_ALONE_FLOOR if name == DEFAULTS else None,
                better="lower",
                interval=(min(ratios), max(ratios)),
            )
        )
    return figures


def _error_rates(loads: Mapping[str, Sequence[Load]]) -> list[Figure]:
    rates = {name: _error_rate([one for load in found for one in load.good]) for name, found in loads.items()}
    return [
        Figure(
            name=f"character error rate, {name}",
            value=rate,
            floor=rates[GREEDY] if name == OURS else None,
            better="lower",
        )
        for name, rate in rates.items()
    ]


def _error_rate(answers: Sequence[Answered]) -> float:
    wrong = length = 0
    for answer in answers:
        truth = bare(answer.recorded.text)
        wrong += Levenshtein.distance(truth, bare(text_of(answer.document)))
        length += len(truth)
    return wrong / length if length else float("nan")


def text_of(document: Any) -> str:
    """Return the text of an answer: ours, the plain service's, or OpenAI's."""
    if isinstance(document.get("transcript"), dict):
        return document["transcript"]["text"] or ""
    return str(document["text"])


def _bad(load: Load) -> int:
    return len(load.answers) - len(load.good)


def _failures(loads: Mapping[str, Sequence[Load]]) -> list[Figure]:
    """Return how many requests failed: a rival that fails is slower than it is, and the ratios mean nothing."""
    return [
        Figure(name=f"requests that failed, {name}", value=sum(map(_bad, found)), floor=0, better="lower")
        for name, found in loads.items()
    ]


def _settings(plan: ComparePlan, workers: Mapping[str, int]) -> dict[str, str]:
    same = "the same weights, int8, two threads, language zh, and the torch network on the same features"
    return {
        "all": f"{plan.requests} clips a round, {plan.rounds} rounds in turn, {plan.concurrency} at a time, then alone;"
        " intervals are the lowest and highest round",
        OURS: "python -m service, its defaults",
        DEFAULTS: f"faster-whisper's transcribe with its defaults, {same}; best of {_WORKERS} workers:"
        f" {workers[DEFAULTS]}",
        GREEDY: f"the same with beam size 1 and temperature 0; best of {_WORKERS} workers: {workers[GREEDY]}",
    }


def _ours(workbench: Workbench) -> list[str]:
    return service_command(workbench.bundle, workbench.cache)


def _plain(name: str, workers: int, workbench: Workbench) -> list[str]:
    command = [sys.executable, "-m", "bench.serving.plain_service", "--bundle", str(workbench.bundle.resolve())]
    command += ["--cache", str(workbench.cache.resolve()), "--workers", str(workers)]
    return [*command, "--greedy"] if name == GREEDY else command
