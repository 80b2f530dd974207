//! Deletion: answers, preconditions, finalizers, dependents.

use std::time::Duration;

use serde_json::{Value, json};

use super::objects::{config_map, create, deployment, names, pod};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    a_deletion_answers_with_a_status,
    a_deleted_pod_is_answered_with_itself,
    a_deletion_of_a_missing_object_is_not_found,
    a_deletion_of_another_uid_conflicts,
    a_deletion_of_another_version_conflicts,
    fulfilled_preconditions_delete,
    an_unknown_propagation_policy_is_refused,
    orphaning_and_a_policy_contradict,
    a_finalizer_holds_a_deletion_up,
    an_object_that_is_being_deleted_takes_no_new_finalizer,
    deleting_twice_changes_nothing,
    an_invalid_finalizer_is_refused,
    a_collection_is_deleted_by_selection,
    a_collection_of_pods_is_deleted,
    a_background_deletion_takes_dependents_after_their_owner,
    a_foreground_deletion_takes_dependents_before_their_owner,
    a_foreground_deletion_waits_only_for_those_that_block,
    an_orphaning_deletion_frees_the_dependents,
    a_dependent_of_an_owner_that_is_gone_is_collected,
    a_dependent_of_an_owner_of_another_uid_is_collected,
    a_dependent_with_another_owner_stays,
    a_dependent_of_an_owner_in_another_namespace_is_collected,
    owner_references_must_be_complete,
    only_one_owner_controls,
    a_pod_without_a_node_goes_at_once,
    a_bound_pod_is_given_its_grace,
    a_grace_of_zero_deletes_at_once,
    a_negative_grace_is_taken_as_one_second,
];

const LIMIT: Duration = Duration::from_secs(60);

fn owned_by(owner: &Value, name: &str, block: bool) -> Value {
    let mut map = config_map(name);
    map["metadata"]["ownerReferences"] = json!([{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"],
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "blockOwnerDeletion": block,
    }]);
    map
}

async fn a_deletion_answers_with_a_status(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "configmaps", &config_map("a")).await?;
    let status = c.delete(&c.at("v1", "configmaps/a")).await?.with_code(200)?;
    same(
        status,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}}),
    )?;
    let made = create(c, "apps/v1", "deployments", &deployment("a")).await?;
    let status = c
        .delete(&c.at("apps/v1", "deployments/a"))
        .await?
        .with_code(200)?;
    contains(
        &status,
        json!({"details": {"name": "a", "group": "apps", "kind": "deployments", "uid": made["metadata"]["uid"]}}),
    )
}

async fn a_deleted_pod_is_answered_with_itself(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "pods", &pod("a")).await?;
    let gone = c.delete(&c.at("v1", "pods/a")).await?.with_code(200)?;
    contains(
        &gone,
        json!({"kind": "Pod", "metadata": {"name": "a", "uid": made["metadata"]["uid"]}}),
    )
}

async fn a_deletion_of_a_missing_object_is_not_found(c: &Cluster) -> anyhow::Result<()> {
    c.delete(&c.at("v1", "configmaps/a"))
        .await?
        .refused(404, "NotFound", "configmaps \"a\" not found")?;
    Ok(())
}

async fn a_deletion_of_another_uid_conflicts(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "configmaps", &config_map("a")).await?;
    c.delete_with(&c.at("v1", "configmaps/a"), &json!({"preconditions": {"uid": "other"}})).await?.refused(
        409,
        "Conflict",
        &format!(
            "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (other) does not match the UID in record ({}). The object might have been deleted and then recreated",
            text(&made, "/metadata/uid")
        ),
    )?;
    c.get(&c.at("v1", "configmaps/a")).await?.with_code(200)?;
    Ok(())
}

async fn a_deletion_of_another_version_conflicts(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "configmaps", &config_map("a")).await?;
    c.delete_with(&c.at("v1", "configmaps/a"), &json!({"preconditions": {"resourceVersion": "1"}})).await?.refused(
        409,
        "Conflict",
        &format!(
            "Operation cannot be fulfilled on ConfigMap \"a\": the ResourceVersion in the precondition (1) does not match the ResourceVersion in record ({}). The object might have been modified",
            text(&made, "/metadata/resourceVersion")
        ),
    )?;
    Ok(())
}

async fn fulfilled_preconditions_delete(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "configmaps", &config_map("a")).await?;
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1",
        "preconditions": {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}});
    c.delete_with(&c.at("v1", "configmaps/a"), &options)
        .await?
        .with_code(200)?;
    c.get(&c.at("v1", "configmaps/a")).await?.with_code(404)?;
    Ok(())
}

async fn an_unknown_propagation_policy_is_refused(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    c.delete(&c.at("v1", "configmaps/a?propagationPolicy=Sideways")).await?.refused_with(
        422,
        "Invalid",
        "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Sideways\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
    )?;
    Ok(())
}

async fn orphaning_and_a_policy_contradict(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    let options = json!({"orphanDependents": true, "propagationPolicy": "Background"});
    c.delete_with(&c.at("v1", "configmaps/a"), &options)
        .await?
        .refused_with(
            422,
            "Invalid",
            "orphanDependents and deletionPropagation cannot be both set",
        )?;
    Ok(())
}

async fn a_finalizer_holds_a_deletion_up(c: &Cluster) -> anyhow::Result<()> {
    let mut map = config_map("a");
    map["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let made = create(c, "v1", "configmaps", &map).await?;
    let deleted = c.delete(&c.at("v1", "configmaps/a")).await?.with_code(200)?;
    contains(
        &deleted,
        json!({"kind": "ConfigMap", "metadata": {"uid": made["metadata"]["uid"], "deletionGracePeriodSeconds": 0, "finalizers": ["example.com/hold"]}}),
    )?;
    anyhow::ensure!(!text(&deleted, "/metadata/deletionTimestamp").is_empty());
    c.merge(
        &c.at("v1", "configmaps/a"),
        &json!({"data": {"k": "still writable"}}),
    )
    .await?
    .with_code(200)?;
    let last = c
        .merge(
            &c.at("v1", "configmaps/a"),
            &json!({"metadata": {"finalizers": null}}),
        )
        .await?
        .with_code(200)?;
    contains(&last, json!({"metadata": {"finalizers": null, "name": "a"}}))?;
    c.get(&c.at("v1", "configmaps/a")).await?.with_code(404)?;
    Ok(())
}

async fn an_object_that_is_being_deleted_takes_no_new_finalizer(c: &Cluster) -> anyhow::Result<()> {
    let mut map = config_map("a");
    map["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(c, "v1", "configmaps", &map).await?;
    c.delete(&c.at("v1", "configmaps/a")).await?.with_code(200)?;
    let path = c.at("v1", "configmaps/a");
    c.merge(&path, &json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}})).await?.refused(
        422,
        "Invalid",
        "ConfigMap \"a\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/more\"}",
    )?;
    c.merge(&path, &json!({"metadata": {"finalizers": null}}))
        .await?
        .with_code(200)?;
    Ok(())
}

async fn deleting_twice_changes_nothing(c: &Cluster) -> anyhow::Result<()> {
    let mut map = config_map("a");
    map["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(c, "v1", "configmaps", &map).await?;
    let path = c.at("v1", "configmaps/a");
    let first = c.delete(&path).await?.with_code(200)?;
    let second = c.delete(&path).await?.with_code(200)?;
    same(&second, &first)?;
    c.merge(&path, &json!({"metadata": {"finalizers": []}}))
        .await?
        .with_code(200)?;
    c.get(&path).await?.with_code(404)?;
    Ok(())
}

async fn an_invalid_finalizer_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let mut map = config_map("a");
    map["metadata"]["finalizers"] = json!(["hold me"]);
    c.post(&c.at("v1", "configmaps"), &map).await?.refused(
        422,
        "Invalid",
        "ConfigMap \"a\" is invalid: [metadata.finalizers: Invalid value: \"hold me\": name part must consist of \
         alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  \
         or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), \
         metadata.finalizers[0]: Invalid value: \"hold me\": name is neither a standard finalizer name nor is it fully \
         qualified]",
    )?;
    let mut map = config_map("b");
    map["metadata"]["finalizers"] = json!(["unqualified"]);
    c.post(&c.at("v1", "configmaps"), &map).await?.refused(
        422,
        "Invalid",
        "ConfigMap \"b\" is invalid: metadata.finalizers[0]: Invalid value: \"unqualified\": name is neither a standard \
         finalizer name nor is it fully qualified",
    )?;
    Ok(())
}

async fn a_collection_is_deleted_by_selection(c: &Cluster) -> anyhow::Result<()> {
    for (name, on) in [("a", "yes"), ("b", "no"), ("c", "yes")] {
        create(
            c,
            "v1",
            "secrets",
            &json!({"metadata": {"name": name, "labels": {"on": on}}}),
        )
        .await?;
    }
    let list = c
        .delete(&c.at("v1", "secrets?labelSelector=on=yes"))
        .await?
        .with_code(200)?;
    contains(&list, json!({"kind": "SecretList", "apiVersion": "v1"}))?;
    same(names(&list), vec!["a", "c"])?;
    same(names(&c.get(&c.at("v1", "secrets")).await?.ok()?), vec!["b"])
}

async fn a_collection_of_pods_is_deleted(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &pod("a")).await?;
    create(c, "v1", "pods", &pod("b")).await?;
    let list = c.delete(&c.at("v1", "pods")).await?.with_code(200)?;
    contains(&list, json!({"kind": "PodList"}))?;
    same(names(&list), vec!["a", "b"])?;
    same(names(&c.get(&c.at("v1", "pods")).await?.ok()?), vec![])
}

async fn a_background_deletion_takes_dependents_after_their_owner(c: &Cluster) -> anyhow::Result<()> {
    let owner = create(c, "v1", "configmaps", &config_map("owner")).await?;
    let child = create(c, "v1", "configmaps", &owned_by(&owner, "child", true)).await?;
    create(c, "v1", "configmaps", &owned_by(&child, "grandchild", false)).await?;
    c.delete(&c.at("v1", "configmaps/owner?propagationPolicy=Background"))
        .await?
        .with_code(200)?;
    c.get(&c.at("v1", "configmaps/owner")).await?.with_code(404)?;
    c.wait_gone(LIMIT, &c.at("v1", "configmaps/child")).await?;
    c.wait_gone(LIMIT, &c.at("v1", "configmaps/grandchild")).await
}

async fn a_foreground_deletion_takes_dependents_before_their_owner(c: &Cluster) -> anyhow::Result<()> {
    let owner = create(c, "v1", "configmaps", &config_map("owner")).await?;
    let mut child = owned_by(&owner, "child", true);
    child["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(c, "v1", "configmaps", &child).await?;
    let deleted = c
        .delete(&c.at("v1", "configmaps/owner?propagationPolicy=Foreground"))
        .await?
        .with_code(200)?;
    contains(
        &deleted,
        json!({"kind": "ConfigMap", "metadata": {"finalizers": ["foregroundDeletion"]}}),
    )?;
    let path = c.at("v1", "configmaps/child");
    c.wait_object("the child is being deleted", LIMIT, &path, |child| {
        !child["metadata"]["deletionTimestamp"].is_null()
    })
    .await?;
    c.get(&c.at("v1", "configmaps/owner")).await?.with_code(200)?;
    c.merge(&path, &json!({"metadata": {"finalizers": null}}))
        .await?
        .with_code(200)?;
    c.wait_gone(LIMIT, &c.at("v1", "configmaps/owner")).await
}

async fn a_foreground_deletion_waits_only_for_those_that_block(c: &Cluster) -> anyhow::Result<()> {
    let owner = create(c, "v1", "configmaps", &config_map("owner")).await?;
    let mut child = owned_by(&owner, "child", false);
    child["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(c, "v1", "configmaps", &child).await?;
    c.delete(&c.at("v1", "configmaps/owner?propagationPolicy=Foreground"))
        .await?
        .with_code(200)?;
    c.wait_gone(LIMIT, &c.at("v1", "configmaps/owner")).await?;
    let path = c.at("v1", "configmaps/child");
    c.wait_object("the child is being deleted", LIMIT, &path, |child| {
        !child["metadata"]["deletionTimestamp"].is_null()
    })
    .await?;
    c.merge(&path, &json!({"metadata": {"finalizers": null}}))
        .await?
        .with_code(200)?;
    Ok(())
}

async fn an_orphaning_deletion_frees_the_dependents(c: &Cluster) -> anyhow::Result<()> {
    let owner = create(c, "v1", "configmaps", &config_map("owner")).await?;
    create(c, "v1", "configmaps", &owned_by(&owner, "child", true)).await?;
    // The collector has to know of the child.
    c.wait_until("some time has passed", LIMIT, {
        let start = tokio::time::Instant::now();
        async move || Ok(start.elapsed() > Duration::from_secs(1))
    })
    .await?;
    let deleted = c
        .delete(&c.at("v1", "configmaps/owner?propagationPolicy=Orphan"))
        .await?
        .with_code(200)?;
    contains(&deleted, json!({"metadata": {"finalizers": ["orphan"]}}))?;
    c.wait_gone(LIMIT, &c.at("v1", "configmaps/owner")).await?;
    let child = c.get(&c.at("v1", "configmaps/child")).await?.with_code(200)?;
    contains(
        &child,
        json!({"metadata": {"ownerReferences": null, "deletionTimestamp": null}}),
    )
}

async fn a_dependent_of_an_owner_that_is_gone_is_collected(c: &Cluster) -> anyhow::Result<()> {
    let owner = create(c, "v1", "configmaps", &config_map("owner")).await?;
    c.delete(&c.at("v1", "configmaps/owner")).await?.with_code(200)?;
    create(c, "v1", "configmaps", &owned_by(&owner, "child", false)).await?;
    c.wait_gone(LIMIT, &c.at("v1", "configmaps/child")).await
}

async fn a_dependent_of_an_owner_of_another_uid_is_collected(c: &Cluster) -> anyhow::Result<()> {
    let mut owner = create(c, "v1", "configmaps", &config_map("owner")).await?;
    owner["metadata"]["uid"] = json!("11111111-0000-4000-8000-000000000000");
    create(c, "v1", "configmaps", &owned_by(&owner, "child", false)).await?;
    c.wait_gone(LIMIT, &c.at("v1", "configmaps/child")).await?;
    c.get(&c.at("v1", "configmaps/owner")).await?.with_code(200)?;
    Ok(())
}

async fn a_dependent_with_another_owner_stays(c: &Cluster) -> anyhow::Result<()> {
    let one = create(c, "v1", "configmaps", &config_map("one")).await?;
    let two = create(c, "v1", "configmaps", &config_map("two")).await?;
    let mut child = owned_by(&one, "child", false);
    let second = owned_by(&two, "child", false)["metadata"]["ownerReferences"][0].clone();
    if let Some(owners) = child["metadata"]["ownerReferences"].as_array_mut() {
        owners.push(second);
    }
    create(c, "v1", "configmaps", &child).await?;
    c.delete(&c.at("v1", "configmaps/one?propagationPolicy=Background"))
        .await?
        .with_code(200)?;
    let path = c.at("v1", "configmaps/child");
    let left = c
        .wait_object("one owner is left", LIMIT, &path, |child| {
            child["metadata"]["ownerReferences"]
                .as_array()
                .is_some_and(|owners| owners.len() == 1)
        })
        .await?;
    contains(
        &left,
        json!({"metadata": {"ownerReferences": [{"name": "two"}], "deletionTimestamp": null}}),
    )
}

async fn a_dependent_of_an_owner_in_another_namespace_is_collected(c: &Cluster) -> anyhow::Result<()> {
    let other = c.unique("other");
    c.post("/api/v1/namespaces", &json!({"metadata": {"name": other}}))
        .await?
        .with_code(201)?;
    c.delete_at_end(format!("/api/v1/namespaces/{other}"));
    let owner = c
        .post(
            &format!("/api/v1/namespaces/{other}/configmaps"),
            &config_map("owner"),
        )
        .await?
        .with_code(201)?;
    create(c, "v1", "configmaps", &owned_by(&owner, "child", false)).await?;
    c.wait_gone(LIMIT, &c.at("v1", "configmaps/child")).await
}

async fn owner_references_must_be_complete(c: &Cluster) -> anyhow::Result<()> {
    let mut map = config_map("a");
    map["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "", "uid": ""}]);
    c.post(&c.at("v1", "configmaps"), &map).await?.refused(
        422,
        "Invalid",
        "ConfigMap \"a\" is invalid: [metadata.ownerReferences.name: Invalid value: \"\": must not be empty, metadata.ownerReferences.uid: Invalid value: \"\": must not be empty]",
    )?;
    Ok(())
}

async fn only_one_owner_controls(c: &Cluster) -> anyhow::Result<()> {
    let mut map = config_map("a");
    let owner = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": name, "controller": true});
    map["metadata"]["ownerReferences"] = json!([owner("one"), owner("two")]);
    c.post(&c.at("v1", "configmaps"), &map).await?.refused_with(
        422,
        "Invalid",
        "Only one reference can have Controller set to true. Found \"true\" in references for ConfigMap/one and ConfigMap/two",
    )?;
    Ok(())
}

/// A pod that is bound to a node that does not exist, so that nobody stops it.
async fn bound(c: &Cluster) -> anyhow::Result<String> {
    let mut pod = pod("a");
    pod["spec"]["nodeName"] = json!(c.unique("silent"));
    pod["spec"]["terminationGracePeriodSeconds"] = json!(600);
    pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(c, "v1", "pods", &pod).await?;
    Ok(c.at("v1", "pods/a"))
}

async fn a_pod_without_a_node_goes_at_once(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &pod("a")).await?;
    c.delete(&c.at("v1", "pods/a")).await?.with_code(200)?;
    c.get(&c.at("v1", "pods/a")).await?.with_code(404)?;
    Ok(())
}

async fn a_bound_pod_is_given_its_grace(c: &Cluster) -> anyhow::Result<()> {
    let path = bound(c).await?;
    let deleted = c.delete(&path).await?.with_code(200)?;
    contains(
        &deleted,
        json!({"kind": "Pod", "metadata": {"deletionGracePeriodSeconds": 600}}),
    )?;
    let shortened = c
        .delete(&format!("{path}?gracePeriodSeconds=60"))
        .await?
        .with_code(200)?;
    contains(
        &shortened,
        json!({"metadata": {"deletionGracePeriodSeconds": 60}}),
    )?;
    let same_grace = c
        .delete(&format!("{path}?gracePeriodSeconds=300"))
        .await?
        .with_code(200)?;
    contains(
        &same_grace,
        json!({"metadata": {"deletionGracePeriodSeconds": 60}}),
    )?;
    c.merge(&path, &json!({"metadata": {"finalizers": null}}))
        .await?
        .with_code(200)?;
    Ok(())
}

async fn a_grace_of_zero_deletes_at_once(c: &Cluster) -> anyhow::Result<()> {
    let path = bound(c).await?;
    c.merge(&path, &json!({"metadata": {"finalizers": null}}))
        .await?
        .with_code(200)?;
    let answer = c.delete_with(&path, &json!({"gracePeriodSeconds": 0})).await?;
    answer.with_code(200)?;
    c.get(&path).await?.with_code(404)?;
    Ok(())
}

async fn a_negative_grace_is_taken_as_one_second(c: &Cluster) -> anyhow::Result<()> {
    let path = bound(c).await?;
    let deleted = c
        .delete(&format!("{path}?gracePeriodSeconds=-5"))
        .await?
        .with_code(200)?;
    contains(&deleted, json!({"metadata": {"deletionGracePeriodSeconds": 1}}))?;
    c.merge(&path, &json!({"metadata": {"finalizers": null}}))
        .await?
        .with_code(200)?;
    Ok(())
}
