//! What the server fills in, and what it refuses, of built-in kinds.

use serde_json::{Value, json};

use super::objects::{create, deployment, pod};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    a_pod_is_filled_in,
    a_pod_mounts_the_token_of_its_account,
    a_pod_needs_its_account,
    a_pod_gets_its_quality_of_service,
    a_pod_gets_its_priority_from_a_class,
    an_unknown_priority_class_is_forbidden,
    requests_follow_limits,
    a_probe_is_filled_in,
    a_pod_without_containers_is_refused,
    containers_have_different_names,
    a_request_above_its_limit_is_refused,
    a_quantity_must_be_one,
    quantities_are_kept_canonical,
    a_deployment_is_filled_in,
    a_deployment_selector_must_match_its_template,
    a_deployment_needs_a_selector,
    a_stateful_set_is_filled_in,
    a_job_is_filled_in,
    a_jobs_pods_do_not_always_restart,
    a_service_is_filled_in,
    an_autoscaler_is_filled_in,
    an_autoscaler_of_version_one_is_the_same_object,
    an_autoscaler_minimum_above_the_maximum_is_refused,
    an_autoscaler_without_a_minimum_of_zero_needs_an_external_metric,
    a_budget_is_filled_in,
    a_budget_with_both_bounds_is_refused,
    a_node_starts_not_ready,
    a_cron_job_needs_a_schedule,
];

async fn a_pod_is_filled_in(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "pods", &pod("a")).await?;
    contains(
        &made,
        json!({
            "spec": {
                "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
                "securityContext": {}, "serviceAccountName": "default", "serviceAccount": "default",
                "schedulerName": "nobody", "enableServiceLinks": true, "priority": 0, "preemptionPolicy": "PreemptLowerPriority",
                "tolerations": [
                    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                ],
                "containers": [{
                    "name": "main", "image": "nginx:1", "imagePullPolicy": "IfNotPresent", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                }],
            },
            "status": {"phase": "Pending", "qosClass": "BestEffort"},
        }),
    )?;
    let mut latest = pod("b");
    latest["spec"]["containers"][0]["image"] = json!("nginx");
    let made = create(c, "v1", "pods", &latest).await?;
    contains(
        &made,
        json!({"spec": {"containers": [{"imagePullPolicy": "Always"}]}}),
    )
}

async fn a_pod_mounts_the_token_of_its_account(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "pods", &pod("a")).await?;
    let name = text(&made, "/spec/volumes/0/name");
    anyhow::ensure!(name.starts_with("kube-api-access-"), "{made}");
    let mount =
        json!({"name": name, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true});
    contains(
        &made,
        json!({"spec": {"containers": [{"volumeMounts": [mount]}]}}),
    )
}

async fn a_pod_needs_its_account(c: &Cluster) -> anyhow::Result<()> {
    let mut object = pod("a");
    object["spec"]["serviceAccountName"] = json!("nobody");
    c.post(&c.at("v1", "pods"), &object).await?.refused(
        403,
        "Forbidden",
        &format!("pods \"a\" is forbidden: error looking up service account {}/nobody: serviceaccount \"nobody\" not found", c.namespace()),
    )?;
    Ok(())
}

async fn a_pod_gets_its_quality_of_service(c: &Cluster) -> anyhow::Result<()> {
    let all = json!({"cpu": "1", "memory": "1Gi"});
    for (name, resources, class) in [
        (
            "guaranteed",
            json!({"requests": all, "limits": all}),
            "Guaranteed",
        ),
        ("burstable", json!({"requests": {"cpu": "100m"}}), "Burstable"),
        ("none", json!({}), "BestEffort"),
    ] {
        let mut object = pod(name);
        object["spec"]["containers"][0]["resources"] = resources;
        let made = create(c, "v1", "pods", &object).await?;
        same(text(&made, "/status/qosClass"), class)?;
    }
    Ok(())
}

async fn a_pod_gets_its_priority_from_a_class(c: &Cluster) -> anyhow::Result<()> {
    let class = c.unique("high");
    let object = json!({"metadata": {"name": class}, "value": 1000, "preemptionPolicy": "Never"});
    let made = c
        .post("/apis/scheduling.k8s.io/v1/priorityclasses", &object)
        .await?
        .with_code(201)?;
    contains(&made, json!({"globalDefault": null, "value": 1000}))?;
    c.delete_at_end(format!("/apis/scheduling.k8s.io/v1/priorityclasses/{class}"));
    let mut object = pod("a");
    object["spec"]["priorityClassName"] = json!(class);
    let made = create(c, "v1", "pods", &object).await?;
    contains(
        &made,
        json!({"spec": {"priority": 1000, "preemptionPolicy": "Never", "priorityClassName": class}}),
    )
}

async fn an_unknown_priority_class_is_forbidden(c: &Cluster) -> anyhow::Result<()> {
    let mut object = pod("a");
    object["spec"]["priorityClassName"] = json!("no-such-class");
    c.post(&c.at("v1", "pods"), &object).await?.refused(
        403,
        "Forbidden",
        "pods \"a\" is forbidden: no PriorityClass with name no-such-class was found",
    )?;
    Ok(())
}

async fn requests_follow_limits(c: &Cluster) -> anyhow::Result<()> {
    let mut object = pod("a");
    object["spec"]["containers"][0]["resources"] =
        json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"memory": "512Mi"}});
    let made = create(c, "v1", "pods", &object).await?;
    same(
        made["spec"]["containers"][0]["resources"].clone(),
        json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "2", "memory": "512Mi"}}),
    )
}

async fn a_probe_is_filled_in(c: &Cluster) -> anyhow::Result<()> {
    let mut object = pod("a");
    object["spec"]["containers"][0]["readinessProbe"] = json!({"httpGet": {"port": 80}});
    object["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80}]);
    let made = create(c, "v1", "pods", &object).await?;
    contains(
        &made,
        json!({"spec": {"containers": [{
            "readinessProbe": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
        }]}}),
    )
}

async fn a_pod_without_containers_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let mut object = pod("a");
    object["spec"]["containers"] = json!([]);
    c.post(&c.at("v1", "pods"), &object).await?.refused(
        422,
        "Invalid",
        "Pod \"a\" is invalid: spec.containers: Required value",
    )?;
    let mut object = pod("a");
    object["spec"]["containers"] = json!([{"name": "main"}]);
    c.post(&c.at("v1", "pods"), &object).await?.refused(
        422,
        "Invalid",
        "Pod \"a\" is invalid: spec.containers[0].image: Required value",
    )?;
    Ok(())
}

async fn containers_have_different_names(c: &Cluster) -> anyhow::Result<()> {
    let mut object = pod("a");
    object["spec"]["containers"] = json!([{"name": "main", "image": "a"}, {"name": "main", "image": "b"}]);
    c.post(&c.at("v1", "pods"), &object).await?.refused(
        422,
        "Invalid",
        "Pod \"a\" is invalid: spec.containers[1].name: Duplicate value: \"main\"",
    )?;
    Ok(())
}

async fn a_request_above_its_limit_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let mut object = pod("a");
    object["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}});
    c.post(&c.at("v1", "pods"), &object).await?.refused(
        422,
        "Invalid",
        "Pod \"a\" is invalid: spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
    )?;
    Ok(())
}

async fn a_quantity_must_be_one(c: &Cluster) -> anyhow::Result<()> {
    let mut object = pod("a");
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "lots"}});
    c.post(&c.at("v1", "pods"), &object).await?.refused_with(
        400,
        "BadRequest",
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    )?;
    Ok(())
}

async fn quantities_are_kept_canonical(c: &Cluster) -> anyhow::Result<()> {
    let mut object = pod("a");
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": 0.5, "memory": "1024Mi", "example.com/gpu": "2"}, "limits": {"example.com/gpu": 2}});
    let made = create(c, "v1", "pods", &object).await?;
    same(
        made["spec"]["containers"][0]["resources"].clone(),
        json!({"requests": {"cpu": "500m", "memory": "1Gi", "example.com/gpu": "2"}, "limits": {"example.com/gpu": "2"}}),
    )
}

async fn a_deployment_is_filled_in(c: &Cluster) -> anyhow::Result<()> {
    let mut object = deployment("a");
    object["spec"]["template"]["spec"]["schedulerName"] = json!("nobody");
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    let made = create(c, "apps/v1", "deployments", &object).await?;
    contains(
        &made,
        json!({
            "metadata": {"generation": 1, "labels": null},
            "spec": {
                "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
                "template": {"spec": {"restartPolicy": "Always", "tolerations": null, "serviceAccountName": null, "priority": null}},
            },
        }),
    )?;
    same(made["status"].clone(), json!({}))
}

async fn a_deployment_selector_must_match_its_template(c: &Cluster) -> anyhow::Result<()> {
    let mut object = deployment("a");
    object["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    c.post(&c.at("apps/v1", "deployments"), &object).await?.refused(
        422,
        "Invalid",
        "Deployment.apps \"a\" is invalid: spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`",
    )?;
    Ok(())
}

async fn a_deployment_needs_a_selector(c: &Cluster) -> anyhow::Result<()> {
    let mut object = deployment("a");
    object["spec"]["selector"] = Value::Null;
    c.post(&c.at("apps/v1", "deployments"), &object).await?.refused_with(
        422,
        "Invalid",
        "Deployment.apps \"a\" is invalid: [spec.selector: Required value, spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`]",
    )?;
    Ok(())
}

async fn a_stateful_set_is_filled_in(c: &Cluster) -> anyhow::Result<()> {
    let mut object = deployment("a");
    object["kind"] = json!("StatefulSet");
    let made = create(c, "apps/v1", "statefulsets", &object).await?;
    contains(
        &made,
        json!({"spec": {"podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}}}),
    )
}

fn job() -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x:1"}]}}}})
}

async fn a_job_is_filled_in(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "batch/v1", "jobs", &job()).await?;
    let uid = text(&made, "/metadata/uid");
    let labels = json!({"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": "a", "controller-uid": uid, "job-name": "a"});
    contains(
        &made,
        json!({"metadata": {"generation": 1, "labels": labels},
            "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": true, "podReplacementPolicy": "TerminatingOrFailed", "manualSelector": false,
            "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}},
            "template": {"metadata": {"labels": labels}}}}),
    )
}

async fn a_jobs_pods_do_not_always_restart(c: &Cluster) -> anyhow::Result<()> {
    let mut object = job();
    object["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
    c.post(&c.at("batch/v1", "jobs"), &object).await?.refused(
        422,
        "Invalid",
        "Job.batch \"a\" is invalid: spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
    )?;
    Ok(())
}

async fn a_service_is_filled_in(c: &Cluster) -> anyhow::Result<()> {
    let made = create(
        c,
        "v1",
        "services",
        &json!({"metadata": {"name": "a"}, "spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]}}),
    )
    .await?;
    contains(
        &made,
        json!({"spec": {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "clusterIPs": [made["spec"]["clusterIP"]], "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]},
            "status": {"loadBalancer": {}}}),
    )?;
    let made = create(c, "v1", "services", &json!({"metadata": {"name": "b"}, "spec": {"type": "ExternalName", "externalName": "127.0.0.1", "ports": [{"port": 443}]}})).await?;
    contains(
        &made,
        json!({"spec": {"type": "ExternalName", "externalName": "127.0.0.1", "clusterIP": null, "sessionAffinity": "None"}}),
    )?;
    c.post(
        &c.at("v1", "services"),
        &json!({"metadata": {"name": "c"}, "spec": {"selector": {"app": "a"}}}),
    )
    .await?
    .refused(
        422,
        "Invalid",
        "Service \"c\" is invalid: spec.ports: Required value",
    )?;
    Ok(())
}

fn autoscaler() -> Value {
    json!({"metadata": {"name": "a"}, "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}, "maxReplicas": 5}})
}

async fn an_autoscaler_is_filled_in(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "autoscaling/v2", "horizontalpodautoscalers", &autoscaler()).await?;
    contains(
        &made,
        json!({"spec": {"minReplicas": 1, "maxReplicas": 5, "behavior": null,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]}}),
    )?;
    let mut object = autoscaler();
    object["metadata"]["name"] = json!("b");
    object["spec"]["behavior"] = json!({"scaleDown": {"stabilizationWindowSeconds": 10}});
    let made = create(c, "autoscaling/v2", "horizontalpodautoscalers", &object).await?;
    contains(
        &made,
        json!({"spec": {"behavior": {
            "scaleDown": {"stabilizationWindowSeconds": 10, "selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
            "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]},
        }}}),
    )
}

async fn an_autoscaler_of_version_one_is_the_same_object(c: &Cluster) -> anyhow::Result<()> {
    let mut object = autoscaler();
    object["spec"]["targetCPUUtilizationPercentage"] = json!(50);
    let made = create(c, "autoscaling/v1", "horizontalpodautoscalers", &object).await?;
    contains(
        &made,
        json!({"apiVersion": "autoscaling/v1", "spec": {"targetCPUUtilizationPercentage": 50}}),
    )?;
    let same_object = c
        .get(&c.at("autoscaling/v2", "horizontalpodautoscalers/a"))
        .await?
        .ok()?;
    contains(
        &same_object,
        json!({"apiVersion": "autoscaling/v2", "metadata": {"uid": made["metadata"]["uid"]},
            "spec": {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}}]}}),
    )
}

async fn an_autoscaler_minimum_above_the_maximum_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let mut object = autoscaler();
    object["spec"]["minReplicas"] = json!(9);
    c.post(&c.at("autoscaling/v2", "horizontalpodautoscalers"), &object).await?.refused(
        422,
        "Invalid",
        "HorizontalPodAutoscaler.autoscaling \"a\" is invalid: spec.maxReplicas: Invalid value: 5: must be greater than or equal to `minReplicas`",
    )?;
    Ok(())
}

async fn an_autoscaler_without_a_minimum_of_zero_needs_an_external_metric(c: &Cluster) -> anyhow::Result<()> {
    let mut object = autoscaler();
    object["spec"]["minReplicas"] = json!(0);
    c.post(&c.at("autoscaling/v2", "horizontalpodautoscalers"), &object).await?.refused(
        422,
        "Invalid",
        "HorizontalPodAutoscaler.autoscaling \"a\" is invalid: [spec.minReplicas: Invalid value: 0: must be greater than or equal to 1, \
         spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas]",
    )?;
    Ok(())
}

async fn a_budget_is_filled_in(c: &Cluster) -> anyhow::Result<()> {
    let object = json!({"metadata": {"name": "a"}, "spec": {"maxUnavailable": "50%", "selector": {"matchLabels": {"app": "none"}}}});
    let made = create(c, "policy/v1", "poddisruptionbudgets", &object).await?;
    contains(
        &made,
        json!({"metadata": {"generation": 1}, "spec": {"maxUnavailable": "50%", "minAvailable": null}}),
    )?;
    same(
        made["status"].clone(),
        json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}),
    )
}

async fn a_budget_with_both_bounds_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let object = json!({"metadata": {"name": "a"}, "spec": {"maxUnavailable": 1, "minAvailable": 1, "selector": {"matchLabels": {"app": "none"}}}});
    c.post(&c.at("policy/v1", "poddisruptionbudgets"), &object)
        .await?
        .refused_with(
            422,
            "Invalid",
            "minAvailable and maxUnavailable cannot be both set",
        )?;
    Ok(())
}

async fn a_node_starts_not_ready(c: &Cluster) -> anyhow::Result<()> {
    let name = c.unique("node");
    let node = json!({"metadata": {"name": name}, "status": {"capacity": {"cpu": "4", "memory": "8192Mi"}}});
    let made = c.post("/api/v1/nodes", &node).await?.with_code(201)?;
    c.delete_at_end(format!("/api/v1/nodes/{name}"));
    contains(
        &made,
        json!({"spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]},
            "status": {"capacity": {"cpu": "4", "memory": "8Gi"}, "allocatable": {"cpu": "4", "memory": "8Gi"}}}),
    )
}

async fn a_cron_job_needs_a_schedule(c: &Cluster) -> anyhow::Result<()> {
    let with = |schedule: &str| json!({"metadata": {"name": "a"}, "spec": {"schedule": schedule, "suspend": true, "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x:1"}]}}}}}});
    c.post(&c.at("batch/v1", "cronjobs"), &with(""))
        .await?
        .refused_with(422, "Invalid", "spec.schedule: Required value")?;
    let made = create(c, "batch/v1", "cronjobs", &with("*/5 * * * *")).await?;
    contains(
        &made,
        json!({"spec": {"concurrencyPolicy": "Allow", "failedJobsHistoryLimit": 1, "successfulJobsHistoryLimit": 3, "suspend": true}}),
    )
}
