//! The table of gateways; see `grpc.rs`. Run: `cargo bench --bench gateways` (about 30 s).

mod grpc;

fn main() {
    if std::env::var_os(grpc::SERVER).is_some() {
        return grpc::serve();
    }
    grpc::run();
}
