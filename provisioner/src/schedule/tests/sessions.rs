//! Questions that are answered in slices, and pods that come later.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;

/// A pod of some kind, with constraints that count others.
fn some_pod(number: usize, kind: usize, size: usize, letter: usize) -> Arc<PodFacts> {
    let name = format!("p{number:03}");
    let letter = ["a", "b", "c"][letter];
    let term =
        |key: &str| json!({ "topologyKey": key, "labelSelector": { "matchLabels": { "app": letter } } });
    let affinity = |field: &str, key: &str| json!({ "affinity": { field: { "requiredDuringSchedulingIgnoredDuringExecution": [term(key)] } } });
    let preferred = json!({ "affinity": { "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
        { "weight": 1, "podAffinityTerm": term(labels::ZONE) },
        { "weight": 2, "podAffinityTerm": term(labels::HOSTNAME) },
    ] } } });
    let patch = match kind {
        1 => spread(labels::ZONE, letter),
        2 => spread(labels::HOSTNAME, letter),
        3 => affinity("podAffinity", labels::ZONE),
        4 => affinity("podAntiAffinity", labels::HOSTNAME),
        5 => preferred,
        6 => selector(labels::ZONE, letter),
        7 => selector(labels::ZONE, "nowhere"),
        8 => affinity("podAffinity", labels::HOSTNAME),
        _ => json!({}),
    };
    let cpu = ["250m", "500m", "1", "3", "40"][size];
    labelled(&name, cpu, json!({ "app": letter }), patch)
}

fn some_pods(most: usize) -> impl Strategy<Value = Vec<Arc<PodFacts>>> {
    vec((0..10_usize, 0..5_usize, 0..3_usize), 1..most).prop_map(|pods| {
        let pods = pods.into_iter().enumerate();
        pods.map(|(number, (kind, size, letter))| some_pod(number, kind, size, letter))
            .collect()
    })
}

fn some_world(nodes: usize) -> World {
    World {
        nodes: (0..nodes)
            .map(|n| node(&format!("n{n}"), "medium", Vec::new()))
            .collect(),
        ..world()
    }
}

/// Every pod's place, so that a later plan can be held against it.
fn places(plan: &Plan) -> BTreeMap<PodKey, String> {
    let on_nodes = plan.existing.iter().map(|(node, pods)| (node.clone(), pods));
    let planned = plan
        .new
        .iter()
        .enumerate()
        .map(|(n, node)| (format!("new {n}"), &node.pods));
    on_nodes
        .chain(planned)
        .flat_map(|(place, pods)| pods.iter().map(move |pod| (pod.clone(), place.clone())))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn slices_of_any_size_come_to_the_plan_that_is_made_in_one_go(
        pods in some_pods(40),
        nodes in 0..4_usize,
        slices in vec(0..7_u64, 1..30),
        with_price in any::<bool>(),
    ) {
        let prepared = Prepared::new(some_world(nodes));
        let overlay = Overlay::default();
        let budget = if with_price { Budget::auto(pods.len()) } else { Budget::default() };
        let batch = prepared.batch(&pods);
        let mut session = prepared.start(&batch, &overlay);
        for slice in slices {
            session.run(slice);
        }
        let in_one_go = prepared.solve(&pods, &overlay, budget);
        prop_assert_eq!(format!("{:?}", session.finish(budget)), format!("{in_one_go:?}"));
    }

    #[test]
    fn pods_that_join_move_nobody_and_slices_do_not_matter(
        first in some_pods(25),
        second in some_pods(25),
        before in 0..40_u64,
        slices in vec(0..7_u64, 1..20),
    ) {
        let prepared = Prepared::new(some_world(2));
        let overlay = Overlay::default();
        let renamed = |pod: &Arc<PodFacts>| {
            let mut pod = PodFacts::clone(pod);
            pod.key.name = format!("later-{}", pod.key.name);
            pod.uid = format!("later-{}", pod.uid);
            Arc::new(pod)
        };
        let later: Vec<_> = second.iter().map(renamed).collect();
        let (first, later) = (prepared.batch(&first), prepared.batch(&later));
        let mut session = prepared.start(&first, &overlay);
        session.run(before);
        let decided = places(&session.plan());
        session.join(&later);
        let joined = places(&session.plan());
        prop_assert_eq!(&joined, &decided, "joining decides nothing");
        let mut sliced = session.clone();
        for slice in slices {
            sliced.run(slice);
        }
        let plan = session.finish(Budget::default());
        let after = places(&plan);
        for (pod, place) in decided {
            prop_assert_eq!(after.get(&pod), Some(&place));
        }
        prop_assert_eq!(sliced.finish(Budget::default()), plan);
    }
}

#[test]
fn pods_that_were_not_looked_at_come_before_those_that_found_no_place() {
    let prepared = Prepared::new(world());
    let overlay = Overlay::default();
    let pods: Vec<_> = ["p0", "p1", "p2", "p3"]
        .iter()
        .map(|name| pod(name, if *name < "p2" { "100" } else { "1" }, json!({})))
        .collect();
    let batch = prepared.batch(&pods);
    let mut session = prepared.start(&batch, &overlay);
    assert!(!session.run(3), "there is more to do");
    let keys = |plan: &Plan| -> Vec<String> {
        plan.unschedulable
            .iter()
            .map(|(pod, _)| pod.name.clone())
            .collect()
    };
    let plan = session.plan();
    assert_eq!(keys(&plan), ["p3", "p0", "p1"]);
    assert_eq!(plan.unschedulable[0].1, Reason::NotTried);
    let later = prepared.batch(&[pod("p9", "2", json!({}))]);
    session.join(&later);
    assert_eq!(keys(&session.plan()), ["p3", "p9", "p0", "p1"]);
    assert!(!session.run_until(|| true), "time is up at once");
    assert!(session.run_until(|| false));
    assert_eq!(keys(&session.plan()), ["p0", "p1"]);
}

#[test]
fn the_next_question_begins_with_the_pods_that_the_last_one_did_not_get_to() {
    let prepared = Prepared::new(world());
    let overlay = Overlay::default();
    let pods: Vec<_> = (0..6).map(|i| pod(&format!("p{i}"), "1", json!({}))).collect();
    let plan = prepared.solve(&pods, &overlay, Budget::attempts(4));
    let batch = prepared.batch(&pods).after(&plan);
    let mut session = prepared.start(&batch, &overlay);
    session.run(2);
    let placed: Vec<String> = places(&session.plan()).into_keys().map(|pod| pod.name).collect();
    assert_eq!(placed, ["p4", "p5"]);
}

#[test]
fn pods_that_join_count_those_that_have_a_place() {
    let prepared = Prepared::new(world());
    let overlay = Overlay::default();
    let zoned = |name: &str, zone: &str| app(name, "web", selector(labels::ZONE, zone));
    let first = prepared.batch(&[zoned("p0", "a"), zoned("p1", "b")]);
    let later = prepared.batch(&[app("q", "web", spread(labels::ZONE, "web"))]);
    let mut session = prepared.start(&first, &overlay);
    session.run(2);
    session.join(&later);
    let plan = session.finish(Budget::default());
    let place = plan.place_of(&PodKey::new("default", "q"));
    let Some(Place::New(index)) = place else {
        panic!("{place:?}");
    };
    assert_eq!(
        plan.new[index].choice.zone, "c",
        "two pods are in a and b already"
    );
}
