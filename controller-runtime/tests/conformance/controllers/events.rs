//! Events: who writes what, how repeats are counted, and how they are found.

use serde_json::{Value, json};

use super::scene::{LIMIT, add_pod, asking, event, events, pod, workload};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    a_deployment_tells_of_its_replica_sets,
    a_replica_set_tells_of_its_pods,
    a_stateful_set_tells_of_its_pods,
    a_job_tells_of_its_pods_and_its_end,
    a_daemon_set_tells_of_its_pods,
    the_scheduler_writes_events_of_the_new_kind,
    a_refusal_that_repeats_is_a_series,
    a_node_is_told_of_in_the_default_namespace,
    a_repeated_event_is_counted,
    events_are_found_by_what_they_are_about,
    events_have_two_names_for_everything,
    events_are_deleted_as_a_collection,
    an_event_stands_beside_its_object,
];

/// Waits for an event about an object whose message is this.
async fn told(c: &Cluster, kind: &str, name: &str, reason: &str, message: &str) -> anyhow::Result<Value> {
    let mut all = Vec::new();
    let found = c
        .wait_for(&format!("{reason}: {message}"), LIMIT / 3, async || {
            all = events(c, kind, name).await?;
            Ok(all
                .iter()
                .find(|one| one["reason"] == reason && one["message"] == message)
                .cloned())
        })
        .await;
    found.map_err(|error| {
        let all: Vec<_> = all
            .iter()
            .map(|one| format!("{}: {}", one["reason"], one["message"]))
            .collect();
        error.context(format!("the events are\n{}", all.join("\n")))
    })
}

/// An event as controllers write it.
fn by(component: &str, api_version: &str, kind: &str, name: &str) -> Value {
    json!({
        "type": "Normal", "count": 1, "eventTime": null, "series": null, "action": null,
        "source": {"component": component, "host": null},
        "reportingComponent": component, "reportingInstance": "",
        "involvedObject": {"apiVersion": api_version, "kind": kind, "name": name},
    })
}

/// The one item of a list, once there is one.
async fn only(c: &Cluster, version: &str, plural: &str) -> anyhow::Result<Value> {
    let path = c.at(version, plural);
    c.wait_for(&format!("there is one of {plural}"), LIMIT, async || {
        let list = c.get(&path).await?.with_code(200)?;
        Ok(list["items"]
            .as_array()
            .filter(|items| items.len() == 1)
            .map(|items| items[0].clone()))
    })
    .await
}

async fn a_deployment_tells_of_its_replica_sets(c: &Cluster) -> anyhow::Result<()> {
    let mut web = workload(c, "Deployment", "web", 2);
    web["spec"]["template"]["spec"]["schedulerName"] = json!("nobody");
    c.post(&c.at("apps/v1", "deployments"), &web)
        .await?
        .with_code(201)?;
    let set = only(c, "apps/v1", "replicasets").await?;
    let set = text(&set, "/metadata/name");
    let up = told(
        c,
        "Deployment",
        "web",
        "ScalingReplicaSet",
        &format!("Scaled up replica set {set} from 0 to 2"),
    )
    .await?;
    contains(&up, by("deployment-controller", "apps/v1", "Deployment", "web"))?;
    same(
        up["involvedObject"]["uid"].is_string() && up["involvedObject"]["resourceVersion"].is_string(),
        true,
    )?;
    same(
        up["firstTimestamp"].is_string() && up["firstTimestamp"] == up["lastTimestamp"],
        true,
    )?;
    let name = text(&up, "/metadata/name");
    let suffix = name.strip_prefix("web.").unwrap_or_default();
    same(
        !suffix.is_empty() && suffix.chars().all(|letter| letter.is_ascii_hexdigit()),
        true,
    )?;
    c.merge(
        &c.at("apps/v1", "deployments/web/scale"),
        &json!({"spec": {"replicas": 1}}),
    )
    .await?
    .ok()?;
    told(
        c,
        "Deployment",
        "web",
        "ScalingReplicaSet",
        &format!("Scaled down replica set {set} from 2 to 1"),
    )
    .await?;
    Ok(())
}

async fn a_replica_set_tells_of_its_pods(c: &Cluster) -> anyhow::Result<()> {
    let mut web = workload(c, "ReplicaSet", "web", 1);
    web["spec"]["template"]["spec"]["schedulerName"] = json!("nobody");
    c.post(&c.at("apps/v1", "replicasets"), &web)
        .await?
        .with_code(201)?;
    let pod = only(c, "v1", "pods").await?;
    let pod = text(&pod, "/metadata/name");
    let made = told(
        c,
        "ReplicaSet",
        "web",
        "SuccessfulCreate",
        &format!("Created pod: {pod}"),
    )
    .await?;
    contains(&made, by("replicaset-controller", "apps/v1", "ReplicaSet", "web"))?;
    c.merge(
        &c.at("apps/v1", "replicasets/web/scale"),
        &json!({"spec": {"replicas": 0}}),
    )
    .await?
    .ok()?;
    told(
        c,
        "ReplicaSet",
        "web",
        "SuccessfulDelete",
        &format!("Deleted pod: {pod}"),
    )
    .await?;
    Ok(())
}

async fn a_stateful_set_tells_of_its_pods(c: &Cluster) -> anyhow::Result<()> {
    let mut web = workload(c, "StatefulSet", "web", 1);
    web["spec"]["template"]["spec"]["schedulerName"] = json!("nobody");
    c.post(&c.at("apps/v1", "statefulsets"), &web)
        .await?
        .with_code(201)?;
    let made = told(
        c,
        "StatefulSet",
        "web",
        "SuccessfulCreate",
        "Create Pod web-0 in StatefulSet web successful",
    )
    .await?;
    contains(
        &made,
        by("statefulset-controller", "apps/v1", "StatefulSet", "web"),
    )?;
    c.merge(
        &c.at("apps/v1", "statefulsets/web/scale"),
        &json!({"spec": {"replicas": 0}}),
    )
    .await?
    .ok()?;
    told(
        c,
        "StatefulSet",
        "web",
        "SuccessfulDelete",
        "Delete Pod web-0 in StatefulSet web successful",
    )
    .await?;
    Ok(())
}

async fn a_job_tells_of_its_pods_and_its_end(c: &Cluster) -> anyhow::Result<()> {
    let mut template = pod("once");
    template["metadata"] = json!({});
    template["spec"]["restartPolicy"] = json!("Never");
    template["spec"]["schedulerName"] = json!("nobody");
    let job = json!({"metadata": {"name": "once"}, "spec": {"template": template}});
    c.post(&c.at("batch/v1", "jobs"), &job).await?.with_code(201)?;
    let pod = only(c, "v1", "pods").await?;
    let pod = text(&pod, "/metadata/name");
    let made = told(
        c,
        "Job",
        "once",
        "SuccessfulCreate",
        &format!("Created pod: {pod}"),
    )
    .await?;
    contains(&made, by("job-controller", "batch/v1", "Job", "once"))?;
    let status = json!({"status": {"phase": "Succeeded"}});
    c.merge(&c.at("v1", &format!("pods/{pod}/status")), &status)
        .await?
        .ok()?;
    told(c, "Job", "once", "Completed", "Job completed").await?;
    Ok(())
}

async fn a_daemon_set_tells_of_its_pods(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "4", "8Gi").await?;
    let mut object = workload(c, "DaemonSet", "agent", 1);
    object["spec"]["replicas"] = Value::Null;
    c.post(&c.at("apps/v1", "daemonsets"), &object)
        .await?
        .with_code(201)?;
    let pod = only(c, "v1", "pods").await?;
    let pod = text(&pod, "/metadata/name");
    let made = told(
        c,
        "DaemonSet",
        "agent",
        "SuccessfulCreate",
        &format!("Created pod: {pod}"),
    )
    .await?;
    contains(&made, by("daemonset-controller", "apps/v1", "DaemonSet", "agent"))
}

async fn the_scheduler_writes_events_of_the_new_kind(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "4", "8Gi").await?;
    add_pod(c, pod("a")).await?;
    let bound = event(c, "Pod", "a", "Scheduled").await?;
    contains(
        &bound,
        json!({
            "type": "Normal", "action": "Binding", "count": null, "series": null,
            "firstTimestamp": null, "lastTimestamp": null, "source": {"component": null},
            "reportingComponent": "default-scheduler",
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "a"},
        }),
    )?;
    same(
        text(&bound, "/reportingInstance").starts_with("default-scheduler-"),
        true,
    )?;
    let time = text(&bound, "/eventTime");
    same(
        (time.len(), time.ends_with('Z')),
        ("2026-01-01T00:00:00.000000Z".len(), true),
    )?;
    let path = c.at(
        "events.k8s.io/v1",
        &format!("events/{}", text(&bound, "/metadata/name")),
    );
    let new = c.get(&path).await?.with_code(200)?;
    contains(
        &new,
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "eventTime": time, "reason": "Scheduled", "action": "Binding", "note": bound["message"],
            "reportingController": "default-scheduler", "regarding": {"kind": "Pod", "name": "a"},
            "deprecatedFirstTimestamp": null, "deprecatedCount": null,
        }),
    )
}

async fn a_refusal_that_repeats_is_a_series(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "1", "8Gi").await?;
    add_pod(c, asking("a", "2")).await?;
    let refused = event(c, "Pod", "a", "FailedScheduling").await?;
    contains(
        &refused,
        json!({"type": "Warning", "action": "Scheduling", "count": null, "firstTimestamp": null, "reportingComponent": "default-scheduler"}),
    )?;
    c.wait_until(
        "another is told of by a series or an event of its own",
        LIMIT,
        async || {
            // Whatever may help makes the scheduler try again.
            let patch = json!({"metadata": {"labels": {"try": "again"}}});
            c.merge(&format!("/api/v1/nodes/{}", c.unique("node0")), &patch)
                .await?
                .ok()?;
            let labels = json!({"metadata": {"labels": {"try": null}}});
            c.merge(&format!("/api/v1/nodes/{}", c.unique("node0")), &labels)
                .await?
                .ok()?;
            let all = events(c, "Pod", "a").await?;
            Ok(all.len() > 1 || all.iter().any(|one| one["series"]["count"].as_i64() > Some(1)))
        },
    )
    .await
}

async fn a_node_is_told_of_in_the_default_namespace(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    let selector = format!(
        "/api/v1/namespaces/default/events?fieldSelector=involvedObject.kind%3DNode,involvedObject.name%3D{},reason%3DRegisteredNode",
        nodes[0]
    );
    let found = c
        .wait_for("the node is told of", LIMIT, async || {
            let list = c.get(&selector).await?.with_code(200)?;
            Ok(list["items"]
                .as_array()
                .filter(|items| !items.is_empty())
                .map(|items| items[0].clone()))
        })
        .await?;
    let message = format!(
        "Node {} event: Registered Node {} in Controller",
        nodes[0], nodes[0]
    );
    contains(
        &found,
        json!({"type": "Normal", "message": message, "source": {"component": "node-controller"}}),
    )
}

async fn a_repeated_event_is_counted(c: &Cluster) -> anyhow::Result<()> {
    let object = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}, "maxReplicas": 2},
    });
    c.post(&c.at("autoscaling/v2", "horizontalpodautoscalers"), &object)
        .await?
        .with_code(201)?;
    let repeated = c
        .wait_for("it is said three times", LIMIT, async || {
            let all = events(c, "HorizontalPodAutoscaler", "web").await?;
            Ok(all.into_iter().find(|one| one["count"].as_i64() > Some(2)))
        })
        .await?;
    contains(
        &repeated,
        json!({"reason": "FailedGetScale", "type": "Warning", "message": "deployments.apps \"none\" not found"}),
    )?;
    same(
        repeated["firstTimestamp"].as_str() < repeated["lastTimestamp"].as_str(),
        true,
    )?;
    same(events(c, "HorizontalPodAutoscaler", "web").await?.len(), 1)
}

/// Creates an event about a pod.
async fn write(c: &Cluster, name: &str, about: &str, reason: &str, kind: &str) -> anyhow::Result<Value> {
    let event = json!({
        "metadata": {"name": name}, "reason": reason, "type": kind, "message": "m",
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": about, "namespace": c.namespace(), "uid": format!("uid-of-{about}")},
        "source": {"component": "tester"}, "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z", "count": 1,
    });
    c.post(&c.at("v1", "events"), &event).await?.with_code(201)
}

async fn found(c: &Cluster, query: &str) -> anyhow::Result<Vec<String>> {
    let list = c
        .get(&c.at("v1", &format!("events?{query}")))
        .await?
        .with_code(200)?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items
        .iter()
        .map(|one| text(one, "/metadata/name").to_owned())
        .collect())
}

async fn events_are_found_by_what_they_are_about(c: &Cluster) -> anyhow::Result<()> {
    write(c, "one", "a", "Started", "Normal").await?;
    write(c, "two", "a", "Failed", "Warning").await?;
    write(c, "three", "b", "Failed", "Warning").await?;
    for (selector, names) in [
        ("involvedObject.name%3Da", vec!["one", "two"]),
        ("involvedObject.name%3Da,type%3DWarning", vec!["two"]),
        ("reason%3DFailed", vec!["three", "two"]),
        ("involvedObject.uid%3Duid-of-b", vec!["three"]),
        (
            "involvedObject.kind%3DPod,involvedObject.name!%3Da",
            vec!["three"],
        ),
        ("source%3Dtester,reason!%3DFailed", vec!["one"]),
        ("involvedObject.kind%3DNode", vec![]),
    ] {
        same(
            (selector, found(c, &format!("fieldSelector={selector}")).await?),
            (selector, names.into_iter().map(str::to_owned).collect()),
        )?;
    }
    c.get(&c.at("v1", "events?fieldSelector=message%3Dm"))
        .await?
        .refused_with(400, "BadRequest", "field label not supported: message")?;
    Ok(())
}

async fn events_have_two_names_for_everything(c: &Cluster) -> anyhow::Result<()> {
    write(c, "one", "a", "Started", "Normal").await?;
    let new = c
        .get(&c.at("events.k8s.io/v1", "events/one"))
        .await?
        .with_code(200)?;
    contains(
        &new,
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "note": "m", "reason": "Started", "type": "Normal",
            "regarding": {"kind": "Pod", "name": "a"}, "deprecatedSource": {"component": "tester"}, "deprecatedCount": 1,
            "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z", "eventTime": null, "message": null, "involvedObject": null,
        }),
    )?;
    let list = c
        .get(&c.at("events.k8s.io/v1", "events?fieldSelector=regarding.name%3Da"))
        .await?
        .with_code(200)?;
    same(list["items"].as_array().map(Vec::len), Some(1))
}

async fn events_are_deleted_as_a_collection(c: &Cluster) -> anyhow::Result<()> {
    write(c, "one", "a", "Started", "Normal").await?;
    write(c, "two", "b", "Started", "Normal").await?;
    c.delete(&c.at("v1", "events?fieldSelector=involvedObject.name%3Da"))
        .await?
        .with_code(200)?;
    same(
        found(c, "fieldSelector=source%3Dtester").await?,
        vec!["two".to_owned()],
    )?;
    c.delete(&c.at("v1", "events/two")).await?.with_code(200)?;
    same(found(c, "fieldSelector=source%3Dtester").await?, Vec::new())
}

async fn an_event_stands_beside_its_object(c: &Cluster) -> anyhow::Result<()> {
    let event = json!({
        "metadata": {"name": "astray"}, "reason": "Started", "type": "Normal", "message": "m",
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "a", "namespace": "elsewhere"},
        "source": {"component": "tester"},
    });
    c.post(&c.at("v1", "events"), &event).await?.refused(
        422,
        "Invalid",
        "Event \"astray\" is invalid: involvedObject.namespace: Invalid value: \"elsewhere\": does not match event.namespace",
    )?;
    Ok(())
}
