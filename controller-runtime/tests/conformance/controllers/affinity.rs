//! Pods near and far from each other: inter-pod affinity and topology spread.

use serde_json::{Value, json};

use super::scene::{add_labelled, add_pod, asking, bound, pod, refused};
use crate::harness::{Cluster, cases, same};

cases![
    anti_affinity_keeps_pods_apart_by_host,
    a_pod_stays_away_from_a_pod_that_does_not_want_it,
    affinity_brings_pods_together_by_zone,
    affinity_to_nobody_goes_nowhere,
    hard_spread_keeps_zones_even,
    hard_spread_needs_the_label,
    soft_spread_prefers_the_emptier_zone,
];

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Required affinity of a kind to pods with this label `app`.
fn near(kind: &str, app: &str, topology: &str) -> Value {
    let term = json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": topology});
    json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
}

/// A pod of the application `web` that is spread over zones.
fn spread(name: &str, action: &str) -> Value {
    let mut pod = pod(name);
    pod["metadata"]["labels"]["app"] = json!("web");
    pod["spec"]["topologySpreadConstraints"] = json!([{
        "maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": action,
        "labelSelector": {"matchLabels": {"app": "web"}},
    }]);
    pod
}

async fn anti_affinity_keeps_pods_apart_by_host(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(2, "4", "8Gi").await?;
    let mut homes = Vec::new();
    for name in ["one", "two", "three"] {
        let mut pod = pod(name);
        pod["metadata"]["labels"]["app"] = json!("web");
        pod["spec"]["affinity"] = near("podAntiAffinity", "web", HOSTNAME);
        add_pod(c, pod).await?;
        if name == "three" {
            refused(c, name, &["2 node(s) didn't match pod anti-affinity rules"]).await?;
        } else {
            homes.push(bound(c, name).await?);
        }
    }
    same(homes[0] != homes[1], true)
}

async fn a_pod_stays_away_from_a_pod_that_does_not_want_it(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "4", "8Gi").await?;
    let mut hermit = pod("hermit");
    hermit["spec"]["affinity"] = near("podAntiAffinity", "guest", HOSTNAME);
    add_pod(c, hermit).await?;
    bound(c, "hermit").await?;
    add_pod(c, pod("guest")).await?;
    refused(
        c,
        "guest",
        &["1 node(s) didn't satisfy existing pods anti-affinity rules"],
    )
    .await?;
    add_pod(c, pod("stranger")).await?;
    bound(c, "stranger").await?;
    Ok(())
}

async fn affinity_brings_pods_together_by_zone(c: &Cluster) -> anyhow::Result<()> {
    let first = add_labelled(c, "a", "1", json!({ZONE: "one"})).await?;
    let second = add_labelled(c, "b", "1", json!({ZONE: "one"})).await?;
    add_labelled(c, "c", "4", json!({ZONE: "two"})).await?;
    let mut host = asking("host", "700m");
    host["spec"]["nodeSelector"] = json!({HOSTNAME: first});
    add_pod(c, host).await?;
    bound(c, "host").await?;
    let mut guest = asking("guest", "700m");
    guest["spec"]["affinity"] = near("podAffinity", "host", ZONE);
    add_pod(c, guest).await?;
    same(bound(c, "guest").await?, second)
}

async fn affinity_to_nobody_goes_nowhere(c: &Cluster) -> anyhow::Result<()> {
    add_labelled(c, "a", "4", json!({ZONE: "one"})).await?;
    let mut lonely = pod("lonely");
    lonely["spec"]["affinity"] = near("podAffinity", "nobody", ZONE);
    add_pod(c, lonely).await?;
    refused(c, "lonely", &["1 node(s) didn't match pod affinity rules"]).await?;
    // The first of its kind has nobody to be near.
    let mut first = pod("first");
    first["spec"]["affinity"] = near("podAffinity", "first", ZONE);
    add_pod(c, first).await?;
    bound(c, "first").await?;
    Ok(())
}

async fn hard_spread_keeps_zones_even(c: &Cluster) -> anyhow::Result<()> {
    let mut full = c.node("full", "4", "8Gi");
    full["metadata"]["labels"][ZONE] = json!("one");
    full["status"]["allocatable"]["pods"] = json!("1");
    c.add_node(&full).await?;
    add_labelled(c, "roomy", "4", json!({ZONE: "two"})).await?;
    let mut homes = Vec::new();
    for name in ["one", "two", "three"] {
        add_pod(c, spread(name, "DoNotSchedule")).await?;
        homes.push(bound(c, name).await?);
    }
    same(homes[0] != homes[1], true)?;
    same(homes.iter().filter(|home| **home == c.unique("roomy")).count(), 2)?;
    add_pod(c, spread("four", "DoNotSchedule")).await?;
    let reasons = [
        "1 Too many pods",
        "1 node(s) didn't match pod topology spread constraints",
    ];
    refused(c, "four", &reasons).await?;
    Ok(())
}

async fn hard_spread_needs_the_label(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "4", "8Gi").await?;
    add_pod(c, spread("a", "DoNotSchedule")).await?;
    let reason = "1 node(s) didn't match pod topology spread constraints (missing required label)";
    refused(c, "a", &[reason]).await?;
    Ok(())
}

async fn soft_spread_prefers_the_emptier_zone(c: &Cluster) -> anyhow::Result<()> {
    let first = add_labelled(c, "a", "4", json!({ZONE: "one"})).await?;
    let second = add_labelled(c, "b", "4", json!({ZONE: "two"})).await?;
    for (name, home) in [("one", &first), ("two", &first)] {
        let mut pod = spread(name, "ScheduleAnyway");
        pod["spec"]["nodeSelector"] = json!({HOSTNAME: home});
        add_pod(c, pod).await?;
        same(&bound(c, name).await?, home)?;
    }
    add_pod(c, spread("three", "ScheduleAnyway")).await?;
    same(bound(c, "three").await?, second)
}
