//! Namespaces, Secrets, ConfigMaps, Events, ServiceAccounts, Leases.

use std::time::Duration;

use serde_json::{Value, json};

use super::objects::{config_map, create, names};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    a_namespace_is_filled_in,
    a_new_namespace_gets_a_service_account,
    a_deleted_namespace_takes_everything_along,
    a_terminating_namespace_refuses_creations,
    system_namespaces_are_there,
    a_secret_takes_strings,
    an_immutable_secret_stays,
    a_secret_keeps_its_type,
    secret_data_must_be_base64,
    a_config_map_takes_bytes,
    a_config_map_key_must_be_a_file_name,
    an_immutable_config_map_stays,
    a_key_may_not_be_in_both_data,
    an_event_of_either_group_is_one_object,
    an_event_belongs_to_its_objects_namespace,
    a_lease_is_renewed_by_compare_and_swap,
    a_lease_duration_must_be_positive,
    a_service_account_is_made,
    roles_bind_what_they_name,
];

const LIMIT: Duration = Duration::from_secs(90);

async fn namespace(c: &Cluster) -> anyhow::Result<(String, Value)> {
    let name = c.unique("made");
    let made = c
        .post(
            "/api/v1/namespaces",
            &json!({"metadata": {"name": name, "labels": {"team": "x"}}}),
        )
        .await?
        .with_code(201)?;
    c.delete_at_end(format!("/api/v1/namespaces/{name}"));
    Ok((name, made))
}

async fn a_namespace_is_filled_in(c: &Cluster) -> anyhow::Result<()> {
    let (name, made) = namespace(c).await?;
    contains(
        &made,
        json!({"metadata": {"labels": {"team": "x", "kubernetes.io/metadata.name": name}, "finalizers": null},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}),
    )
}

async fn a_new_namespace_gets_a_service_account(c: &Cluster) -> anyhow::Result<()> {
    let (name, _) = namespace(c).await?;
    let path = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
    let first = c
        .wait_object("the account is there", LIMIT, &path, |_| true)
        .await?;
    c.delete(&path).await?.with_code(200)?;
    let second = c
        .wait_object("the account is there again", LIMIT, &path, |account| {
            account["metadata"]["uid"] != first["metadata"]["uid"]
        })
        .await?;
    contains(
        &second,
        json!({"metadata": {"name": "default", "namespace": name}}),
    )
}

async fn a_deleted_namespace_takes_everything_along(c: &Cluster) -> anyhow::Result<()> {
    let (name, _) = namespace(c).await?;
    let root = format!("/api/v1/namespaces/{name}");
    c.post(&format!("{root}/configmaps"), &config_map("a"))
        .await?
        .with_code(201)?;
    let mut pod = super::objects::pod("a");
    pod["metadata"]["name"] = json!("a");
    let account = format!("{root}/serviceaccounts/default");
    c.wait_object("the account is there", LIMIT, &account, |_| true)
        .await?;
    c.post(&format!("{root}/pods"), &pod).await?.with_code(201)?;
    let deleted = c.delete(&root).await?.with_code(200)?;
    contains(
        &deleted,
        json!({"kind": "Namespace", "status": {"phase": "Terminating"}, "spec": {"finalizers": ["kubernetes"]}, "metadata": {"deletionGracePeriodSeconds": null}}),
    )?;
    c.wait_gone(LIMIT, &root).await?;
    same(names(&c.get(&format!("{root}/configmaps")).await?.ok()?), vec![])?;
    same(names(&c.get(&format!("{root}/pods")).await?.ok()?), vec![])
}

async fn a_terminating_namespace_refuses_creations(c: &Cluster) -> anyhow::Result<()> {
    let (name, _) = namespace(c).await?;
    let root = format!("/api/v1/namespaces/{name}");
    let mut held = config_map("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    c.post(&format!("{root}/configmaps"), &held)
        .await?
        .with_code(201)?;
    c.delete(&root).await?.with_code(200)?;
    // The namespace that admission knows may be behind, but not for ever.
    let status = c
        .wait_for("creations are refused", LIMIT, async || {
            let answer = c
                .post(
                    &format!("{root}/configmaps"),
                    &json!({"metadata": {"generateName": "late-"}}),
                )
                .await?;
            Ok((answer.code == 403).then_some(answer.body))
        })
        .await?;
    let message = text(&status, "/message");
    anyhow::ensure!(message.starts_with("configmaps \"late-"), "{message}");
    anyhow::ensure!(
        message.ends_with(&format!(
            "\" is forbidden: unable to create new content in namespace {name} because it is being terminated"
        )),
        "{message}"
    );
    contains(
        &status,
        json!({"reason": "Forbidden", "details": {"kind": "configmaps", "causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}}),
    )?;
    c.merge(
        &format!("{root}/configmaps/held"),
        &json!({"metadata": {"finalizers": null}}),
    )
    .await?
    .with_code(200)?;
    c.wait_gone(LIMIT, &root).await
}

async fn system_namespaces_are_there(c: &Cluster) -> anyhow::Result<()> {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let found = c
            .get(&format!("/api/v1/namespaces/{name}"))
            .await?
            .with_code(200)?;
        contains(&found, json!({"status": {"phase": "Active"}}))?;
    }
    c.delete("/api/v1/namespaces/kube-system").await?.refused(
        403,
        "Forbidden",
        "namespaces \"kube-system\" is forbidden: this namespace may not be deleted",
    )?;
    Ok(())
}

async fn a_secret_takes_strings(c: &Cluster) -> anyhow::Result<()> {
    let secret =
        json!({"metadata": {"name": "a"}, "data": {"k": "b2xk", "raw": "cmF3"}, "stringData": {"k": "new"}});
    let made = create(c, "v1", "secrets", &secret).await?;
    contains(
        &made,
        json!({"type": "Opaque", "stringData": null, "data": {"k": "bmV3", "raw": "cmF3"}}),
    )
}

async fn an_immutable_secret_stays(c: &Cluster) -> anyhow::Result<()> {
    create(
        c,
        "v1",
        "secrets",
        &json!({"metadata": {"name": "a"}, "immutable": true, "data": {"k": "b2xk"}}),
    )
    .await?;
    c.merge(&c.at("v1", "secrets/a"), &json!({"stringData": {"k": "new"}}))
        .await?
        .refused(
            422,
            "Invalid",
            "Secret \"a\" is invalid: data: Forbidden: field is immutable when `immutable` is set",
        )?;
    c.merge(&c.at("v1", "secrets/a"), &json!({"immutable": false}))
        .await?
        .refused(
            422,
            "Invalid",
            "Secret \"a\" is invalid: immutable: Forbidden: field is immutable when `immutable` is set",
        )?;
    c.merge(
        &c.at("v1", "secrets/a"),
        &json!({"metadata": {"labels": {"x": "y"}}}),
    )
    .await?
    .with_code(200)?;
    Ok(())
}

async fn a_secret_keeps_its_type(c: &Cluster) -> anyhow::Result<()> {
    create(
        c,
        "v1",
        "secrets",
        &json!({"metadata": {"name": "a"}, "type": "example.com/one"}),
    )
    .await?;
    c.merge(&c.at("v1", "secrets/a"), &json!({"type": "example.com/two"}))
        .await?
        .refused(
            422,
            "Invalid",
            "Secret \"a\" is invalid: type: Invalid value: \"example.com/two\": field is immutable",
        )?;
    Ok(())
}

async fn secret_data_must_be_base64(c: &Cluster) -> anyhow::Result<()> {
    c.post(
        &c.at("v1", "secrets"),
        &json!({"metadata": {"name": "a"}, "data": {"k": "not base64!"}}),
    )
    .await?
    .refused(
        400,
        "BadRequest",
        "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 3",
    )?;
    Ok(())
}

async fn a_config_map_takes_bytes(c: &Cluster) -> anyhow::Result<()> {
    let map = json!({"metadata": {"name": "a"}, "binaryData": {"k": "AAEC"}});
    let made = create(c, "v1", "configmaps", &map).await?;
    contains(&made, json!({"binaryData": {"k": "AAEC"}, "data": null}))
}

async fn a_config_map_key_must_be_a_file_name(c: &Cluster) -> anyhow::Result<()> {
    c.post(&c.at("v1", "configmaps"), &json!({"metadata": {"name": "a"}, "data": {"not/a/file": "x"}})).await?.refused(
        422,
        "Invalid",
        "ConfigMap \"a\" is invalid: data[not/a/file]: Invalid value: \"not/a/file\": a valid config key must consist of alphanumeric \
         characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
    )?;
    Ok(())
}

async fn an_immutable_config_map_stays(c: &Cluster) -> anyhow::Result<()> {
    create(
        c,
        "v1",
        "configmaps",
        &json!({"metadata": {"name": "a"}, "immutable": true, "data": {"k": "v"}}),
    )
    .await?;
    c.merge(&c.at("v1", "configmaps/a"), &json!({"data": {"k": "w"}}))
        .await?
        .refused(
            422,
            "Invalid",
            "ConfigMap \"a\" is invalid: data: Forbidden: field is immutable when `immutable` is set",
        )?;
    Ok(())
}

async fn a_key_may_not_be_in_both_data(c: &Cluster) -> anyhow::Result<()> {
    c.post(
        &c.at("v1", "configmaps"),
        &json!({"metadata": {"name": "a"}, "data": {"k": "v"}, "binaryData": {"k": "AAEC"}}),
    )
    .await?
    .refused_with(422, "Invalid", "duplicate of key present in ")?;
    Ok(())
}

fn event(c: &Cluster, name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": c.namespace()},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": c.namespace()},
        "reason": "Tested", "message": "it was", "type": "Normal", "source": {"component": "suite"}, "count": 2,
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:01:00Z"})
}

async fn an_event_of_either_group_is_one_object(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "events", &event(c, "a")).await?;
    let other = c
        .get(&c.at("events.k8s.io/v1", "events/a"))
        .await?
        .with_code(200)?;
    contains(
        &other,
        json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "regarding": {"kind": "Pod", "name": "web"}, "note": "it was", "reason": "Tested",
            "deprecatedCount": 2, "deprecatedSource": {"component": "suite"}, "deprecatedFirstTimestamp": "2026-01-01T00:00:00Z", "message": null}),
    )
}

async fn an_event_belongs_to_its_objects_namespace(c: &Cluster) -> anyhow::Result<()> {
    let mut object = event(c, "a");
    object["involvedObject"]["namespace"] = json!("elsewhere");
    c.post(&c.at("v1", "events"), &object).await?.refused_with(
        422,
        "Invalid",
        "Event \"a\" is invalid: involvedObject.namespace: Invalid value: \"elsewhere\": does not match event.namespace",
    )?;
    Ok(())
}

fn lease(holder: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.500000Z", "leaseTransitions": 0}})
}

async fn a_lease_is_renewed_by_compare_and_swap(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "coordination.k8s.io/v1", "leases", &lease("one")).await?;
    contains(
        &made,
        json!({"spec": {"renewTime": "2026-01-01T00:00:00.500000Z"}}),
    )?;
    let mut first = lease("two");
    first["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    c.put(&c.at("coordination.k8s.io/v1", "leases/a"), &first)
        .await?
        .with_code(200)?;
    first["spec"]["holderIdentity"] = json!("three");
    c.put(&c.at("coordination.k8s.io/v1", "leases/a"), &first)
        .await?
        .refused_with(
            409,
            "Conflict",
            "Operation cannot be fulfilled on leases.coordination.k8s.io \"a\": the object has been modified",
        )?;
    Ok(())
}

async fn a_lease_duration_must_be_positive(c: &Cluster) -> anyhow::Result<()> {
    let mut object = lease("one");
    object["spec"]["leaseDurationSeconds"] = json!(0);
    c.post(&c.at("coordination.k8s.io/v1", "leases"), &object).await?.refused(
        422,
        "Invalid",
        "Lease.coordination.k8s.io \"a\" is invalid: spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
    )?;
    Ok(())
}

async fn a_service_account_is_made(c: &Cluster) -> anyhow::Result<()> {
    let made = create(
        c,
        "v1",
        "serviceaccounts",
        &json!({"metadata": {"name": "robot"}, "automountServiceAccountToken": false}),
    )
    .await?;
    contains(
        &made,
        json!({"kind": "ServiceAccount", "automountServiceAccountToken": false, "secrets": null}),
    )
}

async fn roles_bind_what_they_name(c: &Cluster) -> anyhow::Result<()> {
    let role = json!({"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    create(c, "rbac.authorization.k8s.io/v1", "roles", &role).await?;
    let binding = json!({"metadata": {"name": "reader"}, "roleRef": {"kind": "Role", "name": "reader"},
        "subjects": [{"kind": "User", "name": "eve"}, {"kind": "ServiceAccount", "name": "robot", "namespace": c.namespace()}]});
    let made = create(c, "rbac.authorization.k8s.io/v1", "rolebindings", &binding).await?;
    contains(
        &made,
        json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io"},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io"}, {"kind": "ServiceAccount", "apiGroup": null}]}),
    )?;
    c.merge(
        &c.at("rbac.authorization.k8s.io/v1", "rolebindings/reader"),
        &json!({"roleRef": {"name": "other"}}),
    )
    .await?
    .refused_with(422, "Invalid", "cannot change roleRef")?;
    Ok(())
}
