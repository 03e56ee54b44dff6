"""OpenTelemetry traces: a span for each request and each of its stages, sent to a collector.

Tracing is enabled if OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set. The
OpenTelemetry library reads these variables and all others of the OpenTelemetry specification
(headers, sampler, service name).
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
"""Environment variables of which either one enables tracing."""


class Tracing:
    """Exports finished requests as spans.

    If a client sends a `traceparent` header, the span of its request belongs to the client's trace.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("labelwright")
        self._propagator = TraceContextTextMapPropagator()

    def export(self, scope: Scope, record: RequestRecord, fields: Mapping[str, Any]) -> str:
        """Export the span of a request and the spans of its stages; returns the trace id.

        `fields` has the method, the route and the status of the request.
        """
        from opentelemetry.trace import SpanKind, format_trace_id, set_span_in_context

        monotonic_epoch = time.time_ns() - round(1e9 * time.monotonic())

        def wall_time(monotonic: float) -> int:
            return monotonic_epoch + round(1e9 * monotonic)

        carrier = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        span = self._tracer.start_span(
            f"{fields['method']} {fields['route']}",
            self._propagator.extract(carrier),
            SpanKind.SERVER,
            {
                "http.request.method": fields["method"],
                "http.route": fields["route"],
                "http.response.status_code": fields["status"],
                "labelwright.request_id": record.id,
                "labelwright.rows": record.rows,
            },
            start_time=wall_time(record.start),
        )
        parent = set_span_in_context(span)
        for stage in record.stages:
            child = self._tracer.start_span(stage.name, parent, start_time=wall_time(stage.start))
            child.end(wall_time(stage.end))
        span.end()
        return format_trace_id(span.get_span_context().trace_id)

    def close(self) -> None:
        """Send the remaining spans and stop the exporter."""
        self._provider.shutdown()


def tracing_enabled() -> bool:
    """Whether the environment enables tracing.

    Raises LabelwrightError if tracing is enabled but the exporter is not installed.
    """
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return False
    try:
        importlib.import_module(_EXPORTER)
    except ModuleNotFoundError as error:
        raise LabelwrightError(
            f"{' or '.join(ENDPOINTS)} is set, but opentelemetry-exporter-otlp-proto-http is not "
            "installed: install labelwright with the extra `tracing`, or unset the variable"
        ) from error
    return True


def configured_tracing() -> Tracing | None:
    """Tracing with the configuration of the environment, or None if tracing is not enabled.

    A separate thread sends the spans. Raises LabelwrightError if tracing is enabled but the
    exporter is not installed.
    """
    if not tracing_enabled():
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    attributes = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "labelwright"}
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
