//! Compiles the record's proto without a `protoc` binary.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["copilotgate/v1/record.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptor.bin"), files.encode_to_vec())?;
    prost_build::Config::new()
        .skip_debug([".copilotgate.v1.Content"])
        .compile_fds(files)?;
    Ok(())
}
