"""Each panel's query, run by a real Prometheus that scrapes the service while it works."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from bench.deployment.prometheus import MONITORING, Query, dashboard_queries, scraping
from bench.figures import Figure, Report
from bench.serving.corpus import recordings
from bench.serving.live_call import drawn_call, streamed
from bench.serving.load import Load, closed_loop, send_predict
from bench.serving.server import Server, free_port, service_command, started
from bench.workbench import Workbench

_CALLERS: Final = 2
_LOADED_SECONDS: Final = 30
_CALL_SECONDS: Final = 60.0
_WINDOW_SECONDS: Final = 20
"""What Grafana's $__rate_interval is here: with a scrape a second, more than enough."""


def measure(workbench: Workbench) -> Report:
    """Drive the service for half a minute, ask every query while it goes on, and look at the rules."""
    # With an admin port a SIGHUP reloads the bundle, which one panel counts.
    admin = ("--admin-port", str(free_port()), "--admin-key-sha256", "0" * 64)
    command = service_command(workbench.bundle, workbench.cache, *admin)
    queries = dashboard_queries()
    with (
        started("ours", command, ready_path="/health/ready") as server,
        scraping(server.url.removeprefix("http://")) as prometheus,
        _under_load(server, workbench) as loads,
    ):
        prometheus.wait_until_evaluated()
        server.process.send_signal(signal.SIGHUP)
        time.sleep(_LOADED_SECONDS)
        found = {query: prometheus.rows(query.runnable(window_seconds=_WINDOW_SECONDS)) for query in queries}
        missing = set().union(*(query.metrics for query in queries)) - prometheus.metric_names()
        unhealthy, firing, num_rules = prometheus.unhealthy_rules(), prometheus.firing(), prometheus.num_rules()
    empty = [query.title for query, rows in found.items() if not rows]
    stood_in = [query.title for query, rows in found.items() if query.has_stand_in and rows == [({}, 0.0)]]
    return Report(
        title="The dashboard's queries and the alert rules in a real Prometheus, the service under load",
        figures=[
            Figure(name="queries of panels", value=len(queries)),
            Figure(name="queries without data", value=len(empty), floor=0, better="lower"),
            Figure(name="of those with data, a zero that stands in for what has not happened", value=len(stood_in)),
            Figure(name="rules read", value=num_rules, floor=1),
            Figure(name="rules that cannot be evaluated", value=len(unhealthy), floor=0, better="lower"),
            Figure(name="alerts that fire or are about to", value=len(firing), floor=0, better="lower"),
            Figure(name="answers meanwhile", value=sum(len(load.good) for load in loads), floor=1),
        ],
        settings={
            "Prometheus": f"{MONITORING.name}/prometheus.yml, a scrape a second, one address in place of its discovery",
            "load": f"{_CALLERS} callers, CASIA, and a live call",
            "variables": f"$__rate_interval is {_WINDOW_SECONDS} s, $instance every one",
        },
        remarks=[
            *(_line(query, rows) for query, rows in found.items()),
            *(f"without data: {title}" for title in empty),
            *(f"zero stands in: {title}" for title in stood_in),
            f"not scraped, for nothing of the kind has happened: {', '.join(sorted(missing))}",
            *(f"fires: {name}" for name in firing),
        ],
    )


@contextmanager
def _under_load(server: Server, workbench: Workbench) -> Iterator[list[Load]]:
    """Callers and a live call that go on; what was answered is known at the end."""
    clips = recordings(workbench, "casia", number=16)
    call = drawn_call(workbench, seconds=_CALL_SECONDS, seed=0)
    loads: list[Load] = []
    is_over = threading.Event()

    def post() -> None:
        while not is_over.is_set():
            loads.append(asyncio.run(closed_loop(server.url, clips, send=send_predict, concurrency=_CALLERS)))

    def speak() -> None:
        while not is_over.is_set():
            asyncio.run(streamed(server.url, call))

    drivers = [threading.Thread(target=each) for each in (post, speak)]
    for driver in drivers:
        driver.start()
    try:
        yield loads
    finally:
        is_over.set()
        for driver in drivers:
            driver.join()


def _line(query: Query, rows: Sequence[tuple[object, float]]) -> str:
    values = ", ".join(f"{value:.3g}" for _, value in rows[:4])
    return f"{len(rows):2} rows  {query.title}: {query.expression}  ->  {values}"
