//! kill -9 in the middle of a scale-out.

use controller_runtime::envtest;
use examples::install::apply::apply;

use crate::{
    PODS,
    pair::{Pair, SHORT},
    run_support::{door::Side, until},
    workload::{AUTOSCALER, SCALED_OBJECT, Work, conditions, node},
};

const NAMESPACE: &str = "crash";

#[tokio::test]
async fn a_scale_out_that_was_cut_short_is_finished_by_the_standby() {
    let _only = PODS.lock().await;
    let Some(plane) = envtest::shared_or_skip().await else {
        return;
    };
    let arguments = [&SHORT[..], &["--only=pods", "--namespace", NAMESPACE]].concat();
    let mut pair = Pair::start(plane, NAMESPACE, &arguments).await;
    apply(&pair.client, &[node(NAMESPACE)], &|_| {}).await.unwrap();
    let unasked = Work::begin(&pair, "unasked", 0, 10).await;
    let unanswered = Work::begin(&pair, "unanswered", 0, 10).await;
    let growing = Work::begin(&pair, "growing", 0, 2).await;
    let emptied = Work::begin(&pair, "emptied", 0, 10).await;
    emptied.queue.set(5);
    emptied.replicas.reach(1).await;

    // Everything is in its middle at once.
    let door = &pair.leader.door;
    let traps = [
        door.hold("the first replica", Side::Before, Work::scales("unasked")),
        door.hold("the first replica", Side::After, Work::scales("unanswered")),
        door.hold("the last replica", Side::After, Work::scales("emptied")),
    ];
    unasked.queue.set(40);
    unanswered.queue.set(40);
    emptied.queue.set(0);
    for trap in traps {
        trap.caught().await;
    }
    growing.queue.set(40);
    growing.replicas.reach(3).await;
    let dead = pair.crash().await;

    for work in [&unasked, &unanswered, &growing] {
        work.replicas.reach(8).await;
        until("its conditions are sane", async || {
            let hpa = format!("keda-hpa-{}", work.name);
            let said = conditions(&pair.client, NAMESPACE, AUTOSCALER, &hpa).await;
            let object = conditions(&pair.client, NAMESPACE, SCALED_OBJECT, work.name).await;
            let sane = ["AbleToScale=True", "ScalingActive=True"]
                .iter()
                .all(|&sane| said.iter().any(|said| said == sane))
                && ["Ready=True", "Active=True", "Fallback=False", "Paused=False"]
                    .iter()
                    .all(|&sane| object.iter().any(|said| said == sane));
            sane.then_some(())
        })
        .await;
    }
    let processes = [&dead, &pair.leader, &pair.standby];
    for (work, seen) in [
        (&unasked, &[0, 1, 8][..]),
        (&unanswered, &[0, 1, 8]),
        (&growing, &[0, 1, 3, 5, 7, 8]),
        (&emptied, &[0, 1, 0]),
    ] {
        let name = work.name;
        assert_eq!(work.replicas.all(), seen, "{name}");
        assert_eq!(
            work.replicas.generation(),
            i64::try_from(seen.len()).unwrap(),
            "{name}: nothing was written twice"
        );
        let steps = if name == "emptied" { 2 } else { 1 };
        assert_eq!(work.steps(&processes), steps, "{name}");
    }

    for work in [&unasked, &unanswered, &growing] {
        work.queue.set(0);
    }
    for work in [&unasked, &unanswered, &growing] {
        work.replicas.reach(0).await;
    }
    pair.end().await;
}
