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

/// Every column with its type, place and, where it is shown only with `-o wide`, its priority.
#[test]
fn columns_of_sections_1_1_to_1_3_show_the_fields_that_they_name() {
    let condition = |type_: &str| format!(r#".status.conditions[?(@.type=="{type_}")].status"#);
    let known = |name: &str| {
        let (kind, path) = match name {
            "ScaleTargetKind" => ("string", ".status.scaleTargetKind".to_owned()),
            "ScaleTargetName" => ("string", ".spec.scaleTargetRef.name".to_owned()),
            "Min" => ("integer", ".spec.minReplicaCount".to_owned()),
            "Max" => ("integer", ".spec.maxReplicaCount".to_owned()),
            "Ready" | "Active" | "Fallback" | "Paused" => ("string", condition(name)),
            "Triggers" => ("string", ".status.triggersTypes".to_owned()),
            "Authentications" => ("string", ".status.authenticationsTypes".to_owned()),
            "Age" => ("date", ".metadata.creationTimestamp".to_owned()),
            "PodIdentity" => ("string", ".spec.podIdentity.provider".to_owned()),
            "Secret" => ("string", ".spec.secretTargetRef[*].name".to_owned()),
            "Env" => ("string", ".spec.env[*].name".to_owned()),
            "FilePath" => ("string", ".spec.filePath".to_owned()),
            "VaultAddress" => ("string", ".spec.hashiCorpVault.address".to_owned()),
            "ScaledObjects" => ("string", ".status.scaledobjects".to_owned()),
            "ScaledJobs" => ("string", ".status.scaledjobs".to_owned()),
            other => panic!("{other} is no column of KEDA's"),
        };
        let priority = i32::from(matches!(name, "ScaledObjects" | "ScaledJobs"));
        (kind, path, priority)
    };
    for crd in crds() {
        for column in crd.spec.versions[0].additional_printer_columns.iter().flatten() {
            let (kind, path, priority) = known(&column.name);
            let found = (
                column.type_.as_str(),
                column.json_path.clone(),
                column.priority.unwrap_or(0),
            );
            assert_eq!(
                found,
                (kind, path, priority),
                "{} of {}",
                column.name,
                crd.spec.names.kind
            );
        }
    }
}

/// Every field of a specification with its type, and the rule of its row: `>=1` for a minimum, the words of an enum,
/// `required`, `length>=1`, `items>=1`.
#[test]
fn the_rows_of_sections_1_1_and_1_2_hold_in_the_schema() {
    let objects = [
        "scaleTargetRef object required",
        "scaleTargetRef.name string required length>=1",
        "scaleTargetRef.apiVersion string",
        "scaleTargetRef.kind string",
        "scaleTargetRef.envSourceContainerName string",
        "pollingInterval int32 >=1",
        "initialCooldownPeriod int32 >=0",
        "cooldownPeriod int32 >=0",
        "idleReplicaCount int32 >=0",
        "minReplicaCount int32 >=0",
        "maxReplicaCount int32 >=1",
        "advanced object",
        "advanced.restoreToOriginalReplicaCount boolean",
        "advanced.horizontalPodAutoscalerConfig object",
        "advanced.horizontalPodAutoscalerConfig.name string",
        "advanced.horizontalPodAutoscalerConfig.behavior object",
        "advanced.scalingModifiers object",
        "advanced.scalingModifiers.formula string",
        "advanced.scalingModifiers.target string",
        "advanced.scalingModifiers.activationTarget string",
        "advanced.scalingModifiers.metricType string AverageValue|Value",
        "triggers array required items>=1",
        "triggers[].type string required length>=1",
        "triggers[].name string",
        "triggers[].metadata object required",
        "triggers[].useCachedMetrics boolean",
        "triggers[].metricType string",
        "triggers[].authenticationRef object",
        "triggers[].authenticationRef.name string required",
        "triggers[].authenticationRef.kind string TriggerAuthentication|ClusterTriggerAuthentication",
        "fallback object",
        "fallback.failureThreshold int32 required >=0",
        "fallback.replicas int32 required >=0",
        "fallback.behavior string static|currentReplicas|currentReplicasIfHigher|currentReplicasIfLower|scalingModifiers",
    ];
    let jobs = [
        "jobTargetRef object required",
        "pollingInterval int32 >=1",
        "successfulJobsHistoryLimit int32 >=0",
        "failedJobsHistoryLimit int32 >=0",
        "rolloutStrategy string gradual|immediate",
        "rollout object",
        "rollout.strategy string gradual|immediate",
        "rollout.propagationPolicy string foreground|background",
        "envSourceContainerName string",
        "minReplicaCount int32 >=0",
        "maxReplicaCount int32 >=1",
        "scalingStrategy object",
        "scalingStrategy.strategy string default|custom|accurate|eager",
        "scalingStrategy.customScalingQueueLengthDeduction int32",
        "scalingStrategy.customScalingRunningJobPercentage string",
        "scalingStrategy.pendingPodConditions array",
        "scalingStrategy.multipleScalersCalculation string max|min|avg|sum",
        "triggers array required items>=1",
    ];
    for (crd, expected) in crds().iter().zip([&objects[..], &jobs[..]]) {
        let schema = schema(crd);
        let mut rows = Vec::new();
        rows_of(&schema["properties"]["spec"], "", &mut rows);
        for expected in expected {
            assert!(
                rows.iter().any(|row| row == expected),
                "{expected} is none of {rows:#?}"
            );
        }
        let is_row = |row: &&String| {
            let field = row.split(' ').next().unwrap_or_default();
            !["behavior.", "jobTargetRef.", "triggers[]."]
                .iter()
                .any(|deep| field.contains(deep))
        };
        let mut fields: Vec<_> = rows.iter().filter(is_row).map(String::as_str).collect();
        fields.retain(|row| !expected.contains(row));
        assert!(fields.is_empty(), "no row has {fields:#?}");
    }
}

fn rows_of(part: &Value, path: &str, rows: &mut Vec<String>) {
    let required = part["required"].as_array().cloned().unwrap_or_default();
    for (name, property) in part["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}{name}");
        let text = |field: &str| property[field].as_str().map(str::to_owned);
        let mut row = vec![path.clone()];
        row.extend(
            text("format")
                .filter(|format| format.starts_with("int"))
                .or(text("type")),
        );
        if required.contains(&json!(name)) {
            row.push("required".to_owned());
        }
        for (field, words) in [
            ("minimum", ">="),
            ("minLength", "length>="),
            ("minItems", "items>="),
        ] {
            row.extend(property[field].as_f64().map(|least| format!("{words}{least}")));
        }
        let words = property["enum"].as_array().into_iter().flatten();
        let words: Vec<_> = words.filter_map(Value::as_str).collect();
        row.extend((!words.is_empty()).then(|| words.join("|")));
        rows.push(row.join(" "));
        rows_of(property, &format!("{path}."), rows);
        rows_of(&property["items"], &format!("{path}[]."), rows);
    }
}

#[test]
fn defaults_of_sections_1_1_and_1_2_are_applied_and_not_written() {
    let object: ScaledObject =
        parse("{metadata: {name: x}, spec: {scaleTargetRef: {name: web}, triggers: []}}");
    let spec = &object.spec;
    assert_eq!(
        (spec.scale_target_ref.api_version(), spec.scale_target_ref.kind()),
        ("apps/v1", "Deployment")
    );
    assert_eq!(
        (
            spec.polling_interval(),
            spec.initial_cooldown_period(),
            spec.cooldown_period()
        ),
        (30, 0, 300)
    );
    assert_eq!(
        (
            spec.idle_replica_count,
            spec.min_replica_count(),
            spec.max_replica_count()
        ),
        (None, 0, 100)
    );
    assert!(!spec.restores_original_replica_count());
    assert_eq!(object.hpa_name(), "keda-hpa-x");
    assert!(object.has_hpa_name("keda-hpa-x") && !object.has_hpa_name("x"));
    assert_eq!(
        serde_json::to_value(spec).unwrap(),
        json!({"scaleTargetRef": {"name": "web"}, "triggers": []})
    );
    let job: ScaledJob = parse("{metadata: {name: x}, spec: {jobTargetRef: {template: {}}, triggers: []}}");
    let spec = &job.spec;
    assert_eq!(
        (
            spec.polling_interval(),
            spec.min_replica_count(),
            spec.max_replica_count()
        ),
        (30, 0, 100)
    );
    assert_eq!(
        (
            spec.successful_jobs_history_limit(),
            spec.failed_jobs_history_limit()
        ),
        (100, 100)
    );
}

/// The names under which the status of section 1.1 is written.
#[test]
fn the_status_has_the_fields_of_section_1_1_and_no_others() {
    let schema = schema(&crds()[0]);
    let status = &schema["properties"]["status"]["properties"];
    let names = |part: &Value| {
        part.as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        names(status),
        "authenticationsTypes compositeScalerName conditions externalMetricNames health hpaName lastActiveTime \
         originalReplicaCount pausedReplicaCount resourceMetricNames scaleTargetGVKR scaleTargetKind triggersActivity \
         triggersTypes"
    );
    assert_eq!(
        names(&status["conditions"]["items"]["properties"]),
        "message reason status type"
    );
    assert_eq!(
        names(&status["scaleTargetGVKR"]["properties"]),
        "group kind resource version"
    );
    let health = &status["health"]["additionalProperties"]["properties"];
    assert_eq!(names(health), "numberOfFailures status");
    let activity = &status["triggersActivity"]["additionalProperties"]["properties"];
    assert_eq!(names(activity), "isActive");
}

#[test]
fn the_names_of_section_1_1_are_the_ones_that_users_wrote() {
    assert_eq!(
        [
            PAUSED_ANNOTATION,
            PAUSED_REPLICAS_ANNOTATION,
            PAUSED_SCALE_IN_ANNOTATION,
            PAUSED_SCALE_OUT_ANNOTATION,
            FORCE_ACTIVATION_ANNOTATION,
            TRANSFER_HPA_OWNERSHIP_ANNOTATION,
            HPA_EXCLUDED_LABELS_ANNOTATION,
            JOB_EXCLUDED_LABELS_ANNOTATION,
            VALIDATIONS_HPA_OWNERSHIP_ANNOTATION,
            SCALED_OBJECT_NAME_LABEL,
            SCALED_JOB_NAME_LABEL,
            SCALED_JOB_GENERATION_ANNOTATION,
            FINALIZER,
            COMPOSITE_METRIC_NAME,
            MANAGED_BY,
        ],
        [
            "autoscaling.keda.sh/paused",
            "autoscaling.keda.sh/paused-replicas",
            "autoscaling.keda.sh/paused-scale-in",
            "autoscaling.keda.sh/paused-scale-out",
            "autoscaling.keda.sh/force-activation",
            "scaledobject.keda.sh/transfer-hpa-ownership",
            "scaledobject.keda.sh/hpa-excluded-labels",
            "scaledjob.keda.sh/job-excluded-labels",
            "validations.keda.sh/hpa-ownership",
            "scaledobject.keda.sh/name",
            "scaledjob.keda.sh/name",
            "scaledjob.keda.sh/generation",
            "finalizer.keda.sh",
            "composite-metric",
            "keda-operator",
        ]
    );
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
