"""OpenTelemetry spans of a request and its stages; nothing is recorded or sent until a collector is named.

Spans carry numbers, names of stages and the request id: never a transcript, sound or file name.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode

_NAME: Final = "vcemo"


def start_tracing(endpoint: str, *, version: str) -> Callable[[], None]:
    """Send spans to ``endpoint`` (OTLP over HTTP, such as http://collector:4318/v1/traces) from now on.

    Returns what sends the rest and ends it. Call it once a process.
    """
    # Imported where they are wanted: they take a third of a second that most starts need not wait for.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": _NAME, "service.version": version}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def telemetry(quiet_routes: frozenset[str]) -> TelemetryConfig:
    """Return FastAPI's own settings for the span of a request: none of probes, and no message of an error."""
    return {"logs": False, "operation_spans": False, "exclude": lambda scope: scope["path"] in quiet_routes}


def tell_span(**facts: str) -> None:
    """Add facts to the span of the request that is being served, if there is one."""
    trace.get_current_span().set_attributes({f"{_NAME}.{name}": value for name, value in facts.items()})


@contextmanager
def stage_span(stage: str, *, items: int) -> Iterator[Span]:
    """Span of one stage for one request, waiting included; below the request's.

    An error is named by its type: its message may quote what was said.
    """
    with trace.get_tracer(_NAME).start_as_current_span(
        stage, attributes={"vcemo.items": items}, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise
