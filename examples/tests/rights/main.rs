//! The printed roles are enough, and no more than enough: the process runs with a token of its ServiceAccount on a real
//! control plane, and the API server's audit log says what it asked for.
//!
//! Nothing may be refused. Every right that the installation grants is used in the story, or stands below with the
//! reason why it is granted and not used here.
#![cfg(all(
    feature = "sim",
    feature = "kwok",
    feature = "metrics-api",
    feature = "kubernetes-workload"
))]
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod audit;
#[path = "../run_support/mod.rs"]
mod run_support;
mod stage;
mod story;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::ListParams};
use serde_json::json;

use audit::{Request, Right};
use run_support::Queue;
use stage::{NAMESPACE, Stage};
use story::{Nodes, Pods};

/// A right that is granted and not used in the stories: resource (everywhere, or `in` a namespace), verb, why.
type Spare = (&'static str, &'static str, &'static str);

const OWNERS: &str = "the admission plugin OwnerReferencesPermissionEnforcement asks for it, and nobody else";

const SUBSCRIBED: &str = "nobody subscribes to events here";

const NO_REPLICA_SET: &str = "no ReplicaSet is scaled here";

/// Of the pod half.
const SPARE_PODS: &[Spare] = &[
    (
        "serviceaccounts",
        "get",
        "no scaler here has the role of its workload",
    ),
    (
        "endpointslices",
        "list",
        "no number is gathered from all pods of a Service here",
    ),
    ("replicasets", "get", NO_REPLICA_SET),
    ("replicasets", "list", NO_REPLICA_SET),
    ("replicasets", "watch", NO_REPLICA_SET),
    (
        "horizontalpodautoscalers",
        "get",
        "an HPA of the name may be there that the store has not heard of yet",
    ),
    ("scaledobjects/finalizers", "update", OWNERS),
    ("scaledjobs/finalizers", "update", OWNERS),
    ("cloudeventsources", "patch", SUBSCRIBED),
    ("cloudeventsources/status", "patch", SUBSCRIBED),
    ("clustercloudeventsources", "patch", SUBSCRIBED),
    ("clustercloudeventsources/status", "patch", SUBSCRIBED),
];

/// Of the pod half where its own namespace is none of those that it watches.
const SPARE_PODS_OF_NAMESPACES: &[Spare] = &[
    (
        "events in scaling",
        "patch",
        "a replica that leads once says so once",
    ),
    (
        "events in default",
        "patch",
        "nothing is said twice of what stands in no namespace",
    ),
];

/// Of the node half.
const SPARE_NODES: &[Spare] = &[
    ("nodepools/finalizers", "update", OWNERS),
    ("nodeclaims/finalizers", "update", OWNERS),
];

/// Of the node half where the pod half does not say things twice.
const SPARE_NODES_ALONE: &[Spare] = &[(
    "events",
    "patch",
    "the same is said again only after minutes of silence",
)];

fn assert_nothing_was_refused(requests: &BTreeSet<Request>) {
    let refused: Vec<String> = requests
        .iter()
        .filter(|request| matches!(request.code, 401 | 403))
        .map(ToString::to_string)
        .collect();
    assert!(refused.is_empty(), "refused:\n{}", refused.join("\n"));
}

/// Asserts that nothing was refused, and that nothing was granted in vain.
async fn assert_exact(stage: &Stage, spare: &[&[Spare]]) {
    let requests = stage.requests();
    assert_nothing_was_refused(&requests);
    let granted = stage.granted().await;
    assert!(granted.len() > 20, "{granted:?}");
    let is_used = |right: &&Right| requests.iter().any(|request| right.allows(request));
    let is_spare = |right: &&Right| {
        let mut known = spare.iter().copied().flatten();
        let in_namespace = format!("{} in {}", right.resource, right.namespace);
        known.any(|(resource, verb, _)| {
            (*resource == right.resource || *resource == in_namespace) && *verb == right.verb
        })
    };
    let in_words = |rights: Vec<&Right>| {
        rights
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    // Roles that every Kubernetes brings are as they are.
    let ours = || {
        granted
            .iter()
            .filter(|right| right.role.starts_with("autoscaler"))
    };
    let vain = in_words(
        ours()
            .filter(|right| !is_used(right) && !is_spare(right))
            .collect(),
    );
    assert!(vain.is_empty(), "granted and not used:\n{vain}");
    let used = in_words(ours().filter(|right| is_used(right) && is_spare(right)).collect());
    assert!(used.is_empty(), "used, but listed as not used:\n{used}");
    println!(
        "{} of {} rights were used, in {} different requests",
        ours().filter(is_used).count(),
        ours().count(),
        requests.len()
    );
    for role in [
        "system:auth-delegator",
        "extension-apiserver-authentication-reader",
    ] {
        let mut rights = granted.iter().filter(|right| right.role == role).peekable();
        assert!(
            rights.peek().is_none() || rights.any(|right| is_used(&right)),
            "{role} is bound and not used"
        );
    }
}

#[tokio::test]
async fn both_halves_have_what_they_need_in_every_namespace_and_no_more() {
    let Some(stage) = Stage::set(&["--provider=kwok"], &[]).await else {
        return;
    };
    let queue = Queue::start().await;
    let mut running = stage.run().await;
    let (pods, nodes) = (Pods::of(&stage, &queue), Nodes::of(&stage));
    pods.known(&running).await;
    nodes.set_up().await;
    pods.set_up(&running).await;
    pods.out(&running).await;
    nodes.come_and_go().await;
    pods.changes().await;
    nodes.go_although_a_budget_forbids_it().await;
    let standby = stage.run().await;
    pods.back().await;
    nodes.all_gone().await;
    assert_eq!(running.terminate().await, Some(0));
    story::takes_over(&standby).await;
    drop(standby);
    assert_exact(&stage, &[SPARE_PODS, SPARE_NODES]).await;

    let (rights, requests) = stage.metrics_reader().await;
    assert!(!rights.is_empty());
    for right in rights {
        assert!(
            requests.iter().any(|request| right.allows(request)),
            "HPAs do without {right}"
        );
    }
    stage.strike().await;
}

#[tokio::test]
async fn the_pod_half_has_rights_in_its_namespaces_only() {
    let node = story::node();
    let Some(stage) = Stage::set(
        &["--only=pods", "--watch-namespace=shop"],
        &[node, story::namespace("shop")],
    )
    .await
    else {
        return;
    };
    let queue = Queue::start().await;
    let mut running = stage.run().await;
    let pods = Pods::of(&stage, &queue);
    pods.known(&running).await;
    pods.set_up(&running).await;
    pods.out(&running).await;
    pods.changes().await;
    let standby = stage.run().await;
    pods.back().await;
    assert_eq!(running.terminate().await, Some(0));
    story::takes_over(&standby).await;
    drop(standby);
    assert_exact(&stage, &[SPARE_PODS, SPARE_PODS_OF_NAMESPACES]).await;
    secrets_of_others_are_refused(&stage.client_of_the_process().await).await;
    stage.strike().await;
}

/// What is switched off takes no rights, and what somebody else brings is only read.
#[tokio::test]
async fn what_is_switched_off_or_brought_is_not_asked_for() {
    let values = json!({
        "only": "pods", "watchNamespaces": ["shop"], "webhook": {"enabled": false}, "certificates": {"source": "secret"},
        "rbac": {"aggregate": false, "scaleAnyKind": false},
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, values.to_string()).unwrap();
    let flags = ["--values", file.to_str().unwrap()];
    let others = [
        story::node(),
        story::namespace("shop"),
        story::namespace(NAMESPACE),
        story::certificate(),
    ];
    let Some(stage) = Stage::set(&flags, &others).await else {
        return;
    };
    let queue = Queue::start().await;
    let mut running = stage.run().await;
    assert_eq!(running.webhook, None);
    let pods = Pods::of(&stage, &queue);
    pods.known(&running).await;
    pods.set_up(&running).await;
    pods.out(&running).await;
    pods.back().await;
    assert_eq!(running.terminate().await, Some(0));
    assert_nothing_was_refused(&stage.requests());
    let granted = stage.granted().await;
    for foreign in ["limitranges", "validatingwebhookconfigurations", "*/scale"] {
        assert!(granted.iter().all(|right| right.resource != foreign), "{foreign}");
    }
    let mut secrets = granted.iter().filter(|right| right.resource == "secrets");
    assert!(secrets.all(|right| matches!(right.verb.as_str(), "get" | "list" | "watch")));
    stage.strike().await;
}

async fn secrets_of_others_are_refused(client: &Client) {
    let refused = |result: Result<(), kube::Error>| matches!(result, Err(kube::Error::Api(status)) if status.code == 403);
    for namespace in ["default", "kube-system"] {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        assert!(refused(secrets.get("any").await.map(drop)), "get in {namespace}");
        let list = secrets.list(&ListParams::default()).await;
        assert!(refused(list.map(drop)), "list in {namespace}");
    }
    let all: Api<Secret> = Api::all(client.clone());
    assert!(
        refused(all.list(&ListParams::default()).await.map(drop)),
        "list everywhere"
    );
    // ClusterTriggerAuthentications find theirs here, and one that is rotated has to be heard of.
    let own: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let listed = own.list(&ListParams::default()).await;
    assert!(listed.is_ok(), "{listed:?}");
}

#[tokio::test]
async fn the_node_half_has_what_it_needs_and_reads_no_secret() {
    let Some(stage) = Stage::set(&["--only=nodes", "--provider=kwok"], &[story::namespace("shop")]).await
    else {
        return;
    };
    let mut running = stage.run().await;
    let nodes = Nodes::of(&stage);
    nodes.set_up().await;
    story::put(&stage.client, &story::worker(2)).await;
    nodes.come_and_go().await;
    nodes.go_although_a_budget_forbids_it().await;
    let standby = stage.run().await;
    story::scale(&stage.client, 0).await;
    nodes.all_gone().await;
    assert_eq!(running.terminate().await, Some(0));
    story::takes_over(&standby).await;
    drop(standby);
    assert_exact(&stage, &[SPARE_NODES, SPARE_NODES_ALONE]).await;
    let granted = stage.granted().await;
    assert!(
        granted.iter().all(|right| right.resource != "secrets"),
        "{granted:?}"
    );
    let secrets: Api<Secret> = Api::namespaced(stage.client_of_the_process().await, NAMESPACE);
    assert!(secrets.list(&ListParams::default()).await.is_err());
    stage.strike().await;
}
