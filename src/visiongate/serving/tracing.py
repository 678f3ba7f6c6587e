"""OpenTelemetry: a span for each request, and one for each stage of each image.

This module is imported only if there is an address to send to, because its packages take half a second. A thread sends the
spans; what cannot be sent is dropped.
"""

import time
from threading import Thread
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from visiongate.serving.web.request_context import RequestContext, current_request

if TYPE_CHECKING:
    from visiongate.monitoring.entries import FailureKind, Role
    from visiongate.serving.service import Answered
    from visiongate.serving.versions.loaded_model import LoadedModel

TRACES_PATH: Final = "/v1/traces"
# Of sending a batch, and of the end of the process.
EXPORT_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 2.0
SERVER_ERROR: Final = 500


class Tracing:
    """Makes spans. It is an `Observer`.

    Args:
        processor: Takes the ended spans.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
        resource = Resource({"service.name": "visiongate"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("visiongate")
        self._propagator = TraceContextTextMapPropagator()

    def start(self, context: RequestContext, method: str) -> None:
        """Start the span of a request, as a child of the client's span if it has named one."""
        headers = {} if context.traceparent is None else {"traceparent": context.traceparent}
        span = self._tracer.start_span(
            method,
            self._propagator.extract(headers),
            trace.SpanKind.SERVER,
            {"http.request.method": method, "visiongate.request_id": context.request_id},
        )
        context.span = span
        context.trace_id = trace.format_trace_id(span.get_span_context().trace_id)

    def predicted(self, answered: "Answered") -> None:
        """Add the stages of an image, in the order decode, wait, inference; the wait for decoding counts as the wait."""
        context = current_request.get()
        if context is None or context.span is None:
            return
        parent, timing = trace.set_span_in_context(context.span), answered.timing
        end = time.time_ns()
        inference = end - _nanoseconds(timing.inference)
        start = end - _nanoseconds(timing.total)
        decoded = start + _nanoseconds(timing.decode)
        model: dict[str, str | int] = {
            "visiongate.model.name": answered.model.name,
            "visiongate.model.version": answered.model.version or "",
            "visiongate.batch_size": answered.inference.batch_size,
        }
        for name, begin, finish in (
            ("decode", start, decoded),
            ("wait", decoded, inference),
            ("inference", inference, end),
        ):
            attributes = model if name == "inference" else None
            span = self._tracer.start_span(name, parent, attributes=attributes, start_time=begin)
            span.end(finish)

    def compared(self, answered: "Answered", shadow: "Answered") -> None:
        """Ignore the predictions of a shadow."""

    def unanswered(self, model: "LoadedModel", role: "Role", kind: "FailureKind") -> None:
        """Ignore what the span of the request says."""

    def end(self, context: RequestContext, method: str, route: str | None, status: int) -> None:
        """End the span of a request."""
        span = context.span
        if span is None:
            return
        span.update_name(f"{method} {route}" if route else method)
        span.set_attribute("http.response.status_code", status)
        if route:
            span.set_attribute("http.route", route)
        if context.problem:
            span.set_attribute("error.type", context.problem)
        if status >= SERVER_ERROR:
            span.set_status(trace.StatusCode.ERROR)
        span.end()

    def close(self) -> None:
        """Send what is left, if that takes no longer than `CLOSE_SECONDS`."""
        # The thread does not keep the process alive.
        closing = Thread(target=self._provider.shutdown, name="tracing-shutdown", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def build_tracing(endpoint: str) -> Tracing:
    """Return the tracing that sends to a collector.

    Args:
        endpoint: Of OTLP over HTTP, such as ``http://collector:4318``.
    """
    address = f"{endpoint.rstrip('/').removesuffix(TRACES_PATH)}{TRACES_PATH}"
    return Tracing(BatchSpanProcessor(OTLPSpanExporter(address, timeout=EXPORT_SECONDS)))


def _nanoseconds(seconds: float) -> int:
    return int(1e9 * seconds)
