//! Disruption budgets: what they count, and what the eviction API makes of it.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::scene::{LIMIT, add_pod, condition, event, events, pod, running, workload};
use crate::harness::{Answer, Cluster, cases, contains, same, text};

cases![
    a_budget_counts_by_number_and_by_percentage,
    a_changed_budget_is_counted_anew,
    a_budget_without_pods_allows_nothing,
    a_budget_of_pods_without_a_controller_says_so,
    a_budget_asks_any_controller_with_a_scale,
    a_budget_over_a_controller_without_a_scale_fails,
    pods_that_have_ended_are_expected_still,
    an_eviction_is_granted_and_counted,
    a_budget_that_is_used_up_refuses,
    a_refused_eviction_says_what_is_missing,
    a_failed_budget_says_why_it_refuses,
    a_dry_run_asks_the_budget_and_takes_nothing,
    an_eviction_names_its_pod_twice,
    an_eviction_deletes_only_what_it_means,
    an_evicted_pod_says_why_it_goes,
    a_pending_pod_may_go,
    a_pod_that_is_going_may_go,
    an_unready_pod_of_a_healthy_budget_may_go,
    an_unready_pod_counts_where_the_budget_is_not_met,
    an_unready_pod_may_always_go_where_the_budget_says_so,
    two_budgets_for_one_pod_are_an_error,
];

fn budget(name: &str, app: &str, spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": name}, "spec": spec});
    object["spec"]["selector"] = json!({"matchLabels": {"app": app}});
    object
}

/// Creates a budget.
async fn add_budget(c: &Cluster, budget: Value) -> anyhow::Result<()> {
    c.post(&c.at("policy/v1", "poddisruptionbudgets"), &budget)
        .await?
        .with_code(201)?;
    Ok(())
}

/// Waits until the status of a budget has what `pattern` has.
async fn counted(c: &Cluster, name: &str, pattern: Value) -> anyhow::Result<Value> {
    let path = c.at("policy/v1", &format!("poddisruptionbudgets/{name}"));
    let mut last = Value::Null;
    let found = c
        .wait_for(&format!("{name} counts {pattern}"), LIMIT / 2, async || {
            last = c.get(&path).await?.with_code(200)?;
            Ok(contains(&last["status"], pattern.clone())
                .is_ok()
                .then(|| last.clone()))
        })
        .await;
    found.with_context(|| format!("the status is {}", last["status"]))
}

/// As [`counted`], for kinds that are new: the controller learns of those only from time to time, and tries again only
/// when something changes.
async fn counted_at_last(c: &Cluster, name: &str, pattern: Value) -> anyhow::Result<Value> {
    let path = c.at("policy/v1", &format!("poddisruptionbudgets/{name}"));
    let mut last = Value::Null;
    let mut tries = 0;
    let found = c
        .wait_for(&format!("{name} counts {pattern} at last"), LIMIT, async || {
            tries += 1;
            if tries % 10 == 0 {
                let nudge = json!({"metadata": {"annotations": {"nudge": tries.to_string()}}});
                c.merge(&path, &nudge).await?.ok()?;
            }
            last = c.get(&path).await?.with_code(200)?;
            Ok(contains(&last["status"], pattern.clone())
                .is_ok()
                .then(|| last.clone()))
        })
        .await;
    found.with_context(|| format!("the status is {}", last["status"]))
}

fn numbers(expected: i32, healthy: i32, desired: i32, allowed: i32) -> Value {
    json!({"expectedPods": expected, "currentHealthy": healthy, "desiredHealthy": desired, "disruptionsAllowed": allowed})
}

/// Three ready pods of a Deployment `web`.
async fn three(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "4", "8Gi").await?;
    c.post(
        &c.at("apps/v1", "deployments"),
        &workload(c, "Deployment", "web", 3),
    )
    .await?
    .with_code(201)?;
    let path = c.at("apps/v1", "deployments/web");
    c.wait_object("three pods are ready", LIMIT, &path, |web| {
        web["status"]["readyReplicas"] == 3
    })
    .await?;
    Ok(())
}

/// The names of the pods of an application, in their order.
async fn pods_of(c: &Cluster, app: &str) -> anyhow::Result<Vec<String>> {
    let list = c
        .get(&c.at("v1", &format!("pods?labelSelector=app%3D{app}")))
        .await?
        .ok()?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
    Ok(items.iter().filter_map(name).collect())
}

async fn evict_with(c: &Cluster, name: &str, options: Value) -> anyhow::Result<Answer> {
    let mut eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": c.namespace()}});
    if !options.is_null() {
        eviction["deleteOptions"] = options;
    }
    c.post(&c.at("v1", &format!("pods/{name}/eviction")), &eviction)
        .await
}

async fn evict(c: &Cluster, name: &str) -> anyhow::Result<Answer> {
    evict_with(c, name, Value::Null).await
}

const REFUSAL: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

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

/// A kind of this case with or without a scale; its group.
async fn kind_with_scale(c: &Cluster, scale: bool) -> anyhow::Result<String> {
    let group = format!("{}.example.com", c.unique("g"));
    let mut version = json!({
        "name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    });
    if scale {
        version["subresources"] =
            json!({"scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}});
    }
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("fleets.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "versions": [version],
            "names": {"plural": "fleets", "singular": "fleet", "kind": "Fleet", "listKind": "FleetList"},
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    c.post(path, &definition).await?.with_code(201)?;
    let path = format!("{path}/fleets.{group}");
    c.delete_at_end(path.clone());
    c.wait_object("the kind is served", LIMIT, &path, |definition| {
        condition(definition, "Established")["status"] == "True"
    })
    .await?;
    Ok(group)
}

/// A ready pod that a Fleet of size 4 controls.
async fn fleet(c: &Cluster, group: &str) -> anyhow::Result<()> {
    c.add_nodes(1, "4", "8Gi").await?;
    let version = format!("{group}/v1");
    let fleet =
        json!({"apiVersion": version, "kind": "Fleet", "metadata": {"name": "fleet"}, "spec": {"size": 4}});
    let path = c.at(&version, "fleets");
    let made = c
        .wait_for("the kind takes objects", LIMIT, async || {
            let answer = c.post(&path, &fleet).await?;
            Ok((answer.code == 201).then_some(answer.body))
        })
        .await?;
    let mut ship = pod("ship");
    ship["metadata"]["ownerReferences"] = json!([{
        "apiVersion": version, "kind": "Fleet", "name": "fleet", "uid": made["metadata"]["uid"], "controller": true,
    }]);
    add_pod(c, ship).await?;
    running(c, "ship").await?;
    Ok(())
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

async fn an_eviction_is_granted_and_counted(c: &Cluster) -> anyhow::Result<()> {
    three(c).await?;
    add_budget(c, budget("web", "web", json!({"minAvailable": 1}))).await?;
    let before = counted(c, "web", numbers(3, 3, 1, 2)).await?;
    let version = before["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let query = format!("poddisruptionbudgets?fieldSelector=metadata.name%3Dweb&resourceVersion={version}");
    let mut watch = c.watch(&c.at("policy/v1", &query)).await?;
    let pods = pods_of(c, "web").await?;
    evict(c, &pods[0]).await?.with_code(201)?;
    let taken = watch.expect("MODIFIED").await?;
    contains(&taken["status"], numbers(3, 3, 1, 1))?;
    same(taken["status"]["disruptedPods"][&pods[0]].is_string(), true)?;
    let path = c.at("policy/v1", "poddisruptionbudgets/web");
    let settled = |budget: &Value| {
        contains(&budget["status"], numbers(3, 3, 1, 2)).is_ok()
            && budget["status"]["disruptedPods"][&pods[0]].is_null()
    };
    c.wait_object("the pod was replaced", LIMIT, &path, settled)
        .await?;
    Ok(())
}

async fn a_budget_that_is_used_up_refuses(c: &Cluster) -> anyhow::Result<()> {
    for name in ["one", "two"] {
        silent(c, name, true).await?;
        c.merge(
            &c.at("v1", &format!("pods/{name}")),
            &json!({"metadata": {"labels": {"app": "pair"}, "finalizers": ["example.com/hold"]}}),
        )
        .await?
        .ok()?;
    }
    add_budget(c, budget("pair", "pair", json!({"minAvailable": 1}))).await?;
    counted(c, "pair", numbers(2, 2, 1, 1)).await?;
    evict(c, "one").await?.with_code(201)?;
    evict(c, "two").await?.refused(429, "TooManyRequests", REFUSAL)?;
    counted(c, "pair", numbers(2, 1, 1, 0)).await?;
    evict(c, "two").await?.refused(429, "TooManyRequests", REFUSAL)?;
    for name in ["one", "two"] {
        c.merge(
            &c.at("v1", &format!("pods/{name}")),
            &json!({"metadata": {"finalizers": null}}),
        )
        .await?
        .ok()?;
    }
    Ok(())
}

/// A pod of no kubelet's that says it runs.
async fn silent(c: &Cluster, name: &str, ready: bool) -> anyhow::Result<()> {
    let mut pod = pod(name);
    pod["spec"]["nodeName"] = json!(c.unique("silent"));
    c.post(&c.at("v1", "pods"), &pod).await?.with_code(201)?;
    let ready = if ready { "True" } else { "False" };
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
    c.merge(&c.at("v1", &format!("pods/{name}/status")), &status)
        .await?
        .with_code(200)?;
    Ok(())
}

async fn a_refused_eviction_says_what_is_missing(c: &Cluster) -> anyhow::Result<()> {
    silent(c, "a", true).await?;
    add_budget(c, budget("a", "a", json!({"minAvailable": 3}))).await?;
    counted(c, "a", numbers(1, 1, 3, 0)).await?;
    let answer = evict(c, "a").await?;
    same(answer.headers.get("retry-after").is_some(), false)?;
    let status = answer.refused(429, "TooManyRequests", REFUSAL)?;
    contains(
        &status["details"],
        json!({"causes": [{"reason": "DisruptionBudget", "message": "The disruption budget a needs 3 healthy pods and has 1 currently"}], "retryAfterSeconds": null}),
    )
}

async fn a_failed_budget_says_why_it_refuses(c: &Cluster) -> anyhow::Result<()> {
    let group = kind_with_scale(c, false).await?;
    fleet(c, &group).await?;
    add_budget(c, budget("fleet", "ship", json!({"minAvailable": 0}))).await?;
    counted(c, "fleet", numbers(1, 1, 0, 1)).await?;
    let path = c.at("policy/v1", "poddisruptionbudgets/fleet");
    c.merge(&path, &json!({"spec": {"minAvailable": "10%"}}))
        .await?
        .ok()?;
    let why = format!("fleets.{group} does not implement the scale subresource");
    let pattern = json!({"disruptionsAllowed": 0, "observedGeneration": 1, "conditions": [{"reason": "SyncFailed", "message": why}]});
    counted_at_last(c, "fleet", pattern).await?;
    // What it was last counted for is older than what it says.
    let answer = evict(c, "ship").await?;
    same(
        answer
            .headers
            .get("retry-after")
            .and_then(|value| value.to_str().ok()),
        Some("10"),
    )?;
    let status = answer.refused(429, "TooManyRequests", REFUSAL)?;
    contains(
        &status["details"],
        json!({"causes": [{"reason": "DisruptionBudget", "message": "The disruption budget fleet is still being processed by the server."}], "retryAfterSeconds": 10}),
    )?;
    c.merge(
        &c.at("policy/v1", "poddisruptionbudgets/fleet/status"),
        &json!({"status": {"observedGeneration": 2}}),
    )
    .await?
    .ok()?;
    let status = evict(c, "ship").await?.refused(429, "TooManyRequests", REFUSAL)?;
    let why = format!(
        "The disruption budget fleet does not allow evicting pods currently because it failed sync: {why}"
    );
    contains(
        &status["details"],
        json!({"causes": [{"reason": "DisruptionBudget", "message": why}]}),
    )
}

async fn a_dry_run_asks_the_budget_and_takes_nothing(c: &Cluster) -> anyhow::Result<()> {
    silent(c, "a", true).await?;
    silent(c, "b", true).await?;
    add_budget(c, budget("a", "a", json!({"minAvailable": 0}))).await?;
    add_budget(c, budget("b", "b", json!({"minAvailable": 1}))).await?;
    counted(c, "a", numbers(1, 1, 0, 1)).await?;
    counted(c, "b", numbers(1, 1, 1, 0)).await?;
    let dry = json!({"dryRun": ["All"]});
    evict_with(c, "a", dry.clone()).await?.with_code(201)?;
    evict_with(c, "a", dry.clone()).await?.with_code(201)?;
    evict_with(c, "b", dry)
        .await?
        .refused(429, "TooManyRequests", REFUSAL)?;
    let pod = c.get(&c.at("v1", "pods/a")).await?.ok()?;
    same(condition(&pod, "DisruptionTarget").is_null(), true)?;
    counted(c, "a", numbers(1, 1, 0, 1)).await?;
    Ok(())
}

async fn an_eviction_names_its_pod_twice(c: &Cluster) -> anyhow::Result<()> {
    silent(c, "a", true).await?;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "b"}});
    c.post(&c.at("v1", "pods/a/eviction"), &eviction).await?.refused(
        400,
        "BadRequest",
        "name in URL does not match name in Eviction object",
    )?;
    c.post(
        &c.at("v1", "pods/none/eviction"),
        &json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "none"}}),
    )
    .await?
    .refused(404, "NotFound", "pods \"none\" not found")?;
    c.get(&c.at("v1", "pods/a")).await?.with_code(200)?;
    Ok(())
}

async fn an_eviction_deletes_only_what_it_means(c: &Cluster) -> anyhow::Result<()> {
    silent(c, "a", true).await?;
    let pod = c.get(&c.at("v1", "pods/a")).await?.ok()?;
    let options = json!({"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}});
    evict_with(c, "a", options).await?.refused(
        409,
        "Conflict",
        &format!(
            "Operation cannot be fulfilled on Pod \"a\": the UID in the precondition (00000000-0000-0000-0000-000000000000) does not \
             match the UID in record ({}). The object might have been deleted and then recreated",
            text(&pod, "/metadata/uid")
        ),
    )?;
    evict_with(c, "a", json!({"preconditions": {"uid": pod["metadata"]["uid"]}}))
        .await?
        .with_code(201)?;
    Ok(())
}

async fn an_evicted_pod_says_why_it_goes(c: &Cluster) -> anyhow::Result<()> {
    for name in ["running", "pending"] {
        let mut pod = pod(name);
        pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
        pod["spec"]["schedulerName"] = json!("nobody");
        c.post(&c.at("v1", "pods"), &pod).await?.with_code(201)?;
    }
    c.merge(
        &c.at("v1", "pods/running/status"),
        &json!({"status": {"phase": "Running"}}),
    )
    .await?
    .ok()?;
    for name in ["running", "pending"] {
        evict(c, name).await?.with_code(201)?;
        let path = c.at("v1", &format!("pods/{name}"));
        let pod = c.get(&path).await?.ok()?;
        same(pod["metadata"]["deletionTimestamp"].is_string(), true)?;
        contains(
            condition(&pod, "DisruptionTarget"),
            json!({"status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}),
        )?;
        c.merge(&path, &json!({"metadata": {"finalizers": null}}))
            .await?
            .ok()?;
    }
    Ok(())
}

async fn a_pending_pod_may_go(c: &Cluster) -> anyhow::Result<()> {
    let mut waiting = pod("waiting");
    waiting["spec"]["schedulerName"] = json!("nobody");
    c.post(&c.at("v1", "pods"), &waiting).await?.with_code(201)?;
    add_budget(c, budget("waiting", "waiting", json!({"minAvailable": 1}))).await?;
    counted(c, "waiting", numbers(1, 0, 1, 0)).await?;
    evict(c, "waiting").await?.with_code(201)?;
    c.wait_gone(LIMIT, &c.at("v1", "pods/waiting")).await
}

async fn a_pod_that_is_going_may_go(c: &Cluster) -> anyhow::Result<()> {
    silent(c, "a", true).await?;
    let path = c.at("v1", "pods/a");
    c.merge(&path, &json!({"metadata": {"finalizers": ["example.com/hold"]}}))
        .await?
        .ok()?;
    add_budget(c, budget("a", "a", json!({"minAvailable": 1}))).await?;
    counted(c, "a", numbers(1, 1, 1, 0)).await?;
    c.delete(&path).await?.ok()?;
    evict(c, "a").await?.with_code(201)?;
    c.merge(&path, &json!({"metadata": {"finalizers": null}}))
        .await?
        .ok()?;
    Ok(())
}

/// A ready pod and one that is not, both of the application `pair`.
async fn pair(c: &Cluster) -> anyhow::Result<()> {
    for (name, ready) in [("well", true), ("ill", false)] {
        silent(c, name, ready).await?;
        c.merge(
            &c.at("v1", &format!("pods/{name}")),
            &json!({"metadata": {"labels": {"app": "pair"}}}),
        )
        .await?
        .ok()?;
    }
    Ok(())
}

async fn an_unready_pod_of_a_healthy_budget_may_go(c: &Cluster) -> anyhow::Result<()> {
    pair(c).await?;
    add_budget(c, budget("pair", "pair", json!({"minAvailable": 1}))).await?;
    counted(c, "pair", numbers(2, 1, 1, 0)).await?;
    evict(c, "well").await?.refused(429, "TooManyRequests", REFUSAL)?;
    evict(c, "ill").await?.with_code(201)?;
    Ok(())
}

async fn an_unready_pod_counts_where_the_budget_is_not_met(c: &Cluster) -> anyhow::Result<()> {
    pair(c).await?;
    let spec = json!({"minAvailable": 2, "unhealthyPodEvictionPolicy": "IfHealthyBudget"});
    add_budget(c, budget("pair", "pair", spec)).await?;
    counted(c, "pair", numbers(2, 1, 2, 0)).await?;
    let status = evict(c, "ill").await?.refused(429, "TooManyRequests", REFUSAL)?;
    let why = "The disruption budget pair needs 2 healthy pods and has 1 currently";
    contains(
        &status["details"],
        json!({"causes": [{"reason": "DisruptionBudget", "message": why}]}),
    )
}

async fn an_unready_pod_may_always_go_where_the_budget_says_so(c: &Cluster) -> anyhow::Result<()> {
    pair(c).await?;
    let spec = json!({"minAvailable": 2, "unhealthyPodEvictionPolicy": "AlwaysAllow"});
    add_budget(c, budget("pair", "pair", spec)).await?;
    counted(c, "pair", numbers(2, 1, 2, 0)).await?;
    evict(c, "well").await?.refused(429, "TooManyRequests", REFUSAL)?;
    evict(c, "ill").await?.with_code(201)?;
    Ok(())
}

async fn two_budgets_for_one_pod_are_an_error(c: &Cluster) -> anyhow::Result<()> {
    silent(c, "a", true).await?;
    for name in ["one", "two"] {
        add_budget(c, budget(name, "a", json!({"minAvailable": 0}))).await?;
    }
    counted(c, "two", numbers(1, 1, 0, 1)).await?;
    let status = evict(c, "a").await?.with_code(500)?;
    contains(
        &status,
        json!({"kind": "Status", "status": "Failure", "code": 500, "reason": null,
            "message": "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}),
    )?;
    c.get(&c.at("v1", "pods/a")).await?.with_code(200)?;
    Ok(())
}
