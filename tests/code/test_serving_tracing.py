"""Traces: the spans of a request, and a collector that is away."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from image_samples import encode, photo
from pooled_models import write_pooled_model
from served import application
from visiongate.serving.tracing import Tracing

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PHOTO = encode(photo(40, 30), "PNG")
Sent = list[ExportTraceServiceRequest]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "pooled.onnx"
    write_pooled_model(path)
    return path


def trace(model: Path, *headers: dict[str, str], content: bytes = PHOTO) -> Sequence[ReadableSpan]:
    """Predict once with each of the headers; return the spans in the order in which they ended."""
    exporter = InMemorySpanExporter()

    async def send() -> None:
        async with application(model) as app:
            app.service.tracing = Tracing(SimpleSpanProcessor(exporter))
            app.service.observers.append(app.service.tracing)
            for each in headers:
                await app.client.post("/predict", content=content, headers=each)

    asyncio.run(send())
    return exporter.get_finished_spans()


def test_a_request_has_a_span_for_each_stage(model: Path) -> None:
    decode, wait, inference, request = trace(model, {"traceparent": f"00-{TRACE}-{PARENT}-01"})
    assert [span.name for span in (decode, wait, inference, request)] == [
        "decode",
        "wait",
        "inference",
        "POST /predict",
    ]
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT
    for span in (decode, wait, inference, request):
        assert span.context is not None
        assert f"{span.context.trace_id:032x}" == TRACE
    for stage in (decode, wait, inference):
        assert stage.parent == request.context
    assert decode.start_time is not None
    assert decode.end_time == wait.start_time
    assert wait.end_time == inference.start_time
    assert request.start_time is not None
    assert request.start_time <= decode.start_time
    assert dict(request.attributes or {})["http.response.status_code"] == 200
    assert dict(inference.attributes or {})["visiongate.batch_size"] == 1


def test_an_error_names_its_kind_and_a_client_that_does_not_sample_gets_no_spans(model: Path) -> None:
    [span] = trace(model, {}, {"traceparent": f"00-{TRACE}-{PARENT}-00"}, content=b"no image")
    assert dict(span.attributes or {})["error.type"] == "not_an_image"
    assert span.parent is None


@contextmanager
def collector() -> Iterator[tuple[str, Sent]]:
    received: Sent = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            assert self.path == "/v1/traces"
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        server.server_close()


async def predict(model: Path, endpoint: str) -> int:
    async with application(model, {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}) as app:
        return (await app.client.post("/predict", content=PHOTO)).status_code


def test_the_spans_reach_a_collector_before_the_service_ends(model: Path) -> None:
    with collector() as (endpoint, received):
        assert asyncio.run(predict(model, endpoint)) == 200
    [resource] = received[0].resource_spans
    names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
    assert names["service.name"] == "visiongate"
    assert {span.name for scope in resource.scope_spans for span in scope.spans} >= {
        "POST /predict",
        "inference",
    }


def test_a_collector_that_is_away_changes_no_answer_and_delays_the_end_little(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visiongate.serving.tracing.CLOSE_SECONDS", 0.2)
    start = time.monotonic()
    # Nothing listens on the port of tcpmux.
    assert asyncio.run(predict(model, "http://127.0.0.1:1")) == 200
    assert time.monotonic() - start < 3
