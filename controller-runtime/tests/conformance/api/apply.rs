//! Server-side apply: who owns what.

use serde_json::{Value, json};

use super::objects::{config_map, create};
use crate::harness::{Answer, Cluster, cases, contains, same, text};

cases![
    an_apply_creates,
    an_apply_needs_a_manager,
    an_apply_needs_a_kind,
    the_name_applied_must_be_that_of_the_path,
    applying_again_changes_nothing,
    a_field_that_is_mentioned_no_more_is_removed,
    a_field_that_another_manager_has_set_too_stays,
    another_managers_field_conflicts,
    many_conflicts_are_listed,
    a_conflict_with_an_update_names_its_version,
    force_takes_a_field_over,
    equal_values_are_shared,
    an_update_takes_a_field_over,
    managed_fields_may_not_be_applied,
    a_manager_has_one_entry_for_each_kind_of_write,
    a_creation_that_is_invalid_is_refused,
    a_dry_run_applies_nothing,
    an_apply_with_a_uid_does_not_create,
    an_apply_of_unknown_fields_is_strict_by_default,
];

pub(super) async fn apply(
    c: &Cluster,
    version: &str,
    what: &str,
    manager: &str,
    config: &Value,
) -> anyhow::Result<Answer> {
    c.apply(&format!("{}?fieldManager={manager}", c.at(version, what)), config)
        .await
}

async fn force(
    c: &Cluster,
    version: &str,
    what: &str,
    manager: &str,
    config: &Value,
) -> anyhow::Result<Answer> {
    c.apply(
        &format!("{}?fieldManager={manager}&force=true", c.at(version, what)),
        config,
    )
    .await
}

pub(super) fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

/// Of every manager: name, operation, subresource and fields.
pub(super) fn owners(object: &Value) -> Vec<(String, String, String, Value)> {
    let mut found: Vec<_> = object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| {
            let own = |pointer| text(entry, pointer).to_owned();
            (
                own("/manager"),
                own("/operation"),
                own("/subresource"),
                entry["fieldsV1"].clone(),
            )
        })
        .collect();
    found.sort_by_key(|(manager, operation, subresource, _)| {
        (manager.clone(), operation.clone(), subresource.clone())
    });
    found
}

pub(super) fn owner(manager: &str, operation: &str, fields: Value) -> (String, String, String, Value) {
    (manager.to_owned(), operation.to_owned(), String::new(), fields)
}

async fn an_apply_creates(c: &Cluster) -> anyhow::Result<()> {
    let made = apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v"})))
        .await?
        .with_code(201)?;
    contains(
        &made,
        json!({"data": {"k": "v"}, "metadata": {"name": "a", "namespace": c.namespace()}}),
    )?;
    contains(
        &made["metadata"]["managedFields"],
        json!([{"manager": "me", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "subresource": null,
            "time": made["metadata"]["creationTimestamp"], "fieldsV1": {"f:data": {"f:k": {}}}}]),
    )?;
    same(
        owners(&made),
        vec![owner("me", "Apply", json!({"f:data": {"f:k": {}}}))],
    )
}

async fn an_apply_needs_a_manager(c: &Cluster) -> anyhow::Result<()> {
    c.apply(&c.at("v1", "configmaps/a"), &map(json!({}))).await?.refused(
        422,
        "Invalid",
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
    )?;
    Ok(())
}

async fn an_apply_needs_a_kind(c: &Cluster) -> anyhow::Result<()> {
    apply(c, "v1", "configmaps/a", "me", &json!({"metadata": {"name": "a"}}))
        .await?
        .refused(400, "BadRequest", "invalid object type: /, Kind=")?;
    Ok(())
}

async fn the_name_applied_must_be_that_of_the_path(c: &Cluster) -> anyhow::Result<()> {
    apply(c, "v1", "configmaps/b", "me", &map(json!({})))
        .await?
        .refused(
            400,
            "BadRequest",
            "the name of the object (a) does not match the name on the URL (b)",
        )?;
    Ok(())
}

async fn applying_again_changes_nothing(c: &Cluster) -> anyhow::Result<()> {
    let made = apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v"})))
        .await?
        .with_code(201)?;
    let again = apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v"})))
        .await?
        .with_code(200)?;
    same(again, made)
}

async fn a_field_that_is_mentioned_no_more_is_removed(c: &Cluster) -> anyhow::Result<()> {
    apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v", "l": "w"})))
        .await?
        .with_code(201)?;
    let after = apply(c, "v1", "configmaps/a", "me", &map(json!({"l": "w"})))
        .await?
        .with_code(200)?;
    same(after["data"].clone(), json!({"l": "w"}))?;
    same(
        owners(&after),
        vec![owner("me", "Apply", json!({"f:data": {"f:l": {}}}))],
    )
}

async fn a_field_that_another_manager_has_set_too_stays(c: &Cluster) -> anyhow::Result<()> {
    apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v", "l": "w"})))
        .await?
        .with_code(201)?;
    apply(c, "v1", "configmaps/a", "you", &map(json!({"k": "v"})))
        .await?
        .with_code(200)?;
    let after = apply(c, "v1", "configmaps/a", "me", &map(json!({"l": "w"})))
        .await?
        .with_code(200)?;
    same(after["data"].clone(), json!({"k": "v", "l": "w"}))?;
    same(
        owners(&after),
        vec![
            owner("me", "Apply", json!({"f:data": {"f:l": {}}})),
            owner("you", "Apply", json!({"f:data": {"f:k": {}}})),
        ],
    )
}

async fn another_managers_field_conflicts(c: &Cluster) -> anyhow::Result<()> {
    let made = apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v"})))
        .await?
        .with_code(201)?;
    let status = apply(c, "v1", "configmaps/a", "you", &map(json!({"k": "w"})))
        .await?
        .refused(
            409,
            "Conflict",
            "Apply failed with 1 conflict: conflict with \"me\": .data.k",
        )?;
    contains(
        &status,
        json!({"details": {"causes": [{"reason": "FieldManagerConflict", "message": "conflict with \"me\"", "field": ".data.k"}]}}),
    )?;
    same(c.get(&c.at("v1", "configmaps/a")).await?.ok()?, made)
}

async fn many_conflicts_are_listed(c: &Cluster) -> anyhow::Result<()> {
    apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v", "l": "w"})))
        .await?
        .with_code(201)?;
    apply(c, "v1", "configmaps/a", "you", &map(json!({"m": "x"})))
        .await?
        .with_code(200)?;
    apply(c, "v1", "configmaps/a", "they", &map(json!({"k": "1", "l": "2", "m": "3"}))).await?.refused(
        409,
        "Conflict",
        "Apply failed with 3 conflicts: conflicts with \"me\":\n- .data.k\n- .data.l\nconflicts with \"you\":\n- .data.m",
    )?;
    Ok(())
}

async fn a_conflict_with_an_update_names_its_version(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    let status = apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "w"})))
        .await?
        .refused_with(
            409,
            "Conflict",
            "Apply failed with 1 conflict: conflict with \"conformance\" using v1",
        )?;
    anyhow::ensure!(text(&status, "/message").ends_with(": .data.k"), "{status}");
    Ok(())
}

async fn force_takes_a_field_over(c: &Cluster) -> anyhow::Result<()> {
    apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v", "l": "w"})))
        .await?
        .with_code(201)?;
    let after = force(c, "v1", "configmaps/a", "you", &map(json!({"k": "x"})))
        .await?
        .with_code(200)?;
    same(after["data"].clone(), json!({"k": "x", "l": "w"}))?;
    same(
        owners(&after),
        vec![
            owner("me", "Apply", json!({"f:data": {"f:l": {}}})),
            owner("you", "Apply", json!({"f:data": {"f:k": {}}})),
        ],
    )
}

async fn equal_values_are_shared(c: &Cluster) -> anyhow::Result<()> {
    apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v"})))
        .await?
        .with_code(201)?;
    let after = apply(c, "v1", "configmaps/a", "you", &map(json!({"k": "v"})))
        .await?
        .with_code(200)?;
    same(
        owners(&after),
        vec![
            owner("me", "Apply", json!({"f:data": {"f:k": {}}})),
            owner("you", "Apply", json!({"f:data": {"f:k": {}}})),
        ],
    )?;
    apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "w"})))
        .await?
        .refused_with(409, "Conflict", "conflict with \"you\": .data.k")?;
    Ok(())
}

async fn an_update_takes_a_field_over(c: &Cluster) -> anyhow::Result<()> {
    apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v", "l": "w"})))
        .await?
        .with_code(201)?;
    let path = format!("{}?fieldManager=editor", c.at("v1", "configmaps/a"));
    let after = c
        .merge(&path, &json!({"data": {"k": "x"}}))
        .await?
        .with_code(200)?;
    same(
        owners(&after),
        vec![
            owner("editor", "Update", json!({"f:data": {"f:k": {}}})),
            owner("me", "Apply", json!({"f:data": {"f:l": {}}})),
        ],
    )?;
    apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v", "l": "w"})))
        .await?
        .refused_with(409, "Conflict", "conflict with \"editor\" using v1")?;
    Ok(())
}

async fn managed_fields_may_not_be_applied(c: &Cluster) -> anyhow::Result<()> {
    let made = apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v"})))
        .await?
        .with_code(201)?;
    let mut config = map(json!({"k": "v"}));
    config["metadata"]["managedFields"] = made["metadata"]["managedFields"].clone();
    apply(c, "v1", "configmaps/a", "me", &config)
        .await?
        .refused_with(400, "BadRequest", "metadata.managedFields must be nil")?;
    Ok(())
}

async fn a_manager_has_one_entry_for_each_kind_of_write(c: &Cluster) -> anyhow::Result<()> {
    apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v"})))
        .await?
        .with_code(201)?;
    let path = format!("{}?fieldManager=me", c.at("v1", "configmaps/a"));
    c.merge(&path, &json!({"data": {"l": "w"}}))
        .await?
        .with_code(200)?;
    let after = c
        .merge(&path, &json!({"data": {"m": "x"}}))
        .await?
        .with_code(200)?;
    same(
        owners(&after),
        vec![
            owner("me", "Apply", json!({"f:data": {"f:k": {}}})),
            owner("me", "Update", json!({"f:data": {"f:l": {}, "f:m": {}}})),
        ],
    )
}

async fn a_creation_that_is_invalid_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let config =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {}});
    apply(c, "apps/v1", "deployments/a", "me", &config)
        .await?
        .refused_with(422, "Invalid", "spec.selector: Required value")?;
    Ok(())
}

async fn a_dry_run_applies_nothing(c: &Cluster) -> anyhow::Result<()> {
    let path = format!("{}?fieldManager=me&dryRun=All", c.at("v1", "configmaps/a"));
    let made = c.apply(&path, &map(json!({"k": "v"}))).await?.with_code(201)?;
    contains(&made, json!({"data": {"k": "v"}}))?;
    c.get(&c.at("v1", "configmaps/a")).await?.with_code(404)?;
    Ok(())
}

async fn an_apply_with_a_uid_does_not_create(c: &Cluster) -> anyhow::Result<()> {
    let mut config = map(json!({}));
    config["metadata"]["uid"] = json!("11111111-0000-4000-8000-000000000000");
    apply(c, "v1", "configmaps/a", "me", &config).await?.refused(
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"a\": uid mismatch: the provided object specified uid 11111111-0000-4000-8000-000000000000, and no existing object was found",
    )?;
    Ok(())
}

async fn an_apply_of_unknown_fields_is_strict_by_default(c: &Cluster) -> anyhow::Result<()> {
    let mut config = map(json!({"k": "v"}));
    config["datum"] = json!(1);
    let answer = apply(c, "v1", "configmaps/a", "me", &config).await?;
    let status = answer.with_code(500)?;
    anyhow::ensure!(
        text(&status, "/message").contains(".datum: field not declared in schema"),
        "{status}"
    );
    Ok(())
}
