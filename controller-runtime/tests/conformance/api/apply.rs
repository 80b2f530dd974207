//! Server-side apply: who owns what.

use serde_json::{Value, json};

use super::objects::{config_map, create, deployment};
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
    containers_are_owned_one_by_one,
    a_container_is_removed_by_not_mentioning_it,
    finalizers_are_a_set,
    a_port_is_known_by_number_and_protocol,
    managed_fields_may_not_be_applied,
    a_manager_has_one_entry_for_each_kind_of_write,
    an_update_is_tracked,
    a_status_is_applied_apart,
    a_creation_that_is_invalid_is_refused,
    an_atomic_map_is_owned_as_a_whole,
    managed_fields_can_be_cleared,
    a_dry_run_applies_nothing,
    an_apply_with_a_uid_does_not_create,
    an_apply_of_unknown_fields_is_strict_by_default,
    an_owner_reference_is_owned_as_a_whole,
    the_replicas_that_another_scales_are_left_to_it,
    a_scale_takes_the_replicas_over,
];

async fn apply(
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

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

/// Of every manager: name, operation, subresource and fields.
fn owners(object: &Value) -> Vec<(String, String, String, Value)> {
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

fn owner(manager: &str, operation: &str, fields: Value) -> (String, String, String, Value) {
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

async fn containers_are_owned_one_by_one(c: &Cluster) -> anyhow::Result<()> {
    let made = apply(c, "apps/v1", "deployments/a", "me", &deployment("a"))
        .await?
        .with_code(201)?;
    same(
        owners(&made),
        vec![owner(
            "me",
            "Apply",
            json!({"f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {".": {}, "f:image": {}, "f:name": {}}}},
            }}}),
        )],
    )?;
    let side = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "envoy:1"}]}}}});
    let after = apply(c, "apps/v1", "deployments/a", "you", &side)
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main"}, {"name": "side"}]}}}}),
    )?;
    let again = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "other:1"}]}}}});
    apply(c, "apps/v1", "deployments/a", "you", &again).await?.refused(
        409,
        "Conflict",
        "Apply failed with 1 conflict: conflict with \"me\": .spec.template.spec.containers[name=\"main\"].image",
    )?;
    Ok(())
}

async fn a_container_is_removed_by_not_mentioning_it(c: &Cluster) -> anyhow::Result<()> {
    let mut two = deployment("a");
    two["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "main", "image": "a:1"}, {"name": "side", "image": "b:1"}]);
    apply(c, "apps/v1", "deployments/a", "me", &two)
        .await?
        .with_code(201)?;
    let after = apply(c, "apps/v1", "deployments/a", "me", &deployment("a"))
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "nginx:1"}]}}}}),
    )
}

async fn finalizers_are_a_set(c: &Cluster) -> anyhow::Result<()> {
    let with = |finalizers: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": finalizers}});
    apply(c, "v1", "configmaps/a", "me", &with(json!(["example.com/mine"])))
        .await?
        .with_code(201)?;
    let after = apply(
        c,
        "v1",
        "configmaps/a",
        "you",
        &with(json!(["example.com/yours"])),
    )
    .await?
    .with_code(200)?;
    same(
        after["metadata"]["finalizers"].clone(),
        json!(["example.com/mine", "example.com/yours"]),
    )?;
    same(
        owners(&after)[0].3.clone(),
        json!({"f:metadata": {"f:finalizers": {"v:\"example.com/mine\"": {}}}}),
    )?;
    let after = apply(c, "v1", "configmaps/a", "me", &with(json!([])))
        .await?
        .with_code(200)?;
    same(
        after["metadata"]["finalizers"].clone(),
        json!(["example.com/yours"]),
    )?;
    c.merge(
        &c.at("v1", "configmaps/a"),
        &json!({"metadata": {"finalizers": null}}),
    )
    .await?
    .ok()?;
    Ok(())
}

async fn a_port_is_known_by_number_and_protocol(c: &Cluster) -> anyhow::Result<()> {
    let with = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": ports}});
    let made = apply(
        c,
        "v1",
        "services/a",
        "me",
        &with(json!([{"name": "web", "port": 80}])),
    )
    .await?
    .with_code(201)?;
    same(
        owners(&made),
        vec![owner(
            "me",
            "Apply",
            json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}}}}}),
        )],
    )?;
    let after = apply(
        c,
        "v1",
        "services/a",
        "you",
        &with(json!([{"name": "dns", "port": 80, "protocol": "UDP"}])),
    )
    .await?
    .with_code(200)?;
    contains(
        &after,
        json!({"spec": {"ports": [{"name": "web", "protocol": "TCP", "targetPort": 80}, {"name": "dns", "protocol": "UDP"}]}}),
    )
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

async fn an_update_is_tracked(c: &Cluster) -> anyhow::Result<()> {
    let mut object = config_map("a");
    object["metadata"]["labels"] = json!({"x": "y"});
    let made = create(c, "v1", "configmaps", &object).await?;
    same(
        owners(&made),
        vec![owner(
            "conformance",
            "Update",
            json!({"f:data": {".": {}, "f:k": {}}, "f:metadata": {"f:labels": {".": {}, "f:x": {}}}}),
        )],
    )?;
    let path = format!("{}?fieldManager=editor", c.at("v1", "configmaps/a"));
    let after = c
        .merge(&path, &json!({"data": {"k": "w"}}))
        .await?
        .with_code(200)?;
    same(
        owners(&after),
        vec![
            owner(
                "conformance",
                "Update",
                json!({"f:data": {}, "f:metadata": {"f:labels": {".": {}, "f:x": {}}}}),
            ),
            owner("editor", "Update", json!({"f:data": {"f:k": {}}})),
        ],
    )
}

async fn a_status_is_applied_apart(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &super::objects::pod("a")).await?;
    let config =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "status": {"message": "hello"}});
    let after = apply(c, "v1", "pods/a/status", "me", &config)
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"status": {"message": "hello", "phase": "Pending"}}),
    )?;
    let mine = owners(&after).into_iter().find(|owner| owner.0 == "me");
    same(
        mine,
        Some((
            "me".to_owned(),
            "Apply".to_owned(),
            "status".to_owned(),
            json!({"f:status": {"f:message": {}}}),
        )),
    )?;
    let ignored = apply(c, "v1", "pods/a", "me", &config).await?.with_code(200)?;
    same(ignored["status"].clone(), after["status"].clone())
}

async fn a_creation_that_is_invalid_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let config =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": {}});
    apply(c, "apps/v1", "deployments/a", "me", &config)
        .await?
        .refused_with(422, "Invalid", "spec.selector: Required value")?;
    Ok(())
}

async fn an_atomic_map_is_owned_as_a_whole(c: &Cluster) -> anyhow::Result<()> {
    let with = |selector: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}], "selector": selector}});
    apply(c, "v1", "services/a", "me", &with(json!({"app": "a"})))
        .await?
        .with_code(201)?;
    apply(c, "v1", "services/a", "you", &with(json!({"tier": "b"})))
        .await?
        .refused(
            409,
            "Conflict",
            "Apply failed with 1 conflict: conflict with \"me\": .spec.selector",
        )?;
    Ok(())
}

async fn managed_fields_can_be_cleared(c: &Cluster) -> anyhow::Result<()> {
    apply(c, "v1", "configmaps/a", "me", &map(json!({"k": "v"})))
        .await?
        .with_code(201)?;
    let after = c
        .merge(
            &c.at("v1", "configmaps/a"),
            &json!({"metadata": {"managedFields": [{}]}}),
        )
        .await?
        .with_code(200)?;
    same(owners(&after), vec![])
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

async fn an_owner_reference_is_owned_as_a_whole(c: &Cluster) -> anyhow::Result<()> {
    let owner = create(c, "v1", "configmaps", &config_map("owner")).await?;
    let uid = text(&owner, "/metadata/uid");
    let mut config = map(json!({"k": "v"}));
    config["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]);
    let made = apply(c, "v1", "configmaps/a", "me", &config)
        .await?
        .with_code(201)?;
    let step = format!("k:{{\"uid\":\"{uid}\"}}");
    same(
        owners(&made)[0].3["f:metadata"].clone(),
        json!({"f:ownerReferences": {step: {}}}),
    )
}

async fn the_replicas_that_another_scales_are_left_to_it(c: &Cluster) -> anyhow::Result<()> {
    let mut config = deployment("a");
    if let Some(spec) = config["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    config["spec"]["template"]["spec"]["schedulerName"] = json!("nobody");
    apply(c, "apps/v1", "deployments/a", "me", &config)
        .await?
        .with_code(201)?;
    let scale = format!("{}?fieldManager=scaler", c.at("apps/v1", "deployments/a/scale"));
    c.merge(&scale, &json!({"spec": {"replicas": 3}}))
        .await?
        .with_code(200)?;
    let after = apply(c, "apps/v1", "deployments/a", "me", &config)
        .await?
        .with_code(200)?;
    contains(&after, json!({"spec": {"replicas": 3}}))?;
    // A scale is tracked only where somebody has applied the replicas.
    anyhow::ensure!(owners(&after).iter().all(|owner| owner.0 != "scaler"));
    Ok(())
}

async fn a_scale_takes_the_replicas_over(c: &Cluster) -> anyhow::Result<()> {
    let mut config = deployment("a");
    config["spec"]["template"]["spec"]["schedulerName"] = json!("nobody");
    apply(c, "apps/v1", "deployments/a", "me", &config)
        .await?
        .with_code(201)?;
    let scale = format!("{}?fieldManager=scaler", c.at("apps/v1", "deployments/a/scale"));
    c.merge(&scale, &json!({"spec": {"replicas": 3}}))
        .await?
        .with_code(200)?;
    apply(c, "apps/v1", "deployments/a", "me", &config).await?.refused(
        409,
        "Conflict",
        "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas",
    )?;
    Ok(())
}
