//! What the eviction API grants and refuses.

use serde_json::{Value, json};

use super::{add_budget, budget, counted, counted_at_last, fleet, kind_with_scale, numbers, silent, three};
use crate::{
    controllers::scene::{LIMIT, condition, pod},
    harness::{Answer, Cluster, cases, contains, same, text},
};

cases![
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

const REFUSAL: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

async fn evict_with(c: &Cluster, name: &str, options: Value) -> anyhow::Result<Answer> {
    let mut eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": c.namespace()}});
    if !options.is_null() {
        eviction["deleteOptions"] = options;
    }
    c.post(&c.at("v1", &format!("pods/{name}/eviction")), &eviction)
        .await
}

pub(super) async fn evict(c: &Cluster, name: &str) -> anyhow::Result<Answer> {
    evict_with(c, name, Value::Null).await
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
