//! What a budget counts.

use serde_json::{Value, json};

use super::{
    add_budget, budget, counted, counted_at_last, evictions::evict, fleet, kind_with_scale, numbers, silent,
    three,
};
use crate::{
    controllers::scene::{LIMIT, add_pod, condition, event, events, pod, running},
    harness::{Cluster, cases, contains, same},
};

cases![
    a_budget_counts_by_number_and_by_percentage,
    a_changed_budget_is_counted_anew,
    a_budget_without_pods_allows_nothing,
    a_budget_of_pods_without_a_controller_says_so,
    a_budget_asks_any_controller_with_a_scale,
    a_budget_over_a_controller_without_a_scale_fails,
    pods_that_have_ended_are_expected_still,
];

async fn a_budget_counts_by_number_and_by_percentage(c: &Cluster) -> anyhow::Result<()> {
    three(c).await?;
    let allowed = |number: i32| {
        if number > 0 {
            ("True", "SufficientPods")
        } else {
            ("False", "InsufficientPods")
        }
    };
    for (name, spec, desired, number) in [
        ("min-two", json!({"minAvailable": 2}), 2, 1),
        ("min-all", json!({"minAvailable": 3}), 3, 0),
        ("min-none", json!({"minAvailable": 0}), 0, 3),
        ("min-half", json!({"minAvailable": "50%"}), 2, 1),
        ("min-most", json!({"minAvailable": "70%"}), 3, 0),
        ("max-one", json!({"maxUnavailable": 1}), 2, 1),
        ("max-none", json!({"maxUnavailable": 0}), 3, 0),
        ("max-quarter", json!({"maxUnavailable": "25%"}), 2, 1),
        ("max-many", json!({"maxUnavailable": 7}), 0, 3),
    ] {
        add_budget(c, budget(name, "web", spec)).await?;
        let counts = counted(c, name, numbers(3, 3, desired, number)).await?;
        let (status, reason) = allowed(number);
        let disrupted = counts["status"]["disruptedPods"]
            .as_object()
            .is_none_or(|pods| pods.is_empty());
        same(disrupted, true)?;
        contains(
            &counts["status"],
            json!({"observedGeneration": 1, "conditions": [
                {"type": "DisruptionAllowed", "status": status, "reason": reason, "message": "", "observedGeneration": 1},
            ]}),
        )?;
    }
    Ok(())
}

async fn a_changed_budget_is_counted_anew(c: &Cluster) -> anyhow::Result<()> {
    three(c).await?;
    add_budget(c, budget("web", "web", json!({"minAvailable": 1}))).await?;
    counted(c, "web", numbers(3, 3, 1, 2)).await?;
    let path = c.at("policy/v1", "poddisruptionbudgets/web");
    let spec = json!({"spec": {"minAvailable": null, "maxUnavailable": 0}});
    c.merge(&path, &spec).await?.ok()?;
    let after = counted(c, "web", numbers(3, 3, 3, 0)).await?;
    contains(&after["status"], json!({"observedGeneration": 2}))?;
    c.merge(
        &c.at("apps/v1", "deployments/web/scale"),
        &json!({"spec": {"replicas": 1}}),
    )
    .await?
    .ok()?;
    counted(c, "web", numbers(1, 1, 1, 0)).await?;
    Ok(())
}

async fn a_budget_without_pods_allows_nothing(c: &Cluster) -> anyhow::Result<()> {
    add_budget(c, budget("none", "nobody", json!({"minAvailable": 0}))).await?;
    let none = counted(c, "none", json!({"observedGeneration": 1})).await?;
    contains(&none["status"], numbers(0, 0, 0, 0))?;
    contains(
        condition(&none, "DisruptionAllowed"),
        json!({"status": "False", "reason": "InsufficientPods"}),
    )?;
    let event = event(c, "PodDisruptionBudget", "none", "NoPods").await?;
    contains(
        &event,
        json!({"type": "Normal", "message": "No matching pods found", "source": {"component": "controllermanager"}}),
    )
}

async fn a_budget_of_pods_without_a_controller_says_so(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "4", "8Gi").await?;
    add_pod(c, pod("bare")).await?;
    running(c, "bare").await?;
    add_budget(c, budget("by-number", "bare", json!({"minAvailable": 0}))).await?;
    counted(c, "by-number", numbers(1, 1, 0, 1)).await?;
    c.delete(&c.at("policy/v1", "poddisruptionbudgets/by-number"))
        .await?
        .ok()?;
    add_budget(c, budget("by-share", "bare", json!({"maxUnavailable": 1}))).await?;
    counted(c, "by-share", numbers(0, 1, 0, 0)).await?;
    let event = event(c, "PodDisruptionBudget", "by-share", "UnmanagedPods").await?;
    contains(
        &event,
        json!({"type": "Warning", "message": "Pods selected by this PodDisruptionBudget (selector: &LabelSelector{MatchLabels:map[string]string{app: bare,},\
            MatchExpressions:[]LabelSelectorRequirement{},}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, \
            which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."}),
    )
}

async fn a_budget_asks_any_controller_with_a_scale(c: &Cluster) -> anyhow::Result<()> {
    let group = kind_with_scale(c, true).await?;
    fleet(c, &group).await?;
    add_budget(c, budget("fleet", "ship", json!({"maxUnavailable": 3}))).await?;
    counted_at_last(c, "fleet", numbers(4, 1, 1, 0)).await?;
    c.merge(
        &c.at(&format!("{group}/v1"), "fleets/fleet"),
        &json!({"spec": {"size": 2}}),
    )
    .await?
    .ok()?;
    // Nothing says that the scale has changed until the budget or a pod does.
    let path = c.at("policy/v1", "poddisruptionbudgets/fleet");
    c.merge(&path, &json!({"spec": {"maxUnavailable": "50%"}}))
        .await?
        .ok()?;
    counted(c, "fleet", numbers(2, 1, 1, 0)).await?;
    c.merge(&path, &json!({"spec": {"maxUnavailable": 2}}))
        .await?
        .ok()?;
    counted(c, "fleet", numbers(2, 1, 0, 1)).await?;
    Ok(())
}

async fn a_budget_over_a_controller_without_a_scale_fails(c: &Cluster) -> anyhow::Result<()> {
    let group = kind_with_scale(c, false).await?;
    fleet(c, &group).await?;
    add_budget(c, budget("fleet", "ship", json!({"maxUnavailable": 3}))).await?;
    let why = format!("fleets.{group} does not implement the scale subresource");
    let failed = counted_at_last(
        c,
        "fleet",
        json!({"conditions": [{"reason": "SyncFailed", "message": why}]}),
    )
    .await?;
    contains(
        &failed["status"],
        json!({
            "observedGeneration": null, "expectedPods": 0, "currentHealthy": 0, "desiredHealthy": 0,
            "conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": why}],
        }),
    )?;
    let message = format!("Failed to calculate the number of expected pods: {why}");
    let told =
        |event: &Value| event["reason"] == "CalculateExpectedPodCountFailed" && event["message"] == message;
    let event = c
        .wait_for("the budget's event", LIMIT, async || {
            Ok(events(c, "PodDisruptionBudget", "fleet")
                .await?
                .into_iter()
                .find(told))
        })
        .await?;
    contains(
        &event,
        json!({"type": "Warning", "source": {"component": "controllermanager"}}),
    )
}

async fn pods_that_have_ended_are_expected_still(c: &Cluster) -> anyhow::Result<()> {
    silent(c, "ended", true).await?;
    let status =
        json!({"status": {"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "False"}]}});
    c.merge(&c.at("v1", "pods/ended/status"), &status).await?.ok()?;
    add_budget(c, budget("ended", "ended", json!({"minAvailable": 1}))).await?;
    counted(c, "ended", numbers(1, 0, 1, 0)).await?;
    evict(c, "ended").await?.with_code(201)?;
    Ok(())
}
