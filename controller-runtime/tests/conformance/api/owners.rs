//! `managedFields`: what is owned one by one, and what as a whole.

use serde_json::{Value, json};

use super::{
    apply::{apply, map, owner, owners},
    objects::{config_map, create, deployment},
};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    containers_are_owned_one_by_one,
    a_container_is_removed_by_not_mentioning_it,
    finalizers_are_a_set,
    a_port_is_known_by_number_and_protocol,
    an_atomic_map_is_owned_as_a_whole,
    an_owner_reference_is_owned_as_a_whole,
    a_status_is_applied_apart,
    the_replicas_that_another_scales_are_left_to_it,
    a_scale_takes_the_replicas_over,
    an_update_is_tracked,
    managed_fields_can_be_cleared,
];

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
