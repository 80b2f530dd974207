//! Installing and uninstalling, on the embedded cluster and on a real control plane.

#![cfg(feature = "sim")]
#![allow(
    clippy::panic,
    clippy::large_futures,
    reason = "what the tests share fails them, and is polled once"
)]

mod run_support;

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use controller_runtime::{envtest, sim::cluster};
use examples::install::{
    Half, Provider, Values,
    apply::apply,
    manifests::manifests,
    uninstall::{Options, Session, uninstall},
};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::Job,
        core::v1::{Namespace, Node, Pod},
        rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use run_support::{Kubectl, autoscaler};
use scaler_api::{SharedClock, TokioClock};
use serde_json::{Value, json};

fn values() -> Values {
    Values {
        provider: Provider::Kwok,
        ..Values::default()
    }
}

async fn install(client: &Client, values: &Values) {
    let objects = manifests(values, "autoscaler").expect("manifests can be written down");
    apply(client, &objects, &|_| ())
        .await
        .expect("the cluster takes the manifests");
}

async fn put(client: &Client, objects: &[Value]) {
    apply(client, objects, &|_| ())
        .await
        .expect("the cluster takes the objects");
}

/// Uninstalls, and gives what was said.
async fn remove(client: &Client, dry_run: bool, options: Options) -> Vec<String> {
    let said = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&said);
    let report = Box::new(move |line: &str| heard.borrow_mut().push(line.to_owned()));
    let session = Session::new(client.clone(), "autoscaler", dry_run, report);
    uninstall(&session, options).await.expect("it can be uninstalled");
    drop(session);
    said.take()
}

fn uid(object: &impl kube::ResourceExt) -> String {
    object.uid().expect("the API server gives every object a uid")
}

/// A scaled Deployment, a ScaledJob with a Job, and a node that was bought, as the controllers leave them.
async fn inhabit(client: &Client) {
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]});
    put(client, &[
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "a", "image": "b"}]}}}}),
        json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "web", "namespace": "shop", "finalizers": ["finalizer.keda.sh"]},
            "spec": {"scaleTargetRef": {"name": "web"}, "advanced": {"restoreToOriginalReplicaCount": true},
                "triggers": [{"type": "cron", "metadata": {"timezone": "UTC", "start": "0 1 * * *", "end": "0 2 * * *", "desiredReplicas": "3"}}]}}),
        json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
            "metadata": {"name": "work", "namespace": "shop", "finalizers": ["finalizer.keda.sh"]},
            "spec": {"jobTargetRef": {"template": {"spec": pod}},
                "triggers": [{"type": "cron", "metadata": {"timezone": "UTC", "start": "0 1 * * *", "end": "0 2 * * *", "desiredReplicas": "3"}}]}}),
        json!({"apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": "default"}}),
        json!({"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default"},
            "spec": {"template": {"spec": {"requirements": [], "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"}}}}}),
        json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": "bought", "labels": {"karpenter.sh/nodepool": "default"}, "finalizers": ["karpenter.sh/termination"]},
            "spec": {"requirements": [], "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"}}}),
    ]).await;
    let scaled: Api<scaler_api::keda::ScaledObject> = Api::namespaced(client.clone(), "shop");
    let scaled = scaled.get("web").await.expect("it was put there");
    let work: Api<scaler_api::keda::ScaledJob> = Api::namespaced(client.clone(), "shop");
    let work = work.get("work").await.expect("it was put there");
    let claims: Api<provisioner::karpenter::NodeClaim> = Api::all(client.clone());
    let claim = claims.get("bought").await.expect("it was put there");
    let status = json!({"status": {"nodeName": "bought", "providerID": "kwok://bought"}});
    let patch = kube::api::Patch::Merge(&status);
    claims
        .patch_status("bought", &kube::api::PatchParams::default(), &patch)
        .await
        .expect("it has a status");
    put(client, &[
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "keda-hpa-web", "namespace": "shop", "ownerReferences": [
                {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "web", "uid": uid(&scaled), "controller": true, "blockOwnerDeletion": true}]},
            "spec": {"minReplicas": 1, "maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "metrics": [{"type": "External", "external": {"metric": {"name": "s0-cron"}, "target": {"type": "AverageValue", "averageValue": "1"}}}]}}),
        json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "work-1", "namespace": "shop", "ownerReferences": [
                {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "name": "work", "uid": uid(&work), "controller": true, "blockOwnerDeletion": true}]},
            "spec": {"template": {"spec": pod}}}),
        json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "bought", "labels": {"karpenter.sh/nodepool": "default"}, "annotations": {"kwok.x-k8s.io/node": "fake"},
                "finalizers": ["karpenter.sh/termination"],
                "ownerReferences": [{"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "name": "bought", "uid": uid(&claim), "blockOwnerDeletion": true}]},
            "spec": {"providerID": "kwok://bought", "taints": [
                {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}, {"key": "dedicated", "value": "a", "effect": "NoSchedule"}]}}),
    ]).await;
}

async fn names<K>(api: Api<K>) -> Vec<String>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let list = api.list(&ListParams::default()).await.expect("it can be listed");
    list.items.iter().map(kube::ResourceExt::name_any).collect()
}

/// What is left of an installation.
async fn remains(client: &Client) -> Vec<String> {
    let mut left = names::<CustomResourceDefinition>(Api::all(client.clone())).await;
    let ours = |names: Vec<String>| names.into_iter().filter(|name| name.starts_with("autoscaler"));
    left.extend(ours(names::<ClusterRole>(Api::all(client.clone())).await));
    left.extend(ours(names::<ClusterRoleBinding>(Api::all(client.clone())).await));
    left.extend(ours(names::<RoleBinding>(Api::all(client.clone())).await));
    left.extend(ours(names::<Deployment>(Api::all(client.clone())).await));
    let services = names::<APIService>(Api::all(client.clone())).await;
    left.extend(
        services
            .into_iter()
            .filter(|name| name.contains("external.metrics")),
    );
    left
}

async fn story(client: &Client) {
    install(client, &values()).await;
    inhabit(client).await;
    let before = remains(client).await;
    assert!(before.len() > 20, "{before:?}");
    let web: Api<Deployment> = Api::namespaced(client.clone(), "shop");
    let deployed = web.get("web").await.expect("it was put there");

    let would = remove(client, true, Options::default()).await;
    assert!(
        would
            .iter()
            .all(|line| line.contains("would be") || line.contains("held by")),
        "{would:#?}"
    );
    assert_eq!(remains(client).await, before, "a dry run changes nothing");

    let said = remove(client, false, Options::default()).await;
    let first = said.first().map(String::as_str);
    assert_eq!(
        first,
        Some("APIService v1beta1.external.metrics.k8s.io deleted"),
        "{said:#?}"
    );
    assert_eq!(remains(client).await, Vec::<String>::new(), "{said:#?}");

    let after = web.get("web").await.expect("workloads stay");
    assert_eq!(
        (after.uid(), after.spec.and_then(|spec| spec.replicas)),
        (deployed.uid(), Some(3))
    );
    assert!(
        names::<HorizontalPodAutoscaler>(Api::namespaced(client.clone(), "shop"))
            .await
            .is_empty()
    );
    let job = Api::<Job>::namespaced(client.clone(), "shop")
        .get("work-1")
        .await
        .expect("Jobs run on");
    assert!(job.owner_references().is_empty() && job.metadata.deletion_timestamp.is_none());
    let node = Api::<Node>::all(client.clone())
        .get("bought")
        .await
        .expect("nodes stay");
    assert!(node.owner_references().is_empty() && node.finalizers().is_empty());
    assert!(node.metadata.deletion_timestamp.is_none());
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    assert!(taints.iter().any(|taint| taint.key == "dedicated"));
    assert!(
        !taints.iter().any(|taint| taint.key.starts_with("karpenter.sh/")),
        "{taints:?}"
    );

    let again = remove(client, false, Options::default()).await;
    assert!(again.iter().all(|line| !line.contains("removed")), "{again:#?}");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for _ in 0..300 {
        if namespaces
            .get_opt("autoscaler")
            .await
            .expect("it can be asked for")
            .is_none()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the namespace stays");
}

/// What somebody else brought stays, with its objects.
async fn somebody_elses_things_stay(client: &Client) {
    let mut values = values();
    values.only = Some(Half::Pods);
    // Nothing of theirs is touched where they take over.
    install(client, &values).await;
    let options = Options {
        keep_resources: true,
        ..Options::default()
    };
    remove(client, false, options).await;
    let left = names::<CustomResourceDefinition>(Api::all(client.clone())).await;
    assert_eq!(left.len(), 6, "{left:?}");

    install(client, &values).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "keda"}});
    let foreign = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
        "spec": {"group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"namespace": "keda", "name": "keda-operator-metrics-apiserver", "port": 443}}});
    put(client, &[namespace, foreign]).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let unlabel = json!({"metadata": {"labels": {"app.kubernetes.io/part-of": "keda-operator"}}});
    let patch = kube::api::Patch::Merge(&unlabel);
    let params = kube::api::PatchParams::default();
    definitions
        .patch("scaledobjects.keda.sh", &params, &patch)
        .await
        .expect("it is there");
    put(
        client,
        &[json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "kept", "namespace": "keda", "finalizers": ["finalizer.keda.sh"]},
        "spec": {"scaleTargetRef": {"name": "web"}, "triggers": [{"type": "cron", "metadata": {}}]}})],
    )
    .await;

    // Installing again does not make theirs ours.
    let before = definitions
        .get("scaledobjects.keda.sh")
        .await
        .expect("it is there");
    let objects = manifests(&values, "autoscaler").expect("manifests can be written down");
    let theirs = |object: &&Value| object["kind"] == "CustomResourceDefinition";
    let objects: Vec<Value> = objects.iter().filter(theirs).cloned().collect();
    put(client, &objects).await;
    let after = definitions
        .get("scaledobjects.keda.sh")
        .await
        .expect("it is there");
    assert_eq!(after.resource_version(), before.resource_version());

    remove(client, false, Options::default()).await;
    let left = remains(client).await;
    assert_eq!(left, ["scaledobjects.keda.sh", "v1beta1.external.metrics.k8s.io"]);
    let kept: Api<scaler_api::keda::ScaledObject> = Api::namespaced(client.clone(), "keda");
    let kept = kept.get("kept").await.expect("it stays");
    assert_eq!(kept.finalizers(), ["finalizer.keda.sh"]);
}

async fn nodes_are_drained_where_that_is_asked_for(client: &Client) {
    install(client, &values()).await;
    inhabit(client).await;
    put(client, &[json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tenant", "namespace": "shop"},
        "spec": {"nodeName": "bought", "terminationGracePeriodSeconds": 0, "tolerations": [{"operator": "Exists"}], "containers": [{"name": "a", "image": "b"}]}})]).await;
    let options = Options {
        drain_nodes: true,
        timeout: Duration::from_secs(60),
        ..Options::default()
    };
    let said = remove(client, false, options).await;
    assert!(said.contains(&"Node bought is drained".to_owned()), "{said:#?}");
    assert!(
        !names::<Node>(Api::all(client.clone()))
            .await
            .contains(&"bought".to_owned()),
        "{said:#?}"
    );
    assert!(
        !names::<Pod>(Api::namespaced(client.clone(), "shop"))
            .await
            .contains(&"tenant".to_owned())
    );
    assert_eq!(remains(client).await, Vec::<String>::new());
}

async fn on_a_real_control_plane(test: impl AsyncFnOnce(&Client)) {
    // Every test process is its own user of the TLS provider.
    rustls::crypto::ring::default_provider().install_default().ok();
    let Some(control_plane) = envtest::start_or_skip(envtest::Options::default()).await else {
        return;
    };
    test(&control_plane.client("default")).await;
    control_plane.stop().await;
}

async fn on_the_embedded_cluster(test: impl AsyncFnOnce(&Client)) {
    let start = "2026-01-01T00:00:00Z".parse().expect("a time");
    let clock: SharedClock = Arc::new(TokioClock::starting_at(start));
    let cluster = cluster::Cluster::new(cluster::Options::new(clock, 1));
    let client = cluster.client("default");
    tokio::select! {
        biased;
        () = test(&client) => {}
        () = cluster.run() => panic!("the cluster has ended"),
    }
}

/// `autoscaler manifests | kubectl apply -f -`.
#[tokio::test]
async fn kubectl_applies_everything_that_is_printed() {
    let Some(control_plane) = envtest::start_or_skip(envtest::Options::default()).await else {
        return;
    };
    let kubectl = Kubectl::of(&control_plane);
    for namespace in ["shop", "billing"] {
        let said = kubectl.run(&["create", "namespace", namespace], "");
        assert!(said.succeeded, "{said:?}");
    }
    let cases = [
        "--provider=kwok",
        "--only=pods --watch-namespace=shop,billing --replicas=3",
        "--only=nodes --provider=kwok --namespace=nodes",
        "--provider=ec2 --certificates=secret --without-crds --namespace=other",
    ];
    for case in cases {
        let flags: Vec<&str> = case.split(' ').collect();
        let output = autoscaler().arg("manifests").args(&flags).output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{case}: {output:?}");
        let printed = String::from_utf8(output.stdout).expect("YAML is text");
        let objects: Vec<Value> = serde_saphyr::from_multiple(&printed).expect("it prints YAML");
        for (arguments, done) in [
            (&["apply", "-f", "-"][..], None),
            (&["apply", "-f", "-"], Some("unchanged")),
            (
                &["apply", "--server-side", "--force-conflicts", "-f", "-"],
                Some("serverside-applied"),
            ),
        ] {
            let said = kubectl.run(arguments, &printed);
            assert!(said.succeeded && said.error.is_empty(), "{case}: {said:?}");
            let lines: Vec<&str> = said.out.lines().collect();
            assert_eq!(lines.len(), objects.len(), "{case}: {said:?}");
            // kubectl always sends the selector of a budget, as its strategy is to replace it.
            let always = |line: &str| line.starts_with("poddisruptionbudget.policy/");
            let as_told = |line: &&str| done.is_none_or(|done| line.ends_with(done) || always(line));
            assert!(lines.iter().all(as_told), "{case}: {said:?}");
        }
    }
    control_plane.stop().await;
}

#[tokio::test]
async fn a_real_control_plane_is_as_it_was_before() {
    on_a_real_control_plane(story).await;
}

#[tokio::test(start_paused = true)]
async fn the_embedded_cluster_is_as_it_was_before() {
    on_the_embedded_cluster(story).await;
}

#[tokio::test]
async fn a_real_control_plane_keeps_what_somebody_else_brought() {
    on_a_real_control_plane(somebody_elses_things_stay).await;
}

#[tokio::test(start_paused = true)]
async fn the_embedded_cluster_keeps_what_somebody_else_brought() {
    on_the_embedded_cluster(somebody_elses_things_stay).await;
}

#[tokio::test]
async fn nodes_of_a_real_control_plane_are_drained() {
    on_a_real_control_plane(nodes_are_drained_where_that_is_asked_for).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_of_the_embedded_cluster_are_drained() {
    on_the_embedded_cluster(nodes_are_drained_where_that_is_asked_for).await;
}
