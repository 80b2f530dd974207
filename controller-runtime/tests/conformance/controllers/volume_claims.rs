//! Claims of volumes: whose they are, and how long they stay.

use serde_json::{Value, json};

use super::{
    play::{LIMIT, bind, list, merge, name, owned_by, quiet, template, wait, with},
    stateful_set::{APPS, SET, make_complete, make_set, wait_names, words},
};
use crate::harness::{Cluster, cases, contains, same};

cases![
    claims_are_made_and_stay,
    claims_go_with_their_pods_if_told_to,
    claims_go_with_the_set_if_told_to,
    a_claim_in_use_stays_until_it_is_not,
];

fn claims(more: Value) -> Value {
    let claim = json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}},
    }});
    with(
        json!({"volumeClaimTemplates": [claim], "podManagementPolicy": "Parallel"}),
        more,
    )
}

async fn claim_names(c: &Cluster) -> anyhow::Result<Vec<String>> {
    Ok(list(c, "v1", "persistentvolumeclaims")
        .await?
        .iter()
        .map(name)
        .collect())
}

async fn wait_claims(c: &Cluster, names: &[&str]) -> anyhow::Result<()> {
    let wanted = words(names);
    let what = format!("claims are {names:?}");
    c.wait_until(&what, LIMIT, async || Ok(claim_names(c).await? == wanted))
        .await
}

async fn claims_are_made_and_stay(c: &Cluster) -> anyhow::Result<()> {
    make_set(c, 2, claims(json!({}))).await?;
    wait_names(c, &["db-0", "db-1"]).await?;
    same(claim_names(c).await?, words(&["data-db-0", "data-db-1"]))?;
    let claim = c
        .get(&c.at("v1", "persistentvolumeclaims/data-db-1"))
        .await?
        .with_code(200)?;
    contains(
        &claim,
        json!({"metadata": {"labels": {"app": "web"}, "ownerReferences": null,
                "finalizers": ["kubernetes.io/pvc-protection"]},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none"}, "status": {"phase": "Pending"}}),
    )?;
    let pod = c.get(&c.at("v1", "pods/db-1")).await?.with_code(200)?;
    let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let volume = volumes.into_iter().find(|volume| volume["name"] == "data");
    same(
        volume,
        Some(json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}})),
    )?;
    merge(c, APPS, SET, json!({"spec": {"replicas": 0}})).await?;
    wait_names(c, &[]).await?;
    same(claim_names(c).await?, words(&["data-db-0", "data-db-1"]))?;
    c.delete(&c.at(APPS, SET)).await?.with_code(200)?;
    c.wait_gone(LIMIT, &c.at(APPS, SET)).await?;
    quiet().await;
    same(claim_names(c).await?, words(&["data-db-0", "data-db-1"]))
}

async fn claims_go_with_their_pods_if_told_to(c: &Cluster) -> anyhow::Result<()> {
    let policy =
        json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"}});
    make_complete(c, 2, claims(policy)).await?;
    wait_claims(c, &["data-db-0", "data-db-1"]).await?;
    merge(c, APPS, SET, json!({"spec": {"replicas": 1}})).await?;
    wait_names(c, &["db-0"]).await?;
    wait_claims(c, &["data-db-0"]).await?;
    let claim = c
        .get(&c.at("v1", "persistentvolumeclaims/data-db-0"))
        .await?
        .with_code(200)?;
    contains(&claim, json!({"metadata": {"ownerReferences": null}}))?;
    // A pod that comes again keeps its claim.
    c.delete(&c.at("v1", "pods/db-0")).await?.with_code(200)?;
    wait_names(c, &["db-0"]).await?;
    let again = c
        .get(&c.at("v1", "persistentvolumeclaims/data-db-0"))
        .await?
        .with_code(200)?;
    same(again["metadata"]["uid"].clone(), claim["metadata"]["uid"].clone())
}

async fn claims_go_with_the_set_if_told_to(c: &Cluster) -> anyhow::Result<()> {
    let policy =
        json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Retain", "whenDeleted": "Delete"}});
    let set = make_complete(c, 2, claims(policy)).await?;
    let owned = owned_by(APPS, "StatefulSet", &set);
    let path = "persistentvolumeclaims/data-db-0";
    let claim = wait(c, "v1", path, "it has an owner", |claim| {
        !claim["metadata"]["ownerReferences"].is_null()
    })
    .await?;
    same(claim["metadata"]["ownerReferences"].clone(), owned)?;
    merge(c, APPS, SET, json!({"spec": {"replicas": 1}})).await?;
    wait_names(c, &["db-0"]).await?;
    same(claim_names(c).await?, words(&["data-db-0", "data-db-1"]))?;
    c.delete(&c.at(APPS, SET)).await?.with_code(200)?;
    wait_claims(c, &[]).await
}

async fn a_claim_in_use_stays_until_it_is_not(c: &Cluster) -> anyhow::Result<()> {
    let claim = json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}},
    }});
    c.post(&c.at("v1", "persistentvolumeclaims"), &claim)
        .await?
        .with_code(201)?;
    let volume = json!({"metadata": {"name": "a"}, "spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}});
    c.post(&c.at("v1", "pods"), &with(template("web:1"), volume))
        .await?
        .with_code(201)?;
    bind(c, "a", "nowhere").await?;
    let path = c.at("v1", "persistentvolumeclaims/data");
    c.delete(&path).await?.with_code(200)?;
    quiet().await;
    let claim = c.get(&path).await?.with_code(200)?;
    contains(
        &claim,
        json!({"metadata": {"finalizers": ["kubernetes.io/pvc-protection"]}}),
    )?;
    c.delete_with(&c.at("v1", "pods/a"), &json!({"gracePeriodSeconds": 0}))
        .await?
        .with_code(200)?;
    c.wait_gone(LIMIT, &path).await
}
