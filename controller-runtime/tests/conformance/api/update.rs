//! Updates: versions, generations, conflicts, what is immutable, dry run.

use serde_json::{Value, json};

use super::objects::{config_map, create, deployment, pod};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    an_update_changes_the_version,
    an_update_at_an_old_version_conflicts,
    an_update_without_a_version_overwrites,
    some_kinds_need_a_version,
    an_update_of_another_uid_conflicts,
    an_update_that_changes_nothing_keeps_the_version,
    an_update_of_a_missing_object_is_not_found,
    a_lease_is_created_by_an_update,
    the_name_in_the_body_must_be_that_of_the_path,
    the_generation_counts_changes_of_the_spec,
    a_config_map_has_no_generation,
    a_status_write_changes_only_the_status,
    a_main_write_does_not_change_the_status,
    system_metadata_cannot_be_changed,
    a_deployment_selector_is_immutable,
    a_pod_may_change_its_image_and_little_else,
    a_job_template_is_immutable,
    a_service_address_is_immutable,
    a_dry_run_creates_nothing,
    a_dry_run_updates_and_deletes_nothing,
    an_unknown_dry_run_is_refused,
    a_deletion_timestamp_cannot_be_set,
    a_pod_counts_generations_of_its_spec,
];

async fn an_update_changes_the_version(c: &Cluster) -> anyhow::Result<()> {
    let mut map = create(c, "v1", "configmaps", &config_map("a")).await?;
    map["data"]["k"] = json!("w");
    let after = c.put(&c.at("v1", "configmaps/a"), &map).await?.with_code(200)?;
    contains(
        &after,
        json!({"data": {"k": "w"}, "metadata": {"uid": map["metadata"]["uid"], "creationTimestamp": map["metadata"]["creationTimestamp"]}}),
    )?;
    let version = |object: &Value| text(object, "/metadata/resourceVersion").parse::<u64>();
    anyhow::ensure!(version(&after)? > version(&map)?);
    Ok(())
}

async fn an_update_at_an_old_version_conflicts(c: &Cluster) -> anyhow::Result<()> {
    let map = create(c, "v1", "configmaps", &config_map("a")).await?;
    let mut first = map.clone();
    first["data"]["k"] = json!("first");
    c.put(&c.at("v1", "configmaps/a"), &first).await?.with_code(200)?;
    let mut second = map;
    second["data"]["k"] = json!("second");
    let status = c.put(&c.at("v1", "configmaps/a"), &second).await?.refused(
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
    )?;
    contains(&status, json!({"details": {"name": "a", "kind": "configmaps"}}))?;
    let found = c.get(&c.at("v1", "configmaps/a")).await?.ok()?;
    contains(&found, json!({"data": {"k": "first"}}))
}

async fn an_update_without_a_version_overwrites(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    let mut map = config_map("a");
    map["data"] = json!({"other": "x"});
    let after = c.put(&c.at("v1", "configmaps/a"), &map).await?.with_code(200)?;
    same(after["data"].clone(), json!({"other": "x"}))
}

async fn some_kinds_need_a_version(c: &Cluster) -> anyhow::Result<()> {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"}, "spec": {"leaseDurationSeconds": 15}});
    create(c, "coordination.k8s.io/v1", "leases", &lease).await?;
    c.put(&c.at("coordination.k8s.io/v1", "leases/a"), &lease).await?.refused(
        422,
        "Invalid",
        "leases.coordination.k8s.io \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update",
    )?;
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "a"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "none"}}}});
    create(c, "policy/v1", "poddisruptionbudgets", &budget).await?;
    c.put(&c.at("policy/v1", "poddisruptionbudgets/a"), &budget)
        .await?
        .refused_with(422, "Invalid", "must be specified for an update")?;
    Ok(())
}

async fn an_update_of_another_uid_conflicts(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "configmaps", &config_map("a")).await?;
    let mut map = config_map("a");
    map["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000000");
    let uid = text(&made, "/metadata/uid");
    c.put(&c.at("v1", "configmaps/a"), &map).await?.refused(
        409,
        "Conflict",
        &format!("Operation cannot be fulfilled on configmaps \"a\": StorageError: invalid object, Code: 4, Key: /registry/configmaps/{}/a, \
            ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: 00000000-0000-4000-8000-000000000000, UID in object meta: {uid}", c.namespace()),
    )?;
    Ok(())
}

async fn an_update_that_changes_nothing_keeps_the_version(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "configmaps", &config_map("a")).await?;
    let after = c.put(&c.at("v1", "configmaps/a"), &made).await?.with_code(200)?;
    same(&after, &made)?;
    let after = c
        .merge(&c.at("v1", "configmaps/a"), &json!({"data": {"k": "v"}}))
        .await?
        .with_code(200)?;
    same(
        text(&after, "/metadata/resourceVersion"),
        text(&made, "/metadata/resourceVersion"),
    )
}

async fn an_update_of_a_missing_object_is_not_found(c: &Cluster) -> anyhow::Result<()> {
    c.put(&c.at("v1", "configmaps/a"), &config_map("a"))
        .await?
        .refused(404, "NotFound", "configmaps \"a\" not found")?;
    c.merge(&c.at("v1", "configmaps/a"), &json!({"data": {}}))
        .await?
        .refused(404, "NotFound", "configmaps \"a\" not found")?;
    Ok(())
}

async fn a_lease_is_created_by_an_update(c: &Cluster) -> anyhow::Result<()> {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"}, "spec": {"holderIdentity": "me"}});
    let made = c
        .put(&c.at("coordination.k8s.io/v1", "leases/a"), &lease)
        .await?
        .with_code(201)?;
    contains(&made, json!({"spec": {"holderIdentity": "me"}}))
}

async fn the_name_in_the_body_must_be_that_of_the_path(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    c.put(&c.at("v1", "configmaps/a"), &config_map("b"))
        .await?
        .refused(
            400,
            "BadRequest",
            "the name of the object (b) does not match the name on the URL (a)",
        )?;
    Ok(())
}

async fn the_generation_counts_changes_of_the_spec(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "apps/v1", "deployments", &deployment("a")).await?;
    contains(&made, json!({"metadata": {"generation": 1}}))?;
    let path = c.at("apps/v1", "deployments/a");
    for (patch, generation) in [
        (json!({"metadata": {"labels": {"x": "y"}}}), 1),
        (json!({"spec": {"minReadySeconds": 3}}), 2),
        (json!({"spec": {"minReadySeconds": 3}}), 2),
        (
            json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}),
            3,
        ),
    ] {
        let after = c.merge(&path, &patch).await?.with_code(200)?;
        contains(&after, json!({"metadata": {"generation": generation}}))?;
    }
    let after = c
        .merge(&format!("{path}/status"), &json!({"status": {"replicas": 0}}))
        .await?
        .with_code(200)?;
    contains(&after, json!({"metadata": {"generation": 3}}))
}

async fn a_config_map_has_no_generation(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    let after = c
        .merge(&c.at("v1", "configmaps/a"), &json!({"data": {"k": "w"}}))
        .await?
        .with_code(200)?;
    contains(&after, json!({"metadata": {"generation": null}}))
}

async fn a_status_write_changes_only_the_status(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &pod("a")).await?;
    let patch = json!({"metadata": {"labels": {"new": "label"}}, "spec": {"activeDeadlineSeconds": 7}, "status": {"message": "hello"}});
    let after = c
        .merge(&c.at("v1", "pods/a/status"), &patch)
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"spec": {"activeDeadlineSeconds": null}, "status": {"message": "hello", "phase": "Pending"}}),
    )?;
    let budget = json!({"metadata": {"name": "a"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "none"}}}});
    create(c, "policy/v1", "poddisruptionbudgets", &budget).await?;
    let after = c
        .merge(
            &c.at("policy/v1", "poddisruptionbudgets/a/status"),
            &json!({"spec": {"minAvailable": 2}, "metadata": {"labels": {"new": "label"}}}),
        )
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"spec": {"minAvailable": 1}, "metadata": {"labels": {"new": "label"}}}),
    )?;
    create(c, "apps/v1", "deployments", &deployment("a")).await?;
    let patch = json!({"spec": {"paused": true}, "metadata": {"labels": {"new": "label"}, "annotations": {"new": "note"}}});
    let after = c
        .merge(&c.at("apps/v1", "deployments/a/status"), &patch)
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"spec": {"paused": null}, "metadata": {"labels": null, "annotations": {"new": "note"}}}),
    )
}

async fn a_main_write_does_not_change_the_status(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &pod("a")).await?;
    let after = c
        .merge(&c.at("v1", "pods/a"), &json!({"status": {"message": "hello"}}))
        .await?
        .with_code(200)?;
    contains(&after, json!({"status": {"message": null, "phase": "Pending"}}))?;
    let mut made = pod("b");
    made["status"] = json!({"phase": "Running", "message": "hello"});
    let made = create(c, "v1", "pods", &made).await?;
    contains(&made, json!({"status": {"phase": "Pending", "message": null}}))
}

async fn system_metadata_cannot_be_changed(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "configmaps", &config_map("a")).await?;
    let patch = json!({"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 9, "selfLink": "/x"}, "data": {"k": "w"}});
    let after = c
        .merge(&c.at("v1", "configmaps/a"), &patch)
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"data": {"k": "w"}, "metadata": {"creationTimestamp": made["metadata"]["creationTimestamp"]}}),
    )?;
    let mut mine = config_map("b");
    mine["metadata"]["uid"] = json!("mine");
    mine["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    let made = create(c, "v1", "configmaps", &mine).await?;
    anyhow::ensure!(text(&made, "/metadata/uid") != "mine");
    anyhow::ensure!(!text(&made, "/metadata/creationTimestamp").starts_with("2001"));
    let mut mine = config_map("c");
    mine["metadata"]["resourceVersion"] = json!("12");
    let answer = c.post(&c.at("v1", "configmaps"), &mine).await?;
    let status = answer.with_code(500)?;
    contains(
        &status,
        json!({"message": "resourceVersion should not be set on objects to be created"}),
    )
}

async fn a_deployment_selector_is_immutable(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &deployment("a")).await?;
    let patch = json!({"spec": {"selector": {"matchLabels": {"app": "b"}}, "template": {"metadata": {"labels": {"app": "b"}}}}});
    c.merge(&c.at("apps/v1", "deployments/a"), &patch).await?.refused(
        422,
        "Invalid",
        "Deployment.apps \"a\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable",
    )?;
    Ok(())
}

async fn a_pod_may_change_its_image_and_little_else(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &pod("a")).await?;
    let patch = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "nginx:2"}]);
    let after = c
        .patch("application/json-patch+json", &c.at("v1", "pods/a"), &patch)
        .await?
        .with_code(200)?;
    contains(&after, json!({"spec": {"containers": [{"image": "nginx:2"}]}}))?;
    c.merge(&c.at("v1", "pods/a"), &json!({"spec": {"restartPolicy": "Never"}})).await?.refused_with(
        422,
        "Invalid",
        "Pod \"a\" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
         `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
    )?;
    Ok(())
}

async fn a_job_template_is_immutable(c: &Cluster) -> anyhow::Result<()> {
    let job = json!({"metadata": {"name": "a"}, "spec": {"parallelism": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}}}});
    create(c, "batch/v1", "jobs", &job).await?;
    let after = c
        .merge(&c.at("batch/v1", "jobs/a"), &json!({"spec": {"backoffLimit": 2}}))
        .await?
        .with_code(200)?;
    contains(&after, json!({"spec": {"backoffLimit": 2}}))?;
    c.merge(
        &c.at("batch/v1", "jobs/a"),
        &json!({"spec": {"template": {"spec": {"activeDeadlineSeconds": 5}}}}),
    )
    .await?
    .refused_with(422, "Invalid", "field is immutable")?;
    c.merge(&c.at("batch/v1", "jobs/a"), &json!({"spec": {"completions": 5}}))
        .await?
        .refused_with(
            422,
            "Invalid",
            "Job.batch \"a\" is invalid: spec.completions: Invalid value: 5: field is immutable",
        )?;
    Ok(())
}

async fn a_service_address_is_immutable(c: &Cluster) -> anyhow::Result<()> {
    let service =
        json!({"metadata": {"name": "a"}, "spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]}});
    let made = create(c, "v1", "services", &service).await?;
    anyhow::ensure!(text(&made, "/spec/clusterIP").split('.').count() == 4);
    c.merge(
        &c.at("v1", "services/a"),
        &json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
    )
    .await?
    .refused_with(
        422,
        "Invalid",
        "spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set",
    )?;
    Ok(())
}

async fn a_dry_run_creates_nothing(c: &Cluster) -> anyhow::Result<()> {
    let made = c
        .post(&c.at("v1", "configmaps?dryRun=All"), &config_map("a"))
        .await?
        .with_code(201)?;
    contains(&made, json!({"metadata": {"resourceVersion": null, "name": "a"}}))?;
    same(text(&made, "/metadata/uid").len(), 36)?;
    c.get(&c.at("v1", "configmaps/a")).await?.with_code(404)?;
    c.post(&c.at("v1", "configmaps?dryRun=All"), &config_map("Not_Valid"))
        .await?
        .with_code(422)?;
    Ok(())
}

async fn a_dry_run_updates_and_deletes_nothing(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "configmaps", &config_map("a")).await?;
    let after = c
        .merge(
            &c.at("v1", "configmaps/a?dryRun=All"),
            &json!({"data": {"k": "w"}}),
        )
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"data": {"k": "w"}, "metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}),
    )?;
    c.delete(&c.at("v1", "configmaps/a?dryRun=All"))
        .await?
        .with_code(200)?;
    c.delete(&c.at("v1", "configmaps?dryRun=All"))
        .await?
        .with_code(200)?;
    same(c.get(&c.at("v1", "configmaps/a")).await?.with_code(200)?, made)
}

async fn an_unknown_dry_run_is_refused(c: &Cluster) -> anyhow::Result<()> {
    c.post(&c.at("v1", "configmaps?dryRun=Some"), &config_map("a")).await?.refused(
        422,
        "Invalid",
        "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"",
    )?;
    Ok(())
}

async fn a_deletion_timestamp_cannot_be_set(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    let patch = json!({"metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}});
    c.merge(&c.at("v1", "configmaps/a"), &patch).await?.refused(
        422,
        "Invalid",
        "ConfigMap \"a\" is invalid: metadata.deletionTimestamp: Invalid value: \"2030-01-01T00:00:00Z\": field is immutable",
    )?;
    Ok(())
}

async fn a_pod_counts_generations_of_its_spec(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "pods", &pod("a")).await?;
    contains(&made, json!({"metadata": {"generation": 1}}))?;
    let after = c
        .merge(
            &c.at("v1", "pods/a"),
            &json!({"spec": {"activeDeadlineSeconds": 60}}),
        )
        .await?
        .with_code(200)?;
    contains(&after, json!({"metadata": {"generation": 2}}))?;
    let after = c
        .merge(
            &c.at("v1", "pods/a"),
            &json!({"metadata": {"labels": {"x": "y"}}}),
        )
        .await?
        .with_code(200)?;
    contains(&after, json!({"metadata": {"generation": 2}}))
}
