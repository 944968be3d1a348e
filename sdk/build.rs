//! Generates the types of the push stream and of a gateway's session from `proto/` with a compiler written in Rust: no
//! `protoc` is needed. Each goes to a folder of its own, since both are of one package; the server half of the push
//! stream is included by tests alone.

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    #[cfg(feature = "sampler")]
    {
        generate("proto/flyball/v1/sampling.proto", "", Half::Client)?;
        generate("proto/flyball/v1/sampling.proto", "server", Half::Server)?;
    }
    #[cfg(feature = "device-grpc")]
    generate("proto/flyball/v1/keepalive.proto", "keepalive", Half::Client)?;
    Ok(())
}

#[cfg(any(feature = "sampler", feature = "device-grpc"))]
#[derive(PartialEq)]
enum Half {
    Client,
    #[cfg_attr(not(feature = "sampler"), allow(dead_code))]
    Server,
}

#[cfg(any(feature = "sampler", feature = "device-grpc"))]
fn generate(proto: &str, folder: &str, half: Half) -> Outcome {
    println!("cargo::rerun-if-changed={proto}");
    let folder = std::path::PathBuf::from(std::env::var("OUT_DIR")?).join(folder);
    std::fs::create_dir_all(&folder)?;
    let wanted = tonic_prost_build::configure().build_client(half == Half::Client).build_server(half == Half::Server);
    wanted.out_dir(folder).compile_fds(protox::compile([proto], ["proto"])?)?;
    Ok(())
}
