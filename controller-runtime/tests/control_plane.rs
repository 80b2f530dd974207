//! A real control plane. Skipped, with a line that says so, where its programs are not to be had.
#![cfg(all(feature = "envtest", unix))]

use controller_runtime::envtest::{Options, start_or_skip};

#[tokio::test]
async fn starts() {
    let begin = tokio::time::Instant::now();
    let Some(plane) = start_or_skip(Options::default()).await else {
        return;
    };
    println!("up in {:?}", begin.elapsed());
    for p in plane.processes() {
        println!("{p:?}");
        println!(
            "{}",
            std::fs::read_to_string(&p.log)
                .unwrap()
                .lines()
                .rev()
                .take(5)
                .collect::<Vec<_>>()
                .join("\n")
        );
    }
    let begin = tokio::time::Instant::now();
    plane.stop().await;
    println!("down in {:?}", begin.elapsed());
}
