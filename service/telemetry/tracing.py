"""Traces: a span for every request and each of its stages, sent to an OpenTelemetry collector.

They are on when OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT names one; these
and the other variables of OpenTelemetry's specification (headers, sampler, service name) are read
by its own library.
"""

import importlib
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from labelwright.entities.errors import LabelwrightError
from labelwright.service.telemetry.request_record import RequestRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Tracing:
    """Reports requests that have been answered, as spans of their callers' traces."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("labelwright")
        self._propagator = TraceContextTextMapPropagator()

    def report(self, scope: Scope, note: RequestRecord, about: Mapping[str, Any]) -> str:
        """Report a request with its stages; returns the id of its trace."""
        from opentelemetry.trace import SpanKind, format_trace_id, set_span_in_context

        now = time.time_ns() - round(1e9 * time.monotonic())

        def wall(moment: float) -> int:
            return now + round(1e9 * moment)

        carrier = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in _trace_of(scope)
        }
        span = self._tracer.start_span(
            f"{about['method']} {about['route']}",
            self._propagator.extract(carrier),
            SpanKind.SERVER,
            {
                "http.request.method": about["method"],
                "http.route": about["route"],
                "http.response.status_code": about["status"],
                "labelwright.request_id": note.id,
                "labelwright.rows": note.rows,
            },
            start_time=wall(note.begin),
        )
        inside = set_span_in_context(span)
        for stage in note.stages:
            part = self._tracer.start_span(stage.name, inside, start_time=wall(stage.begin))
            part.end(wall(stage.end))
        span.end()
        return format_trace_id(span.get_span_context().trace_id)

    def close(self) -> None:
        """Send what has not been sent yet."""
        self._provider.shutdown()


def wanted() -> bool:
    """Whether the environment asks for traces; raises LabelwrightError where none can be sent."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return False
    try:
        importlib.import_module(_EXPORTER)
    except ModuleNotFoundError as error:
        raise LabelwrightError(
            "traces need opentelemetry-exporter-otlp-proto-http, which is not installed: it is the "
            "extra `tracing`"
        ) from error
    return True


def tracing() -> Tracing | None:
    """Tracing, if it is wanted; it sends from a thread of its own."""
    if not wanted():
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "labelwright"}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


def _trace_of(scope: Scope) -> list[tuple[bytes, bytes]]:
    return [header for header in scope["headers"] if header[0] in (b"traceparent", b"tracestate")]
