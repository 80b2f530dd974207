//! What is spent on a cheaper plan.

use super::*;

fn cheapest(world: World, pods: &[Arc<PodFacts>]) -> Plan {
    Prepared::new(world).solve(pods, &Overlay::default(), Budget::auto(pods.len()))
}

/// Pods of which each needs a node of its own, and pods that could fill what those leave.
fn uneven() -> Vec<Arc<PodFacts>> {
    let term =
        json!({ "topologyKey": labels::HOSTNAME, "labelSelector": { "matchLabels": { "app": "db" } } });
    let alone = json!({ "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [term] } } });
    let sized = |app: &str, number: usize, cpu: &str, patch: &serde_json::Value| {
        let name = format!("{app}-{cpu}-{number}");
        labelled(&name, cpu, json!({ "app": app }), patch.clone())
    };
    let apart = ["3", "1"]
        .into_iter()
        .flat_map(|cpu| (0..3).map(move |i| (cpu, i)));
    let apart = apart.map(|(cpu, i)| sized("db", i, cpu, &alone));
    let filling = [("900m", 3), ("450m", 6)];
    let filling = filling
        .into_iter()
        .flat_map(|(cpu, count)| (0..count).map(move |i| (cpu, i)));
    let filling = filling.map(|(cpu, i)| sized("web", i, cpu, &json!({})));
    apart.chain(filling).collect()
}

#[test]
fn pods_fill_the_nodes_that_others_need_anyway() {
    let first = solve(world(), &uneven());
    let best = cheapest(world(), &uneven());
    assert!(best.is_complete());
    assert_eq!(first.strategy, "first-fit-decreasing");
    assert!(
        best.price_per_hour < first.price_per_hour * 0.95,
        "{} is not much less than {}",
        best.price_per_hour,
        first.price_per_hour
    );
}

#[test]
fn a_cheaper_plan_obeys_what_first_fit_obeys() {
    let pods: Vec<_> = (0..30)
        .map(|i| app(&format!("p{i:02}"), "spread", spread(labels::ZONE, "spread")))
        .chain(uneven())
        .collect();
    let plan = cheapest(world(), &pods);
    assert!(plan.is_complete());
    let mut by_zone: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for (node, zone) in plan.new.iter().zip(domains(&plan, labels::ZONE)) {
        let spread = node.pods.iter().filter(|pod| pod.name.starts_with("p")).count();
        *by_zone.entry(zone).or_default() += spread;
    }
    by_zone.remove("?");
    assert_eq!(by_zone.into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

#[test]
fn without_units_for_the_price_it_is_first_fit() {
    let prepared = Prepared::new(world());
    let least = Budget {
        price_units: Some(0),
        ..Budget::default()
    };
    let first = prepared.solve(&uneven(), &Overlay::default(), Budget::default());
    let hasty = prepared.solve(&uneven(), &Overlay::default(), least);
    assert!(hasty == first, "{} is not {}", hasty.strategy, first.strategy);
}
