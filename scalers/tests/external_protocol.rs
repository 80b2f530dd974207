//! The code of KEDA's protocol is that of its definition; `UPDATE=1` writes it anew.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::{fs, path::Path};

#[test]
fn the_generated_code_is_that_of_the_definition() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/external");
    let definition = protox::compile([folder.join("externalscaler.proto")], [&folder]).unwrap();
    let target = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .out_dir(target.path())
        .server_mod_attribute(".", "#[cfg(feature = \"external-server\")]")
        .btree_map(".")
        .build_transport(false)
        .compile_fds(definition)
        .unwrap();
    let generated = fs::read_to_string(target.path().join("externalscaler.rs")).unwrap();
    let file = folder.join("protocol.rs");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &generated).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap();
    assert!(
        committed == generated,
        "run it with UPDATE=1, and commit {}",
        file.display()
    );
}
