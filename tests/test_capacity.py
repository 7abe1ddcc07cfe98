"""The simulation of a replica against what queueing theory knows, and the fleet that follows."""

import json

import numpy as np
import pytest

from bench.__main__ import main
from bench.serving.capacity import (
    ReplicaShape,
    StageCosts,
    greatest_rate,
    simulate_closed,
    simulate_open,
)
from bench.serving.fleet import Calls, Prices, fleet_for
from model.speech import SpeechConfig

WORK_SECONDS = 0.2


def costs(*, shared: float = 0.0, beside: float = 0.0) -> StageCosts:
    return StageCosts(
        seconds=(1.0, 16.0),
        loop=(0.0, 0.0),
        stages={"lower_layers": (beside, beside)} if beside else {},
        recognition=(WORK_SECONDS, WORK_SECONDS),
        shared=shared,
    )


def shape(*, processors: int = 1, max_batch_size: int = 1) -> ReplicaShape:
    return ReplicaShape(processors=processors, max_batch_size=max_batch_size, speech=SpeechConfig())


def test_a_lone_server_waits_as_long_as_theory_says() -> None:
    # M/D/1: mean wait = load x work / (2 (1 - load)).
    load = 0.7
    found = simulate_open(costs(), shape(), seconds_of=[2.0] * 8_000, per_second=load / WORK_SECONDS)

    expected_ms = 1000 * (WORK_SECONDS + load * WORK_SECONDS / (2 * (1 - load)))

    assert np.mean(found.latencies_ms) == pytest.approx(expected_ms, rel=0.08)
    assert found.busy == pytest.approx(load, rel=0.03)


def test_callers_in_a_closed_loop_keep_every_processor_busy() -> None:
    found = simulate_closed(costs(), shape(processors=2), seconds_of=[2.0] * 200, callers=8)

    assert found.throughput == pytest.approx(2 / WORK_SECONDS, rel=0.02)
    assert found.busy == pytest.approx(1.0, rel=0.02)
    # Little: callers = rate x time.
    assert found.throughput * np.mean(found.latencies_ms) / 1000 == pytest.approx(8, rel=0.05)


def test_batches_pay_what_is_shared_once() -> None:
    alone = simulate_closed(costs(shared=0.5), shape(), seconds_of=[2.0] * 160, callers=16)
    together = simulate_closed(costs(shared=0.5), shape(max_batch_size=8), seconds_of=[2.0] * 160, callers=16)

    assert alone.mean_batch_size == 1
    assert together.mean_batch_size > 6
    assert together.throughput / alone.throughput == pytest.approx(8 / (0.5 + 0.5 * 8), rel=0.1)


def test_utterances_of_another_bucket_share_no_batch() -> None:
    mixed, alike = (
        simulate_closed(costs(shared=0.5), shape(max_batch_size=8), seconds_of=lengths, callers=8)
        for lengths in ([2.0, 14.0] * 80, [2.0] * 160)
    )

    assert 1 < mixed.mean_batch_size < alike.mean_batch_size
    assert mixed.throughput < alike.throughput


def test_work_beside_recognition_shares_the_processors_with_it() -> None:
    one = simulate_open(costs(beside=WORK_SECONDS), shape(processors=1), seconds_of=[2.0] * 20, per_second=0.1)
    two = simulate_open(costs(beside=WORK_SECONDS), shape(processors=2), seconds_of=[2.0] * 20, per_second=0.1)

    assert one.latency_ms(50) == pytest.approx(2000 * WORK_SECONDS, rel=0.05)
    assert two.latency_ms(50) == pytest.approx(1000 * WORK_SECONDS, rel=0.05)


def test_the_greatest_rate_keeps_the_promise_and_a_greater_one_does_not() -> None:
    lengths, target_ms = [2.0] * 400, 600.0

    rate = greatest_rate(costs(), shape(), seconds_of=lengths, target_p95_ms=target_ms)

    assert 0 < rate < 1 / WORK_SECONDS
    kept, broken = (
        simulate_open(costs(), shape(), seconds_of=lengths, per_second=factor * rate).latency_ms(95)
        for factor in (1.0, 1.1)
    )
    assert kept <= target_ms < broken


def test_costs_between_measured_lengths_are_interpolated() -> None:
    measured = StageCosts(
        seconds=(2.0, 4.0), loop=(0.1, 0.1), stages={"vad": (0.0, 0.2)}, recognition=(1.0, 2.0), shared=0.5
    )

    assert measured.of_batch(3.0, 1) == pytest.approx(1.5)
    assert measured.of_batch(3.0, 4) == pytest.approx(1.5 * 2.5)
    assert measured.of_utterance(3.0) == pytest.approx(0.1 + 0.1 + 1.5)


def test_utterances_of_a_call_have_the_lengths_that_are_assumed() -> None:
    calls = Calls()
    drawn = calls.lengths(5000)

    assert np.mean(drawn) == pytest.approx(calls.mean_utterance_seconds, rel=0.05)
    assert (min(drawn), max(drawn)) == (calls.shortest_seconds, calls.longest_seconds)
    assert drawn == calls.lengths(5000)
    assert calls.utterances_per_second * calls.mean_utterance_seconds == pytest.approx(calls.speech_share)


@pytest.mark.parametrize(("calls", "replicas", "gpus"), [(1, 2, 2), (10, 2, 2), (1000, 130, 13)])
def test_a_fleet_has_its_spare_and_never_one_replica_alone(calls: int, replicas: int, gpus: int) -> None:
    prices = Prices(dollars_per_processor_hour=0.05, dollars_per_gpu_hour=1.0, gpu_times=10, spare=0.3)

    found = fleet_for(calls, calls_per_replica=10, processors_per_replica=2, prices=prices)

    assert (found.replicas, found.gpus) == (replicas, gpus)
    assert found.dollars_per_hour == pytest.approx(replicas * 2 * 0.05)
    assert found.gpu_dollars_per_hour == pytest.approx(gpus * 1.0)


def test_a_fleet_is_priced_by_ones_own_prices(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["capacity", "--calls", "1000", "--calls-per-replica", "10", "--dollars-per-processor-hour", "0.1"]

    assert main([*arguments, "--spare", "0.5", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["replicas"], found["processors"]) == (150, 300)
    assert found["dollars_per_hour"] == pytest.approx(30)

    with pytest.raises(SystemExit):
        main([*arguments, "--gpu-times", "-1"])
    assert "-1 is not a number above zero" in capsys.readouterr().err
