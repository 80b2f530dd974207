//! The published walk-throughs are read, nothing is lost, and the definitions are what users see.

use serde_json::{Value, json};

use super::*;

const TUTORIAL: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: aws-sqs-queue-scaledobject, namespace: default}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  pollingInterval: 5
  cooldownPeriod: 10
  idleReplicaCount: 0
  minReplicaCount: 0
  maxReplicaCount: 3
  fallback: {failureThreshold: 5, replicas: 2}
  triggers:
  - type: aws-sqs-queue
    authenticationRef: {name: keda-trigger-auth-aws-credentials}
    metadata: {queueURL: "https://sqs.us-east-2.amazonaws.com/12345678909/my-sqs-keda", queueLength: "5", awsRegion: us-east-2}
"#;

const TUTORIAL_AUTHENTICATION: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {name: keda-trigger-auth-aws-credentials, namespace: default}
spec:
  secretTargetRef:
  - {parameter: awsAccessKeyID, name: test-secrets, key: AWS_ACCESS_KEY_ID}
  - {parameter: awsSecretAccessKey, name: test-secrets, key: AWS_SECRET_ACCESS_KEY}
"#;

const SQS_CONSUMER: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: aws-sqs-queue-scaledobject
  namespace: keda-test
spec:
  scaleTargetRef:
    name: sqs-app
  minReplicaCount: 1
  maxReplicaCount: 2000
  pollingInterval: 30
  cooldownPeriod: 10
  triggers:
  - type: aws-sqs-queue
    authenticationRef:
      name: keda-aws-credentials
    metadata:
      queueURL: https://sqs.ap-southeast-2.amazonaws.com/123456789012/keda-demo-queue.fifo
      queueLength: "2"
      awsRegion: ap-southeast-2
      identityOwner: operator
"#;

const SQS_CONSUMER_AUTHENTICATION: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata: {name: keda-aws-credentials, namespace: keda-test}
spec:
  podIdentity: {provider: aws-eks}
"#;

fn parse<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_tutorial_is_read_as_written() {
    let object: ScaledObject = parse(TUTORIAL);
    let spec = &object.spec;
    assert_eq!(
        (spec.scale_target_ref.api_version(), spec.scale_target_ref.kind()),
        ("apps/v1", "Deployment")
    );
    assert_eq!((spec.polling_interval(), spec.cooldown_period()), (5, 10));
    assert_eq!(
        (
            spec.idle_replica_count,
            spec.min_replica_count,
            spec.max_replica_count()
        ),
        (Some(0), Some(0), 3)
    );
    let fallback = spec.fallback.as_ref().unwrap();
    assert_eq!((fallback.failure_threshold, fallback.replicas), (5, 2));
    assert_eq!(fallback.behavior().unwrap(), FallbackBehavior::Static);
    assert_eq!(spec.triggers[0].metadata["queueLength"], "5");
    assert_eq!(object.hpa_name(), "keda-hpa-aws-sqs-queue-scaledobject");

    let authentication: TriggerAuthentication = parse(TUTORIAL_AUTHENTICATION);
    let secrets = authentication.spec.secret_target_ref.unwrap();
    assert_eq!(secrets[1].parameter, "awsSecretAccessKey");
    assert_eq!(secrets[1].key, "AWS_SECRET_ACCESS_KEY");
}

#[test]
fn the_consumer_is_read_as_written_and_defaults_are_methods() {
    let object: ScaledObject = parse(SQS_CONSUMER);
    let spec = &object.spec;
    assert_eq!(
        (spec.scale_target_ref.api_version(), spec.scale_target_ref.kind()),
        ("apps/v1", "Deployment")
    );
    assert_eq!(
        (
            spec.scale_target_ref.api_version.as_ref(),
            spec.idle_replica_count
        ),
        (None, None)
    );
    assert_eq!(
        (
            spec.hpa_min_replicas(),
            spec.max_replica_count(),
            spec.initial_cooldown_period()
        ),
        (1, 2000, 0)
    );
    assert_eq!(
        spec.triggers[0].authentication_ref.as_ref().unwrap().kind(),
        "TriggerAuthentication"
    );
    assert_eq!(
        spec.triggers[0].metric_type().unwrap(),
        crate::MetricType::AverageValue
    );

    let authentication: TriggerAuthentication = parse(SQS_CONSUMER_AUTHENTICATION);
    let identity = crate::PodIdentity::from(authentication.spec.pod_identity.as_ref().unwrap());
    assert_eq!(identity.provider, "aws-eks");
}

#[test]
fn what_was_read_is_written_back_unknown_fields_included() {
    let original = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "x"},
        "spec": {
            "scaleTargetRef": {"name": "web", "later": 1},
            "laterField": {"deep": [1, "two"]},
            "advanced": {
                "horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}},
                "scalingModifiers": {"formula": "a + b", "target": "2", "later": true},
            },
            "fallback": {"failureThreshold": 1, "replicas": 2, "behavior": "laterWord"},
            "triggers": [{"type": "cron", "metadata": {"start": "1"}, "later": "x"}],
        },
        "status": {"health": {"s0": {"numberOfFailures": 1, "status": "Failing"}}, "lastActiveTime": "2026-01-01T00:00:00Z", "later": 1},
    });
    let object: ScaledObject = serde_json::from_value(original.clone()).unwrap();
    assert!(object.spec.fallback.as_ref().unwrap().behavior().is_err());
    assert_eq!(serde_json::to_value(&object).unwrap(), original);

    let original = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ClusterTriggerAuthentication", "metadata": {"name": "x"},
        "spec": {"filePath": "a/b", "hashiCorpVault": {"address": "https://vault", "authentication": "token",
            "secrets": [{"parameter": "p", "path": "q", "key": "k", "type": "secretV2"}]}, "laterField": 1},
        "status": {"scaledobjects": "a,b"},
    });
    let object: ClusterTriggerAuthentication = serde_json::from_value(original.clone()).unwrap();
    assert_eq!(serde_json::to_value(&object).unwrap(), original);
}

#[test]
fn scaled_jobs_have_their_own_defaults_and_words() {
    let mut job: ScaledJob = parse(
        r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledJob
metadata: {name: x, annotations: {autoscaling.keda.sh/paused: "true"}}
spec:
  jobTargetRef: {template: {spec: {containers: [{name: a, image: b}], restartPolicy: Never}}}
  minReplicaCount: 7
  maxReplicaCount: 5
  scalingStrategy: {strategy: accurate, multipleScalersCalculation: sum}
  triggers: [{type: cron, metadata: {}}]
status: {Paused: "True"}
"#,
    );
    assert!(job.is_paused());
    assert_eq!(
        (job.spec.min_replica_count(), job.spec.max_replica_count()),
        (5, 5)
    );
    assert_eq!(
        (
            job.spec.successful_jobs_history_limit(),
            job.spec.failed_jobs_history_limit()
        ),
        (100, 100)
    );
    assert_eq!(
        job.spec.scaling_strategy_kind().unwrap(),
        ScalingStrategyKind::Accurate
    );
    assert_eq!(
        job.spec.multiple_scalers_calculation().unwrap(),
        MultipleScalersCalculation::Sum
    );
    assert_eq!(job.spec.rollout_strategy().unwrap(), RolloutStrategy::Immediate);
    assert_eq!(job.status.as_ref().unwrap().paused.as_deref(), Some("True"));
    job.spec.rollout_strategy = Some("sometimes".into());
    let error = job.spec.rollout_strategy().unwrap_err().to_string();
    assert!(
        error.contains("\"sometimes\"") && error.contains("gradual"),
        "{error}"
    );
}

#[test]
fn switches_are_on_unless_they_say_false() {
    for (value, paused) in [
        ("true", true),
        ("false", false),
        ("0", false),
        ("", true),
        ("yes, please", true),
    ] {
        let mut object: ScaledObject = parse(TUTORIAL);
        assert!(!object.is_paused());
        object
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(PAUSED_ANNOTATION.into(), value.into());
        assert_eq!(object.is_paused(), paused, "{value:?}");
    }
    let mut object: ScaledObject = parse(TUTORIAL);
    object
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(PAUSED_REPLICAS_ANNOTATION.into(), "four".into());
    assert!(object.is_paused());
    assert!(
        object
            .paused_replicas()
            .unwrap()
            .unwrap_err()
            .to_string()
            .contains("\"four\"")
    );
}

#[test]
fn a_vault_token_shows_in_no_debug_output() {
    let credential = VaultCredential {
        token: Some("hunter2".into()),
        ..VaultCredential::default()
    };
    assert!(!format!("{credential:?}").contains("hunter2"));
}

fn columns(crd: &CustomResourceDefinition) -> Vec<String> {
    let columns = crd.spec.versions[0]
        .additional_printer_columns
        .as_deref()
        .unwrap_or_default();
    columns.iter().map(|column| column.name.clone()).collect()
}

fn schema(crd: &CustomResourceDefinition) -> Value {
    serde_json::to_value(crd.spec.versions[0].schema.as_ref().unwrap()).unwrap()["openAPIV3Schema"].clone()
}

#[test]
fn definitions_have_the_names_and_columns_that_users_know() {
    let [objects, jobs, authentications, cluster, ..] = &crds()[..] else {
        panic!("four definitions")
    };
    for (crd, name, scope, short_names, expected) in [
        (
            objects,
            "scaledobjects.keda.sh",
            "Namespaced",
            vec!["so"],
            "ScaleTargetKind ScaleTargetName Min Max Ready Active Fallback Paused Triggers Authentications Age",
        ),
        (
            jobs,
            "scaledjobs.keda.sh",
            "Namespaced",
            vec!["sj"],
            "Min Max Ready Active Paused Triggers Authentications Age",
        ),
        (
            authentications,
            "triggerauthentications.keda.sh",
            "Namespaced",
            vec!["ta", "triggerauth"],
            "PodIdentity Secret Env VaultAddress ScaledObjects ScaledJobs",
        ),
        (
            cluster,
            "clustertriggerauthentications.keda.sh",
            "Cluster",
            vec!["cta", "clustertriggerauth"],
            "PodIdentity Secret Env FilePath VaultAddress ScaledObjects ScaledJobs",
        ),
    ] {
        assert_eq!(crd.metadata.name.as_deref(), Some(name));
        assert_eq!(crd.spec.scope, scope, "{name}");
        assert_eq!(
            crd.spec.names.short_names.as_deref().unwrap(),
            short_names,
            "{name}"
        );
        assert_eq!(columns(crd).join(" "), expected, "{name}");
        let version = &crd.spec.versions[0];
        assert!(
            version.served && version.storage && version.name == "v1alpha1",
            "{name}"
        );
        assert!(version.subresources.as_ref().unwrap().status.is_some(), "{name}");
        assert_eq!(schema(crd)["required"], json!(["spec"]), "{name}");
    }
}

#[test]
fn the_schema_of_scaled_objects_has_the_rules_and_one_default() {
    let schema = schema(&crds()[0]);
    let spec = &schema["properties"]["spec"];
    let rule = &spec["x-kubernetes-validations"][0];
    assert_eq!(
        rule["message"],
        "minReplicaCount must be less than or equal to maxReplicaCount"
    );
    let mut required: Vec<&str> = spec["required"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    required.sort_unstable();
    assert_eq!(required, ["scaleTargetRef", "triggers"]);
    for (field, minimum) in [
        ("pollingInterval", 1.0),
        ("cooldownPeriod", 0.0),
        ("maxReplicaCount", 1.0),
        ("minReplicaCount", 0.0),
    ] {
        assert_eq!(spec["properties"][field]["minimum"], json!(minimum), "{field}");
        assert_eq!(spec["properties"][field]["format"], "int32", "{field}");
    }
    let trigger = &spec["properties"]["triggers"];
    assert_eq!(trigger["minItems"], 1);
    assert_eq!(
        trigger["items"]["properties"]["metadata"]["additionalProperties"],
        json!({"type": "string"})
    );
    assert_eq!(trigger["items"]["properties"]["type"]["minLength"], 1);
    assert_eq!(
        spec["properties"]["fallback"]["properties"]["behavior"]["default"],
        "static"
    );
    assert_eq!(
        spec["properties"]["fallback"]["properties"]["behavior"]["enum"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
    let tolerance = &spec["properties"]["advanced"]["properties"]["horizontalPodAutoscalerConfig"]["properties"]
        ["behavior"]["properties"]["scaleDown"]["properties"]["tolerance"];
    assert_eq!(tolerance["x-kubernetes-int-or-string"], true);
}

/// A definition is structural if every part says its type, and an optional word with an `enum` may not be `null` there.
#[test]
fn schemas_are_structural_and_default_what_kedas_own_default() {
    for crd in crds() {
        let name = crd.metadata.name.clone().unwrap();
        let mut defaults = Vec::new();
        walk(&schema(&crd), &name, &mut |path, part| {
            let typed = part.get("type").is_some()
                || part.get("x-kubernetes-int-or-string").is_some()
                || part.get("x-kubernetes-preserve-unknown-fields").is_some();
            assert!(typed, "{path} says no type: {part}");
            assert!(part.get("$ref").is_none(), "{path} is a reference");
            if part.get("default").is_some() {
                defaults.push(path.to_owned());
            }
        });
        let expected: &[&str] = match name.as_str() {
            "scaledobjects.keda.sh" => &["spec.fallback.behavior"],
            name if name.ends_with("triggerauthentications.keda.sh") => &["spec.oauth2.type"],
            _ => &[],
        };
        let expected: Vec<_> = expected.iter().map(|field| format!("{name}.{field}")).collect();
        assert_eq!(defaults, expected, "{name}");
    }
}

/// keda.md §1.4.
#[test]
fn cloud_event_sources_exist_in_both_scopes_and_know_the_types_of_events() {
    let event_type = |crd: &CustomResourceDefinition, list: &str| {
        let subscription = &schema(crd)["properties"]["spec"]["properties"]["eventSubscription"];
        subscription["properties"][list]["items"]["enum"].clone()
    };
    for (index, name, scope) in [
        (4, "cloudeventsources.eventing.keda.sh", "Namespaced"),
        (5, "clustercloudeventsources.eventing.keda.sh", "Cluster"),
    ] {
        let crd = &crds()[index];
        assert_eq!(crd.metadata.name.as_deref(), Some(name));
        assert_eq!(crd.spec.scope, scope);
        for list in ["includedEventTypes", "excludedEventTypes"] {
            assert_eq!(event_type(crd, list), json!(CLOUD_EVENT_TYPES), "{name} {list}");
        }
    }
}

/// `kubectl apply` keeps the object in an annotation, and annotations are limited to 262,144 bytes.
#[test]
fn definitions_are_short_enough_for_kubectl_apply() {
    for crd in crds() {
        let length = serde_json::to_string(&crd).unwrap().len();
        assert!(length < 250_000, "{}: {length} bytes", crd.metadata.name.unwrap());
    }
    let jobs = schema(&crds()[1]);
    let spec = &jobs["properties"]["spec"]["properties"];
    assert!(spec["pollingInterval"]["description"].is_string());
    assert!(spec["jobTargetRef"]["description"].is_string());
    let template = &spec["jobTargetRef"]["properties"]["template"]["properties"]["spec"]["properties"];
    assert!(template["containers"]["items"]["properties"]["image"].is_object());
    assert!(template["containers"].get("description").is_none());
}

fn walk(part: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, part);
    for (name, property) in part["properties"].as_object().into_iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    for inner in ["items", "additionalProperties"] {
        if part[inner].is_object() {
            walk(&part[inner], &format!("{path}.{inner}"), visit);
        }
    }
}
