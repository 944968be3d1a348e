"""Serves requests and exports their count over OTLP until its standard input ends.

Usage: client.py grpc|http ENDPOINT cumulative|delta
"""

import sys
import threading
import time

from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

RATE = 200  # requests a second
EXPORT_MS = 400

wire, endpoint, temporality = sys.argv[1:]
kind = AggregationTemporality.DELTA if temporality == "delta" else AggregationTemporality.CUMULATIVE
options = {"endpoint": endpoint, "preferred_temporality": {Counter: kind, Histogram: kind}}
if wire == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    options["insecure"] = True
else:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

reader = PeriodicExportingMetricReader(OTLPMetricExporter(**options), export_interval_millis=EXPORT_MS)
provider = MeterProvider(metric_readers=[reader], resource=Resource({"service.name": "shop"}))
durations = provider.get_meter("shop").create_histogram("http.server.request.duration", unit="s")

is_over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
started, served = time.monotonic(), 0
while not is_over.wait(0.01):
    due = int((time.monotonic() - started) * RATE)
    for _ in range(due - served):
        durations.record(0.01, {"http.route": "/cart"})
    served = due
provider.shutdown()
