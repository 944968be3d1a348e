//! Generates the gRPC types from `proto/` with a compiler written in Rust, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos =
        ["proto/jaeger/api_v2/sampling.proto", "proto/flyball/v1/sampling.proto", "proto/flyball/v1/keepalive.proto"];
    for proto in protos {
        println!("cargo::rerun-if-changed={proto}");
    }
    let descriptors = protox::compile(protos, ["proto"])?;
    tonic_prost_build::configure().build_client(false).compile_fds(descriptors)?;
    Ok(())
}
