//! Generates the types of the push stream from `proto/` with a compiler written in Rust: no `protoc` is needed. The
//! server half goes to a folder of its own and is included by tests alone.

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    generate()
}

#[cfg(not(feature = "sampler"))]
fn generate() -> Outcome {
    Ok(())
}

#[cfg(feature = "sampler")]
fn generate() -> Outcome {
    let proto = "proto/flyball/v1/sampling.proto";
    println!("cargo::rerun-if-changed={proto}");
    let descriptors = protox::compile([proto], ["proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors.clone())?;

    let server_folder = std::path::PathBuf::from(std::env::var("OUT_DIR")?).join("server");
    std::fs::create_dir_all(&server_folder)?;
    tonic_prost_build::configure().build_client(false).out_dir(server_folder).compile_fds(descriptors)?;
    Ok(())
}
