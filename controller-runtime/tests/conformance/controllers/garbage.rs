//! What goes when something else has gone, across levels: owners, dependents, namespaces.

use std::time::Duration;

use serde_json::{Value, json};

use super::play::{
    LIMIT, condition, list, make, merge, name, owned_by, pods, quiet, remain, spec, template, wait,
    wait_count, with,
};
use crate::harness::{Cluster, cases, contains, same, text};

const APPS: &str = "apps/v1";
const HOLD: &str = "example.com/hold";
/// The namespaces of other cases may have to go first.
const NAMESPACE_LIMIT: Duration = Duration::from_secs(150);

cases![
    in_the_background_the_owner_goes_first,
    in_the_foreground_the_owner_goes_last,
    what_does_not_block_is_not_waited_for,
    orphans_stay_without_their_owner,
    a_job_leaves_its_pods_by_default,
    a_stateful_set_goes_in_the_foreground,
    what_has_another_owner_stays,
    what_names_an_owner_that_is_not_there_goes,
    an_owner_of_another_uid_is_not_there,
    a_namespace_takes_everything_along,
    a_namespace_says_what_it_waits_for,
    a_namespace_that_ends_takes_nothing_new,
];

async fn make_deployment(c: &Cluster, replicas: i32, more: Value) -> anyhow::Result<Vec<String>> {
    make(c, APPS, "deployments", "web", with(spec(replicas, "web:1"), more)).await?;
    wait_count(c, usize::try_from(replicas)?).await
}

async fn delete(c: &Cluster, version: &str, path: &str, policy: &str) -> anyhow::Result<Value> {
    c.delete_with(&c.at(version, path), &json!({"propagationPolicy": policy}))
        .await?
        .with_code(200)
}

fn held() -> Value {
    json!({"template": {"metadata": {"finalizers": [HOLD]}}})
}

async fn let_go(c: &Cluster, version: &str, path: &str) -> anyhow::Result<()> {
    merge(c, version, path, json!({"metadata": {"finalizers": null}})).await?;
    Ok(())
}

async fn in_the_background_the_owner_goes_first(c: &Cluster) -> anyhow::Result<()> {
    let names = make_deployment(c, 1, held()).await?;
    delete(c, APPS, "deployments/web", "Background").await?;
    same(c.get(&c.at(APPS, "deployments/web")).await?.code, 404)?;
    wait_count(c, 0).await?;
    // The pod is held, its owners are not.
    c.wait_until("the set is gone", LIMIT, async || {
        Ok(list(c, APPS, "replicasets").await?.is_empty())
    })
    .await?;
    same(
        list(c, "v1", "pods").await?.iter().map(name).collect::<Vec<_>>(),
        names.clone(),
    )?;
    let_go(c, "v1", &format!("pods/{}", names[0])).await?;
    c.wait_gone(LIMIT, &c.at("v1", &format!("pods/{}", names[0])))
        .await
}

async fn in_the_foreground_the_owner_goes_last(c: &Cluster) -> anyhow::Result<()> {
    let names = make_deployment(c, 2, held()).await?;
    delete(c, APPS, "deployments/web", "Foreground").await?;
    wait_count(c, 0).await?;
    quiet().await;
    let web = c.get(&c.at(APPS, "deployments/web")).await?.with_code(200)?;
    contains(&web, json!({"metadata": {"finalizers": ["foregroundDeletion"]}}))?;
    let sets = list(c, APPS, "replicasets").await?;
    same(sets.len(), 1)?;
    contains(
        &sets[0],
        json!({"metadata": {"finalizers": ["foregroundDeletion"]}}),
    )?;
    anyhow::ensure!(!sets[0]["metadata"]["deletionTimestamp"].is_null(), "{}", sets[0]);
    same(list(c, "v1", "pods").await?.len(), 2)?;
    for name in names {
        let_go(c, "v1", &format!("pods/{name}")).await?;
    }
    c.wait_gone(LIMIT, &c.at(APPS, "deployments/web")).await?;
    same(list(c, APPS, "replicasets").await?.len(), 0)
}

async fn what_does_not_block_is_not_waited_for(c: &Cluster) -> anyhow::Result<()> {
    let owner = json!({"metadata": {"name": "owner"}});
    let owner = c.post(&c.at("v1", "configmaps"), &owner).await?.with_code(201)?;
    for (name, blocks) in [("blocking", true), ("other", false)] {
        let mut owners = owned_by("v1", "ConfigMap", &owner);
        owners[0]["blockOwnerDeletion"] = json!(blocks);
        let object = json!({"metadata": {"name": name, "ownerReferences": owners, "finalizers": [HOLD]}});
        c.post(&c.at("v1", "configmaps"), &object).await?.with_code(201)?;
    }
    delete(c, "v1", "configmaps/owner", "Foreground").await?;
    let deleting = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
    for path in ["configmaps/blocking", "configmaps/other"] {
        wait(c, "v1", path, "it is being deleted", deleting).await?;
    }
    quiet().await;
    same(c.get(&c.at("v1", "configmaps/owner")).await?.code, 200)?;
    let_go(c, "v1", "configmaps/blocking").await?;
    c.wait_gone(LIMIT, &c.at("v1", "configmaps/owner")).await?;
    let_go(c, "v1", "configmaps/other").await
}

async fn orphans_stay_without_their_owner(c: &Cluster) -> anyhow::Result<()> {
    let names = make_deployment(c, 2, json!({})).await?;
    delete(c, APPS, "deployments/web", "Orphan").await?;
    c.wait_gone(LIMIT, &c.at(APPS, "deployments/web")).await?;
    let sets = list(c, APPS, "replicasets").await?;
    contains(
        &sets[0],
        json!({"metadata": {"ownerReferences": null, "finalizers": null}, "spec": {"replicas": 2}}),
    )?;
    remain(c, &names).await?;
    // The set works on, and leaves its pods in turn.
    let set = format!("replicasets/{}", name(&sets[0]));
    delete(c, APPS, &set, "Orphan").await?;
    c.wait_gone(LIMIT, &c.at(APPS, &set)).await?;
    for pod in pods(c).await? {
        contains(&pod, json!({"metadata": {"ownerReferences": null}}))?;
    }
    remain(c, &names).await
}

async fn a_job_leaves_its_pods_by_default(c: &Cluster) -> anyhow::Result<()> {
    let work = json!({"template": {"spec": {"schedulerName": "nobody", "restartPolicy": "Never",
        "containers": [{"name": "main", "image": "work:1"}]}}});
    make(c, "batch/v1", "jobs", "work", work).await?;
    let names = wait_count(c, 1).await?;
    let answer = c.delete(&c.at("batch/v1", "jobs/work")).await?;
    same(
        answer.warnings(),
        vec![
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or \
             set propagationPolicy=Orphan to suppress this warning"
                .to_owned(),
        ],
    )?;
    answer.with_code(200)?;
    c.wait_gone(LIMIT, &c.at("batch/v1", "jobs/work")).await?;
    remain(c, &names).await?;
    let path = format!("pods/{}", names[0]);
    wait(c, "v1", &path, "nothing holds it", |pod| {
        pod["metadata"]["finalizers"].is_null() && pod["metadata"]["ownerReferences"].is_null()
    })
    .await?;
    Ok(())
}

async fn a_stateful_set_goes_in_the_foreground(c: &Cluster) -> anyhow::Result<()> {
    let more = with(
        held(),
        json!({"podManagementPolicy": "Parallel", "serviceName": "web"}),
    );
    make(c, APPS, "statefulsets", "web", with(spec(2, "web:1"), more)).await?;
    let names = wait_count(c, 2).await?;
    delete(c, APPS, "statefulsets/web", "Foreground").await?;
    wait_count(c, 0).await?;
    quiet().await;
    same(c.get(&c.at(APPS, "statefulsets/web")).await?.code, 200)?;
    for name in names {
        let_go(c, "v1", &format!("pods/{name}")).await?;
    }
    c.wait_gone(LIMIT, &c.at(APPS, "statefulsets/web")).await?;
    same(list(c, "v1", "pods").await?.len(), 0)?;
    same(list(c, APPS, "controllerrevisions").await?.len(), 0)
}

async fn what_has_another_owner_stays(c: &Cluster) -> anyhow::Result<()> {
    let mut owners = Vec::new();
    for name in ["one", "other"] {
        let object = json!({"metadata": {"name": name}});
        let owner = c.post(&c.at("v1", "configmaps"), &object).await?.with_code(201)?;
        owners.push(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner["metadata"]["uid"]}),
        );
    }
    let object = json!({"metadata": {"name": "theirs", "ownerReferences": owners}});
    c.post(&c.at("v1", "configmaps"), &object).await?.with_code(201)?;
    delete(c, "v1", "configmaps/one", "Background").await?;
    let theirs = wait(c, "v1", "configmaps/theirs", "one owner is left", |object| {
        object["metadata"]["ownerReferences"]
            .as_array()
            .is_some_and(|owners| owners.len() == 1)
    })
    .await?;
    same(
        theirs["metadata"]["ownerReferences"][0].clone(),
        owners[1].clone(),
    )?;
    delete(c, "v1", "configmaps/other", "Background").await?;
    c.wait_gone(LIMIT, &c.at("v1", "configmaps/theirs")).await
}

async fn what_names_an_owner_that_is_not_there_goes(c: &Cluster) -> anyhow::Result<()> {
    let owner = json!([{"apiVersion": APPS, "kind": "ReplicaSet", "name": "nobody", "uid": "0-0-0"}]);
    let pod = with(
        template("web:1"),
        json!({"metadata": {"name": "a", "ownerReferences": owner}}),
    );
    c.post(&c.at("v1", "pods"), &pod).await?.with_code(201)?;
    c.wait_gone(LIMIT, &c.at("v1", "pods/a")).await
}

async fn an_owner_of_another_uid_is_not_there(c: &Cluster) -> anyhow::Result<()> {
    let object = json!({"metadata": {"name": "owner"}});
    c.post(&c.at("v1", "configmaps"), &object).await?.with_code(201)?;
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "0-0-0"}]);
    let object = json!({"metadata": {"name": "theirs", "ownerReferences": owner}});
    c.post(&c.at("v1", "configmaps"), &object).await?.with_code(201)?;
    c.wait_gone(LIMIT, &c.at("v1", "configmaps/theirs")).await?;
    same(c.get(&c.at("v1", "configmaps/owner")).await?.code, 200)
}

/// A namespace of the case beside its own, with a path in it.
async fn make_namespace(c: &Cluster) -> anyhow::Result<String> {
    let name = c.unique("other");
    let namespace = json!({"metadata": {"name": name}});
    c.post("/api/v1/namespaces", &namespace).await?.with_code(201)?;
    c.delete_at_end(format!("/api/v1/namespaces/{name}"));
    Ok(name)
}

async fn a_namespace_takes_everything_along(c: &Cluster) -> anyhow::Result<()> {
    let name = make_namespace(c).await?;
    let at = |version: &str, rest: &str| {
        let root = if version.contains('/') { "apis" } else { "api" };
        format!("/{root}/{version}/namespaces/{name}/{rest}")
    };
    let web = json!({"metadata": {"name": "web"}, "spec": spec(2, "web:1")});
    c.post(&at(APPS, "deployments"), &web).await?.with_code(201)?;
    let claim = json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}},
    }});
    c.post(&at("v1", "persistentvolumeclaims"), &claim)
        .await?
        .with_code(201)?;
    c.wait_until("there are pods", LIMIT, async || {
        let pods = c.get(&at("v1", "pods")).await?.with_code(200)?;
        Ok(pods["items"].as_array().is_some_and(|pods| pods.len() == 2))
    })
    .await?;
    let path = format!("/api/v1/namespaces/{name}");
    let deleted = c.delete(&path).await?.with_code(200)?;
    contains(
        &deleted,
        json!({"status": {"phase": "Terminating"}, "spec": {"finalizers": ["kubernetes"]}}),
    )?;
    c.wait_gone(NAMESPACE_LIMIT, &path).await?;
    for (version, plural) in [
        (APPS, "deployments"),
        (APPS, "replicasets"),
        ("v1", "pods"),
        ("v1", "persistentvolumeclaims"),
    ] {
        let left = c.get(&at(version, plural)).await?.with_code(200)?;
        same(left["items"].clone(), json!([]))?;
    }
    Ok(())
}

async fn a_namespace_says_what_it_waits_for(c: &Cluster) -> anyhow::Result<()> {
    let name = make_namespace(c).await?;
    let maps = format!("/api/v1/namespaces/{name}/configmaps");
    let held = json!({"metadata": {"name": "held", "finalizers": [HOLD]}});
    c.post(&maps, &held).await?.with_code(201)?;
    let path = format!("/api/v1/namespaces/{name}");
    c.delete(&path).await?.with_code(200)?;
    let namespace = c
        .wait_object("it says what is left", NAMESPACE_LIMIT, &path, |namespace| {
            condition(namespace, "NamespaceContentRemaining").is_some_and(|one| one["status"] == "True")
        })
        .await?;
    for (type_, status, reason, message) in [
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            "True",
            "SomeResourcesRemain",
            "Some resources are remaining: configmaps. has 1 resource instances",
        ),
        (
            "NamespaceFinalizersRemaining",
            "True",
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
        ),
    ] {
        contains(
            condition(&namespace, type_).unwrap_or(&Value::Null),
            json!({"status": status, "reason": reason, "message": message}),
        )?;
    }
    c.merge(
        &format!("{maps}/held"),
        &json!({"metadata": {"finalizers": null}}),
    )
    .await?
    .with_code(200)?;
    c.wait_gone(NAMESPACE_LIMIT, &path).await
}

async fn a_namespace_that_ends_takes_nothing_new(c: &Cluster) -> anyhow::Result<()> {
    let name = make_namespace(c).await?;
    let maps = format!("/api/v1/namespaces/{name}/configmaps");
    let held = json!({"metadata": {"name": "held", "finalizers": [HOLD]}});
    c.post(&maps, &held).await?.with_code(201)?;
    c.delete(&format!("/api/v1/namespaces/{name}"))
        .await?
        .with_code(200)?;
    let refused = c.post(&maps, &json!({"metadata": {"name": "late"}})).await?;
    let message = format!(
        "configmaps \"late\" is forbidden: unable to create new content in namespace {name} because it is being terminated"
    );
    let status = refused.refused(403, "Forbidden", &message)?;
    same(text(&status, "/details/causes/0/reason"), "NamespaceTerminating")?;
    c.merge(
        &format!("{maps}/held"),
        &json!({"metadata": {"finalizers": null}}),
    )
    .await?
    .with_code(200)?;
    c.wait_gone(NAMESPACE_LIMIT, &format!("/api/v1/namespaces/{name}"))
        .await
}
