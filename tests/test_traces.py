"""Spans of real requests, as a collector over HTTP receives them."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import ValidationError
from service_fixtures import BUNDLE, RECORDINGS

from bench.serving.server import service_command, started
from model.assets import default_cache
from service.settings import Settings

pytest_plugins = ("service_fixtures",)

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""traceparent of a caller, as the W3C writes it."""


class Collector:
    """Keeps every span that is sent to it."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sent = ExportTraceServiceRequest.FromString(body)
                spans.extend(span for one in sent.resource_spans for scope in one.scope_spans for span in scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def attributes_of(span: Span) -> dict[str, Any]:
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes}


def test_a_collector_gets_a_span_of_each_stage_below_the_callers_own(collector: Collector) -> None:
    command = service_command(BUNDLE, default_cache(), "--traces-endpoint", collector.url)
    audio = (RECORDINGS / "leave_a_message.wav").read_bytes()
    with started("ours", command, ready_path="/health/ready") as server:
        headers = {"Content-Type": "audio/wav", "traceparent": PARENT, "X-Request-ID": "one"}
        answer = httpx.post(f"{server.url}/predict", content=audio, headers=headers, timeout=60).json()
        refused = {"Content-Type": "audio/wav", "X-Request-ID": "two"}
        assert httpx.post(f"{server.url}/predict", content=b"RIFF", headers=refused, timeout=60).status_code == 415
    by_name = {span.name: span for span in collector.spans if span.trace_id.hex() == PARENT.split("-")[1]}
    stages = [by_name[name] for name in ("decode", "vad", "asr", "features", "fusion")]
    request = by_name["POST /predict"]
    assert request.parent_span_id.hex() == PARENT.split("-")[2]
    assert attributes_of(request)["vcemo.request_id"] == "one"
    assert attributes_of(request)["http.response.status_code"] == 200
    for stage in stages:
        assert stage.parent_span_id == request.span_id
        assert (
            0 <= attributes_of(stage)["vcemo.work_ms"] <= (stage.end_time_unix_nano - stage.start_time_unix_nano) / 1e6
        )
    (failed,) = [span for span in collector.spans if attributes_of(span).get("vcemo.request_id") == "two"]
    assert attributes_of(failed)["vcemo.code"] == "unsupported_audio"
    assert answer["transcript"]["text"] not in str(collector.spans)
    assert not any("health" in span.name for span in collector.spans)


def test_without_a_collector_nothing_of_the_recorder_is_imported() -> None:
    code = "import sys, service.server; sys.exit(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_endpoint_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValidationError, match="traces_endpoint"):
        Settings(traces_endpoint="collector:4318")
