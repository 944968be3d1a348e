//! Edges out for SDKs: Jaeger remote sampling over HTTP and gRPC, and the push stream.
