//! Compiles the protos of Envoy and BigQuery without a `protoc` binary.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(
        [
            "envoy/access_log.proto",
            "google/cloud/bigquery/storage/v1/write.proto",
        ],
        ["proto"],
    )?;
    tonic_prost_build::configure()
        .bytes(".google.cloud.bigquery.storage.v1.ProtoRows")
        .compile_fds(files)?;
    Ok(())
}
