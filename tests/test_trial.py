"""A candidate on live traffic: what services count of it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from model.errors import StoreUnreachable
from service.metrics import Metrics
from service.shadow import Agreement
from training.trial import Trial, watched


@pytest.fixture
def counted() -> Iterator[tuple[str, Metrics]]:
    """A service's metrics over HTTP."""
    from prometheus_client import generate_latest

    metrics = Metrics()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(generate_latest(metrics.registry))

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", metrics
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_waits_until_enough_was_compared_by_all_services(counted: tuple[str, Metrics]) -> None:
    url, metrics = counted
    looks = []

    def compare(found: object) -> None:
        looks.append(found)
        metrics.candidate_compared(Agreement(version="2", agreed=8, disagreed=2, distance=1.0))

    trial = Trial(urls=(url, url), utterances=40, least_agreement=0.5, minutes=1)
    found = watched("2", trial, on_look=compare, look_seconds=0.01)
    assert found.total == 40
    assert found.agreement == pytest.approx(0.8)
    assert len(looks) == 3


def test_another_version_is_not_counted_and_the_time_comes_to_an_end(counted: tuple[str, Metrics]) -> None:
    url, metrics = counted
    metrics.candidate_compared(Agreement(version="1", agreed=8, disagreed=2, distance=1.0))
    trial = Trial(urls=(url,), utterances=1, least_agreement=0.5, minutes=0.0005)
    assert watched("2", trial, look_seconds=0.01).total == 0


@pytest.mark.parametrize("url", ["file:///etc", "http://127.0.0.1:1"])
def test_a_service_that_cannot_be_asked_is_an_error(url: str) -> None:
    with pytest.raises(StoreUnreachable):
        watched("2", Trial(urls=(url,), utterances=1, least_agreement=0.5, minutes=1))
