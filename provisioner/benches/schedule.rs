//! The solver on the inputs that Karpenter was measured on (`SCHEDULING_INPUTS`, or others made the same way), and
//! what-if questions about a large cluster. `cargo xtask bench schedule` prints the same beside Karpenter's figures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "this is a benchmark"
)]

mod inputs;

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use provisioner::schedule::{Budget, Overlay, Prepared};

const PLANS: [(&str, usize); 10] = [
    ("generic", 500),
    ("generic", 2000),
    ("generic", 5000),
    ("generic", 20_000),
    ("generic", 100_000),
    ("diverse", 500),
    ("diverse", 2000),
    ("diverse", 5000),
    ("preference", 500),
    ("preference", 4000),
];

/// From parsed inputs to the plan, with every strategy and the bound.
fn plans(criterion: &mut Criterion) {
    for catalog in ["fake400", "kwok144"] {
        let mut group = criterion.benchmark_group(format!("plan/{catalog}"));
        group.sample_size(10).measurement_time(Duration::from_secs(2));
        for (workload, pods) in PLANS {
            let inputs = inputs::inputs(workload, pods, catalog);
            group.throughput(Throughput::Elements(pods as u64));
            group.bench_function(BenchmarkId::new(workload, pods), |bencher| {
                let plan = |world| {
                    let prepared = Prepared::new(world);
                    prepared.solve(&inputs.pods, &Overlay::default(), Budget::auto(inputs.pods.len()))
                };
                bencher.iter_batched(|| inputs.world.clone(), plan, BatchSize::PerIteration);
            });
        }
        group.finish();
    }
}

/// Whether a node can go, for each of 1,000.
fn what_if(criterion: &mut Criterion) {
    let prepared = Prepared::new(inputs::cluster(1000, 15_000));
    let mut group = criterion.benchmark_group("what-if");
    group.sample_size(10).throughput(Throughput::Elements(1000));
    group.bench_function("each-of-1000-nodes", |bencher| {
        bencher.iter(|| {
            for node in &prepared.world().nodes {
                let overlay = Overlay::consolidating([node.name.as_str()]);
                black_box(prepared.solve(&node.pods, &overlay, Budget::default()));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, plans, what_if);
criterion_main!(benches);
