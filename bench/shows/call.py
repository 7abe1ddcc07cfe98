"""A call of ten minutes on two channels, every turn of it known: segments, roles, summary, as a job, streamed."""

import asyncio
import io
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import httpx
import numpy as np
import soundfile

from bench.figures import Figure, Report
from bench.serving.call import ROLES, Call, Turn, composed
from bench.serving.live_call import streamed
from bench.serving.server import service_command, started
from bench.workbench import Workbench
from model.labels import VALENCE

_NEAR_MS: Final = 300
_SAME_MS: Final = 100
"""Three windows of voice activity."""
_POLL_SECONDS: Final = 0.2


def measure(workbench: Workbench) -> Report:
    """Post the call three ways: as it is, without adaptation, and as a job; and stream it in real time."""
    call = composed(workbench)
    with (
        tempfile.TemporaryDirectory() as folder,
        started("ours", _command(workbench, folder), ready_path="/health/ready") as server,
        httpx.Client(base_url=server.url, timeout=900, trust_env=False) as client,
    ):
        answer, seconds = _posted(client, call)
        alone, _ = _posted(client, call, adapt="false")
        by_job, job_seconds = done_job(client, call)
        live, _ = asyncio.run(streamed(server.url, _as_frames(call)))
    acted = [turn for turn in call.turns if turn.emotion is not None]
    found = {id(turn): _segments_of(turn, answer) for turn in call.turns}
    return Report(
        title=f"A call of {call.duration_ms // 60_000} minutes, two channels, 8 kHz mu-law: {len(call.turns)} turns",
        figures=[
            *_time_figures("acted", acted, found, floor=_NEAR_MS),
            *_time_figures("spontaneous", [turn for turn in call.turns if turn.emotion is None], found, floor=None),
            Figure(name="turns with the role of who speaks", value=_right_roles(call, answer), floor=0.97),
            *_summary_figures(answer),
            *_interruption_figures(call, answer),
            Figure(name="acted turns labelled as acted, adapted", value=_accuracy(acted, answer)),
            Figure(name="acted turns labelled as acted, each alone", value=_accuracy(acted, alone)),
            Figure(
                name="job: segments with the label of the request's",
                value=_agreeing(answer["segments"], by_job["segments"]),
                floor=0.98,
            ),
            Figure(
                name="streamed in real time: segments with the label of the request's",
                value=_agreeing(answer["segments"], [one.segment for one in live]),
                floor=0.98,
            ),
            Figure(name="request: times real time", value=call.duration_ms / 1000 / seconds),
            Figure(name="job: times real time", value=call.duration_ms / 1000 / job_seconds),
        ],
        settings={
            "turns": f"clips of two CASIA speakers and spontaneous ones, cut to where they are loud; {ROLES}",
            "spontaneous": "of 30 clips those of at most 20 s whose loud part and transcript, aligned by Whisper's "
            "attention, begin and end within 150 ms of each other: when others are spoken is not known",
            "by hand": "the summary counted again millisecond by millisecond, in this program, from the segments",
        },
        remarks=[
            *_missed([turn for turn in call.turns if not found[id(turn)]], call),
            "the labels say nothing of strangers: the bundle was trained on these speakers",
        ],
    )


def done_job(client: httpx.Client, call: Call) -> tuple[dict[str, Any], float]:
    """Submit a call as a job and wait for its answer; return it and the seconds."""
    began = time.perf_counter()
    url = submitted(client, call)
    while (job := client.get(url).json())["status"] in ("queued", "running"):
        time.sleep(_POLL_SECONDS)
    seconds = time.perf_counter() - began
    answer: dict[str, Any] = client.get(job["links"]["result"]).raise_for_status().json()
    return answer, seconds


def submitted(client: httpx.Client, call: Call) -> str:
    """Submit a call as a job; return where to ask for it."""
    headers = {"Content-Type": "audio/wav"}
    answer = client.post("/v1/jobs", params=_roles(), content=call.audio, headers=headers)
    return str(answer.raise_for_status().headers["location"])


def unlike(one: dict[str, Any], other: dict[str, Any]) -> int:
    """Return how many segments of two answers differ in time, text or label, or are in one of them only."""
    first, second = (
        {each["id"]: (each["end_ms"], each["text"], each["emotion"]) for each in answer["segments"]}
        for answer in (one, other)
    )
    return sum(first.get(name) != second.get(name) for name in first.keys() | second.keys())


def _missed(turns: Sequence[Turn], call: Call) -> Iterator[str]:
    samples, sample_rate_hz = soundfile.read(io.BytesIO(call.audio))
    for turn in turns:
        spoken = samples[turn.start_ms * sample_rate_hz // 1000 : turn.end_ms * sample_rate_hz // 1000, turn.channel]
        loudest = np.abs(spoken).max()
        yield f"not found: {turn.start_ms} to {turn.end_ms} ms, loudest sample {loudest:.3f} of full scale"


def _as_frames(call: Call) -> bytes:
    """Write the call as live calls are sent."""
    samples, _ = soundfile.read(io.BytesIO(call.audio), dtype="int16")
    frames: bytes = samples.tobytes()
    return frames


def _agreeing(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> float:
    """Share of segments for which there is another of the same side and label, at the same time; of who has more."""
    found = [
        any(
            (mine["channel"], mine["emotion"]) == (each["channel"], each["emotion"])
            and max(abs(mine[edge] - each[edge]) for edge in ("start_ms", "end_ms")) <= _SAME_MS
            for each in other
        )
        for mine in one
    ]
    return sum(found) / max(len(one), len(other))


def _posted(client: httpx.Client, call: Call, **options: str) -> tuple[dict[str, Any], float]:
    began = time.perf_counter()
    headers = {"Content-Type": "audio/wav"}
    answer = client.post("/predict", params=_roles() | options, content=call.audio, headers=headers)
    document: dict[str, Any] = answer.raise_for_status().json()
    return document, time.perf_counter() - began


def _command(workbench: Workbench, folder: str) -> list[str]:
    options = ("--state-folder", folder, "--request-timeout-seconds", "600")
    return service_command(workbench.bundle, workbench.cache, *options)


def _roles() -> dict[str, str]:
    return {"channel_roles": ",".join(ROLES)}


def _segments_of(turn: Turn, answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        each
        for each in answer["segments"]
        if each["channel"] == turn.channel and each["start_ms"] < turn.end_ms and each["end_ms"] > turn.start_ms
    ]


def _time_figures(
    name: str, turns: Sequence[Turn], found: dict[int, list[dict[str, Any]]], *, floor: float | None
) -> list[Figure]:
    one = [(turn, found[id(turn)]) for turn in turns if found[id(turn)]]
    starts = [abs(segments[0]["start_ms"] - turn.start_ms) for turn, segments in one]
    ends = [abs(segments[-1]["end_ms"] - turn.end_ms) for turn, segments in one]
    near = np.mean([start <= _NEAR_MS and end <= _NEAR_MS for start, end in zip(starts, ends, strict=True)])
    single = sum(len(segments) == 1 for _, segments in one) / len(turns)
    p95 = {"start": float(np.quantile(starts, 0.95)), "end": float(np.quantile(ends, 0.95))}
    return [
        Figure(name=f"{name} turns ({len(turns)}): found as one segment each", value=single),
        Figure(name=f"{name}: of which nothing was found", value=len(turns) - len(one), better="lower"),
        Figure(name=f"{name}: both times within {_NEAR_MS} ms, of those found", value=float(near)),
        *(
            Figure(name=f"{name}: {edge}, error in ms, 95 % within", value=value, floor=floor, better="lower")
            for edge, value in p95.items()
        ),
        Figure(name=f"{name}: largest error in ms", value=max(*starts, *ends), floor=floor, better="lower"),
    ]


def _right_roles(call: Call, answer: dict[str, Any]) -> float:
    """Share of turns whose role is that of the segment, of either side, that they share the most time with."""
    found = [max(answer["segments"], key=lambda each: _shared_ms(turn, each)) for turn in call.turns]
    right = [each["role"] == ROLES[turn.channel] for turn, each in zip(call.turns, found, strict=True)]
    return float(np.mean(right))


def _shared_ms(turn: Turn, segment: dict[str, Any]) -> int:
    return int(min(turn.end_ms, segment["end_ms"]) - max(turn.start_ms, segment["start_ms"]))


def _accuracy(turns: Sequence[Turn], answer: dict[str, Any]) -> float:
    labels = [[each["emotion"] for each in _segments_of(turn, answer)] for turn in turns]
    return sum(turn.emotion in found for turn, found in zip(turns, labels, strict=True)) / len(turns)


def _leaves(document: Any, where: str = "") -> dict[str, Any]:
    if isinstance(document, dict):
        inner = document.items()
    elif isinstance(document, list):
        inner = enumerate(document)  # type: ignore[assignment]
    else:
        return {where: document}
    return {name: leaf for key, value in inner for name, leaf in _leaves(value, f"{where}/{key}").items()}


def _summary_figures(answer: dict[str, Any]) -> list[Figure]:
    given, by_hand = _leaves(_comparable(answer["summary"])), _leaves(_counted_by_hand(answer))
    assert given.keys() == by_hand.keys(), given.keys() ^ by_hand.keys()
    whole = [name for name, value in given.items() if not isinstance(value, float)]
    shares = [abs(value - by_hand[name]) for name, value in given.items() if isinstance(value, float)]
    wrong = [name for name in whole if given[name] != by_hand[name]]
    assert not wrong, [(name, given[name], by_hand[name]) for name in wrong]
    return [
        Figure(
            name=f"summary: times and counts unlike those by hand, of {len(whole)}",
            value=len(wrong),
            floor=0,
            better="lower",
        ),
        Figure(
            name=f"summary: largest difference of {len(shares)} shares", value=max(shares), floor=2e-6, better="lower"
        ),
    ]


def _comparable(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary without what is copied from segments, and with whole scores as numbers like the others."""
    roles = [
        {name: value for name, value in role.items() if name not in ("strongest", "sentiment")}
        | {"score": role["sentiment"]["score"], "strongest": [one["segment_id"] for one in role["strongest"]]}
        for role in summary["roles"]
    ]
    return summary | {"roles": roles}


def _counted_by_hand(answer: dict[str, Any]) -> dict[str, Any]:
    """Count every millisecond: who speaks, how they feel, and what follows from it."""
    duration = answer["audio"]["duration_ms"]
    spoken = [each for each in answer["segments"] if each["status"] != "no_speech"]
    labels = sorted(VALENCE)
    speaks = np.zeros((len(ROLES), duration), bool)
    feels = np.zeros((len(ROLES), duration, len(labels)))
    for each in spoken:
        span = slice(each["start_ms"], each["end_ms"])
        speaks[each["channel"], span] = True
        feels[each["channel"], span] = [each["probabilities"][label] for label in labels]
    valence = np.array([VALENCE[label] for label in labels])
    return {
        "duration_ms": duration,
        "speech_ms": int(speaks.any(0).sum()),
        "silence_ms": int((~speaks.any(0)).sum()),
        "overlap_ms": int(speaks.all(0).sum()),
        "roles": [
            _role_by_hand(
                channel, [each for each in spoken if each["channel"] == channel], speaks, feels, labels, valence
            )
            | {"longest_turn_ms": _longest_turn_by_hand(spoken, channel)}
            for channel in range(len(ROLES))
        ],
    }


def _role_by_hand(
    channel: int, own: Sequence[dict[str, Any]], speaks: Any, feels: Any, labels: Sequence[str], valence: Any
) -> dict[str, Any]:
    mine, other = speaks[channel], speaks[1 - channel]
    emotions = feels[channel][mine].mean(0)
    quarters = [feels[channel][part][mine[part]] @ valence for part in _quarters(len(mine))]
    scores = [float(quarter.mean()) if len(quarter) else None for quarter in quarters]
    heard = [score for score in scores if score is not None]
    moved = sorted((each for each in own if each["emotion"] != "neutral"), key=lambda each: -each["confidence"])
    return {
        "channel": channel,
        "role": ROLES[channel],
        "judged": True,
        "utterances": len(own),
        "talk_ms": int(mine.sum()),
        "talk_share": float(mine.sum() / speaks.sum()),
        "emotions": dict(zip(labels, emotions.tolist(), strict=True)),
        "score": float(emotions @ valence),
        "sentiment_by_quarter": scores,
        "shift": heard[-1] - heard[0],
        "strongest": [each["id"] for each in moved[:3]],
        "interruptions": [
            each["start_ms"] for each in own if other[max(0, each["start_ms"] - 501) : each["start_ms"] + 201].all()
        ],
    }


def _quarters(duration: int) -> list[slice]:
    return [slice(duration * number // 4, duration * (number + 1) // 4) for number in range(4)]


def _longest_turn_by_hand(spoken: Sequence[dict[str, Any]], channel: int) -> int:
    in_order = sorted(spoken, key=lambda each: (each["start_ms"], each["channel"]))
    turns = [list(turn) for who, turn in groupby(in_order, key=lambda each: each["channel"]) if who == channel]
    return int(max(sum(each["end_ms"] - each["start_ms"] for each in turn) for turn in turns))


def _interruption_figures(call: Call, answer: dict[str, Any]) -> list[Figure]:
    found = [(role["channel"], start) for role in answer["summary"]["roles"] for start in role["interruptions"]]
    placed = [(turn.channel, turn.start_ms) for turn in call.turns if turn.interrupts]
    met = sum(any(who == channel and abs(at - start) <= _NEAR_MS for who, at in found) for channel, start in placed)
    return [
        Figure(name=f"interruptions found, of {len(placed)} placed", value=met, floor=len(placed)),
        Figure(name="interruptions found that were not placed", value=len(found) - met, better="lower"),
    ]
