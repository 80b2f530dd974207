//! Runs every case on both clusters, and says at the end how many, and where they differ.

mod adapter;
mod answer;
mod cluster;
mod embedded;
mod expect;
mod machines;
mod metrics;
mod real;
mod surroundings;
mod transcript;
mod watch;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

pub(crate) use self::{
    answer::Answer,
    cluster::Cluster,
    expect::{contains, same, text},
};

/// One case: the same code for both clusters.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// The function's name.
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a Cluster) -> LocalBoxFuture<'a, anyhow::Result<()>>,
}

/// The cases of one file: its path, e.g. `api::patch`, and its table.
pub(crate) type Topic = (&'static str, &'static [Case]);

/// A case whose outcome differs on the embedded cluster.
pub(crate) struct Difference {
    /// Topic and name, e.g. `api::watch::an_old_version_is_gone`.
    pub(crate) case: &'static str,
    /// Why upstream does what the embedded cluster does not.
    pub(crate) reason: &'static str,
}

/// The table of a topic: `cases![a_name, another_name]` for `async fn a_name(cluster: &Cluster) -> anyhow::Result<()>`.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub(crate) const CASES: &[$crate::harness::Case] = &[$(
            $crate::harness::Case { name: stringify!($name), run: |cluster| Box::pin($name(cluster)) }
        ),*];
    };
}
pub(crate) use cases;

/// How many differences are too many.
const MOST_DIFFERENCES: usize = 5;
/// Cases wait more than they compute.
const THREADS: usize = 8;
/// No case may take longer on the real control plane.
const REAL_LIMIT: Duration = Duration::from_secs(180);
/// Nor, in virtual time, on the embedded one.
const EMBEDDED_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Lists, filters and runs the cases as libtest does.
pub(crate) fn main(topics: &[Topic], differences: &'static [Difference]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let plane = Arc::new(real::Plane::default());
    let counts = Arc::new(Counts::default());
    let mut trials = vec![list_is_short_and_known(topics, differences)];
    for (topic, cases) in topics {
        for case in *cases {
            let name = format!("{topic}::{}", case.name);
            let difference = differences.iter().find(|difference| difference.case == name);
            trials.push(on_embedded(*case, &name, difference, Arc::clone(&counts)));
            trials.push(on_real(*case, &name, Arc::clone(&plane), Arc::clone(&counts)));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        plane.report();
        for (cluster, count) in [("embedded", &counts.embedded), ("real", &counts.real)] {
            println!(
                "{} cases as expected on the {cluster} cluster",
                count.load(Ordering::Relaxed)
            );
        }
        println!(
            "{} of at most {MOST_DIFFERENCES} differences of the embedded cluster",
            differences.len()
        );
        for Difference { case, reason } in differences {
            println!("difference: {case}: {reason}");
        }
    }
    plane.stop();
    conclusion.exit_code()
}

fn list_is_short_and_known(topics: &[Topic], differences: &'static [Difference]) -> Trial {
    let names: Vec<String> = topics
        .iter()
        .flat_map(|(topic, cases)| cases.iter().map(move |case| format!("{topic}::{}", case.name)))
        .collect();
    Trial::test("differences_are_few_and_name_cases", move || {
        if differences.len() > MOST_DIFFERENCES {
            return Err(format!("{} differences are too many", differences.len()).into());
        }
        match differences
            .iter()
            .find(|one| !names.iter().any(|name| name == one.case))
        {
            Some(unknown) => Err(format!("no case is called {}", unknown.case).into()),
            None => Ok(()),
        }
    })
}

/// How many cases came out as expected.
#[derive(Debug, Default)]
struct Counts {
    embedded: AtomicUsize,
    real: AtomicUsize,
}

fn on_embedded(
    case: Case,
    name: &str,
    difference: Option<&'static Difference>,
    counts: Arc<Counts>,
) -> Trial {
    let topic = name.to_owned();
    Trial::test(format!("embedded::{name}"), move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| embedded::run(case, &topic)));
        let outcome =
            outcome.unwrap_or_else(|panic| Err(anyhow::anyhow!("panicked: {}", panic_text(&*panic))));
        match (outcome, difference) {
            (Ok(()), Some(_)) => Err("is listed as a difference, but passes: take it from the list".into()),
            (Err(error), None) => Err(failed(&error)),
            (Err(_), Some(_)) => Ok(()),
            (Ok(()), None) => {
                counts.embedded.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    })
}

fn on_real(case: Case, name: &str, plane: Arc<real::Plane>, counts: Arc<Counts>) -> Trial {
    let topic = name.to_owned();
    Trial::ignorable_test(format!("real::{name}"), move || match plane.kubeconfig() {
        Err(real::Unavailable::Skip(reason)) => Ok(Completion::ignored_with(reason)),
        Err(real::Unavailable::Fail(reason)) => Err(reason.into()),
        Ok(kubeconfig) => match real::run(case, &topic, &kubeconfig, Arc::clone(&plane.adapter)) {
            Ok(()) => {
                counts.real.fetch_add(1, Ordering::Relaxed);
                Ok(Completion::Completed)
            }
            Err(error) => Err(failed(&error)),
        },
    })
}

fn failed(error: &anyhow::Error) -> Failed {
    format!("{error:#}").into()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}
