//! KEDA's resources of 2019 and 2020, `keda.k8s.io/v1alpha1`, and what they are today.
//!
//! A ScaledObject scaled a Deployment, which it named by `deploymentName`, or (`scaleType: job`) made Jobs; the second
//! kind is a ScaledJob today. Metadata named environment variables without saying so, where keys of today end in
//! `FromEnv`.

use serde_json::{Map, Value, json};

use super::{GROUP, VERSION};
use crate::{Converted, Fields, Note};

/// The API group of then.
pub const OLD_GROUP: &str = "keda.k8s.io";

/// Keys of a type, and their variables.
type Variables = &'static [(&'static str, Option<&'static str>)];

/// Keys whose value was the name of an environment variable, by type, and the variable where none was named. Keys with a
/// default are credentials and the like that today have to be named.
const FROM_ENVIRONMENT: &[(&str, Variables)] = &[
    ("azure-blob", &[("connection", Some("AzureWebJobsStorage"))]),
    ("azure-queue", &[("connection", Some("AzureWebJobsStorage"))]),
    ("azure-servicebus", &[("connection", None)]),
    (
        "azure-eventhub",
        &[
            ("connection", Some("EventHub")),
            ("storageConnection", Some("AzureWebJobsStorage")),
        ],
    ),
    ("azure-monitor", &[("activeDirectoryClientPassword", None)]),
    ("aws-cloudwatch", AWS),
    ("aws-kinesis-stream", AWS),
    ("aws-sqs-queue", AWS),
    ("rabbitmq", &[("apiHost", None), ("host", None)]),
    ("redis", REDIS),
    ("redis-streams", REDIS),
    (
        "gcp-pubsub",
        &[("credentials", Some("GOOGLE_APPLICATION_CREDENTIALS_JSON"))],
    ),
    ("postgresql", &[("connection", None), ("password", None)]),
    ("mysql", &[("connectionString", None), ("password", None)]),
];
const AWS: &[(&str, Option<&str>)] = &[
    ("awsAccessKeyID", Some("AWS_ACCESS_KEY_ID")),
    ("awsSecretAccessKey", Some("AWS_SECRET_ACCESS_KEY")),
];
const REDIS: &[(&str, Option<&str>)] = &[
    ("address", None),
    ("host", None),
    ("port", None),
    ("password", None),
];

/// What an object of `keda.k8s.io` is today; none for any other object, and for kinds that there never were.
#[must_use]
pub fn convert(object: &Value) -> Option<Converted> {
    let (group, _) = object["apiVersion"].as_str()?.split_once('/')?;
    if group != OLD_GROUP {
        return None;
    }
    let mut notes = Vec::new();
    let (kind, spec) = match object["kind"].as_str()? {
        "ScaledObject" if is_job(&object["spec"]) => ("ScaledJob", scaled_job(&object["spec"], &mut notes)),
        "ScaledObject" => ("ScaledObject", scaled_object(&object["spec"], &mut notes)),
        "TriggerAuthentication" => (
            "TriggerAuthentication",
            authentication(&object["spec"], &mut notes),
        ),
        _ => return None,
    };
    let mut metadata = object["metadata"].clone();
    drop_label(&mut metadata, object);
    let object = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": kind, "metadata": metadata, "spec": spec,
    });
    Some(Converted { object, notes })
}

fn is_job(spec: &Value) -> bool {
    spec["scaleType"] == "job" || (spec["scaleType"].is_null() && spec["jobTargetRef"].is_object())
}

/// The label that the first releases found an object by. It says nothing today.
fn drop_label(metadata: &mut Value, object: &Value) {
    let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) else {
        return;
    };
    if labels.get("deploymentName") == Some(&object["spec"]["scaleTargetRef"]["deploymentName"]) {
        labels.remove("deploymentName");
    }
    if labels.is_empty()
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.remove("labels");
    }
}

fn scaled_object(spec: &Value, notes: &mut Vec<Note>) -> Value {
    let triggers = triggers(spec, notes);
    let mut fields = Fields::of(spec, "spec", notes);
    fields.take("scaleType");
    fields.take("triggers");
    let target = fields.take("scaleTargetRef").unwrap_or_default();
    let target = target_of(&target, fields.notes());
    fields.set("scaleTargetRef", target);
    fields.keep(&[
        "pollingInterval",
        "cooldownPeriod",
        "minReplicaCount",
        "maxReplicaCount",
    ]);
    fields.drop(
        "jobTargetRef",
        "it made Jobs with scaleType job only, and is left out",
    );
    fields.set("triggers", triggers);
    fields.finish()
}

fn target_of(target: &Value, notes: &mut Vec<Note>) -> Value {
    let mut out = Map::new();
    for (name, value) in target.as_object().into_iter().flatten() {
        let name = match name.as_str() {
            "deploymentName" => "name",
            "containerName" => "envSourceContainerName",
            other => {
                let message = format!("was {value}: it has no counterpart and is left out");
                notes.push(Note::new(format!("spec.scaleTargetRef.{other}"), message));
                continue;
            }
        };
        out.insert(name.to_owned(), value.clone());
    }
    Value::Object(out)
}

fn scaled_job(spec: &Value, notes: &mut Vec<Note>) -> Value {
    let triggers = triggers(spec, notes);
    let mut fields = Fields::of(spec, "spec", notes);
    for name in ["scaleType", "triggers"] {
        fields.take(name);
    }
    fields.keep(&["jobTargetRef", "pollingInterval", "maxReplicaCount"]);
    fields.drop("cooldownPeriod", "Jobs end by themselves, a ScaledJob has none");
    fields.drop(
        "minReplicaCount",
        "no Job was kept without work, nor is one without the field",
    );
    if let Some(target) = fields.take("scaleTargetRef") {
        if let Some(container) = target["containerName"].as_str() {
            fields.set("envSourceContainerName", container);
        }
        if let Some(name) = target["deploymentName"].as_str() {
            let message = format!("was {name:?}: a ScaledJob makes Jobs and scales no Deployment");
            fields.note("scaleTargetRef.deploymentName", message);
        }
    }
    fields.set("triggers", triggers);
    fields.finish()
}

fn triggers(spec: &Value, notes: &mut Vec<Note>) -> Value {
    let list = spec["triggers"].as_array().into_iter().flatten().enumerate();
    list.map(|(index, old)| {
        let mut trigger = old.clone();
        let kind = old["type"].as_str().unwrap_or_default();
        let authenticates = old["authenticationRef"].is_object();
        if let Some(metadata) = trigger["metadata"].as_object_mut() {
            let mut metadata = Metadata {
                index,
                kind,
                authenticates,
                metadata,
                notes,
            };
            metadata.name_variables();
            metadata.rename();
        }
        trigger
    })
    .collect()
}

struct Metadata<'a> {
    index: usize,
    kind: &'a str,
    authenticates: bool,
    metadata: &'a mut Map<String, Value>,
    notes: &'a mut Vec<Note>,
}

impl Metadata<'_> {
    fn note(&mut self, key: &str, message: impl Into<String>) {
        let field = format!("spec.triggers[{}].metadata.{key}", self.index);
        self.notes.push(Note::new(field, message));
    }

    /// Keys that named an environment variable say so.
    fn name_variables(&mut self) {
        let keys = FROM_ENVIRONMENT.iter().find(|(kind, _)| *kind == self.kind);
        // The operator's own identity, or a role, stood in for the variables.
        let is_identified = self
            .metadata
            .get("identityOwner")
            .is_some_and(|owner| owner == "operator")
            || self.metadata.contains_key("awsRoleArn");
        for (key, default) in keys.map_or(&[][..], |(_, keys)| keys) {
            let variable = self.metadata.remove(*key);
            let new = format!("{key}FromEnv");
            match (variable, default) {
                (Some(variable), _) => {
                    self.metadata.insert(new, variable);
                }
                (None, Some(default))
                    if !self.authenticates && !is_identified && !self.metadata.contains_key(&new) =>
                {
                    let message = format!(
                        "was missing and meant the environment variable {default}, which {new} names now"
                    );
                    self.note(key, message);
                    self.metadata.insert(new, (*default).into());
                }
                (None, _) => {}
            }
        }
    }

    /// Keys that have another name today, or another meaning.
    fn rename(&mut self) {
        match self.kind {
            "azure-servicebus" => {
                if let Some(length) = self.metadata.remove("queueLength") {
                    self.metadata.insert("messageCount".to_owned(), length);
                }
            }
            "rabbitmq" => {
                if let Some(host) = self.metadata.remove("apiHostFromEnv") {
                    self.metadata.insert("hostFromEnv".to_owned(), host);
                    self.metadata.insert("protocol".to_owned(), "http".into());
                }
            }
            "kafka" if self.metadata.contains_key("authMode") => {
                let message =
                    "has no counterpart: its parts are the parameters sasl and tls of the authentication";
                self.metadata.remove("authMode");
                self.note("authMode", message);
            }
            "kafka" | "external" | "liiklus" | "stan" | "huawei-cloudeye" | "prometheus" | "cron" => {}
            kind if FROM_ENVIRONMENT.iter().all(|(known, _)| *known != kind) => {
                let message =
                    "is taken over as it stands: the type is younger than keda.k8s.io, or none of KEDA's";
                let field = format!("spec.triggers[{}].type", self.index);
                self.notes.push(Note::new(field, format!("{kind:?} {message}")));
            }
            _ => {}
        }
    }
}

fn authentication(spec: &Value, notes: &mut Vec<Note>) -> Value {
    let mut fields = Fields::of(spec, "spec", notes);
    if let Some(mut identity) = fields.take("podIdentity") {
        let message = |to: &str, what: &str| {
            format!("{what} is no more, it is {to} here, which has to be set up for the pods first")
        };
        let (now, note) = match identity["provider"].as_str().unwrap_or_default() {
            "azure" => (
                Some("azure-workload"),
                message("azure-workload", "azure (AAD Pod Identity)"),
            ),
            "aws-kiam" => (Some("aws"), message("aws", "aws-kiam")),
            "spiffe" => (None, "spiffe has no counterpart and is left out".to_owned()),
            _ => (identity["provider"].as_str(), String::new()),
        };
        if !note.is_empty() {
            fields.note("podIdentity.provider", note);
        }
        if let Some(now) = now.map(str::to_owned) {
            identity["provider"] = now.into();
            fields.set("podIdentity", identity);
        }
    }
    fields.keep(&["secretTargetRef", "env", "hashiCorpVault"]);
    fields.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keda::{ScaledJob, ScaledObject, TriggerAuthentication};

    fn read(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    fn notes(converted: &Converted) -> Vec<String> {
        converted.notes.iter().map(ToString::to_string).collect()
    }

    const WALK_THROUGH: &str = r"
apiVersion: keda.k8s.io/v1alpha1
kind: ScaledObject
metadata: {name: keda-service-bus-function, labels: {deploymentName: keda-service-bus-function}}
spec:
  scaleTargetRef: {deploymentName: keda-service-bus-function, containerName: azure-functions-container}
  pollingInterval: 30
  cooldownPeriod: 300
  minReplicaCount: 1
  maxReplicaCount: 500
  triggers:
  - {type: azure-servicebus, metadata: {queueName: my-queue, connection: SB_CONN_STRING, queueLength: '10'}}
";

    /// The walk-through of 2019.
    #[test]
    fn a_deployment_and_its_container_are_named_as_today() {
        let converted = convert(&read(WALK_THROUGH)).unwrap();
        let expected = read(
            r"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: keda-service-bus-function}
spec:
  scaleTargetRef: {name: keda-service-bus-function, envSourceContainerName: azure-functions-container}
  pollingInterval: 30
  cooldownPeriod: 300
  minReplicaCount: 1
  maxReplicaCount: 500
  triggers:
  - {type: azure-servicebus, metadata: {queueName: my-queue, connectionFromEnv: SB_CONN_STRING, messageCount: '10'}}
",
        );
        assert_eq!(converted.object, expected);
        assert_eq!(notes(&converted), [""; 0]);
        let _: ScaledObject = serde_json::from_value(converted.object).unwrap();
    }

    #[test]
    fn jobs_have_a_kind_of_their_own() {
        let converted = convert(&read(
            r"
apiVersion: keda.k8s.io/v1alpha1
kind: ScaledObject
metadata: {name: work, namespace: shop, labels: {team: a}}
spec:
  scaleType: job
  jobTargetRef: {parallelism: 1, template: {spec: {containers: [{name: worker, image: w}], restartPolicy: Never}}}
  scaleTargetRef: {containerName: worker}
  pollingInterval: 10
  cooldownPeriod: 300
  minReplicaCount: 0
  maxReplicaCount: 7
  triggers:
  - {type: aws-sqs-queue, metadata: {queueURL: 'https://q', awsRegion: eu-west-1}}
",
        ))
        .unwrap();
        assert_eq!(
            notes(&converted),
            [
                "spec.triggers[0].metadata.awsAccessKeyID: was missing and meant the environment variable \
                 AWS_ACCESS_KEY_ID, which awsAccessKeyIDFromEnv names now",
                "spec.triggers[0].metadata.awsSecretAccessKey: was missing and meant the environment variable \
                 AWS_SECRET_ACCESS_KEY, which awsSecretAccessKeyFromEnv names now",
                "spec.cooldownPeriod: was 300: Jobs end by themselves, a ScaledJob has none",
                "spec.minReplicaCount: was 0: no Job was kept without work, nor is one without the field",
            ]
        );
        let job: ScaledJob = serde_json::from_value(converted.object).unwrap();
        assert_eq!(job.spec.max_replica_count, Some(7));
        assert_eq!(job.spec.env_source_container_name.as_deref(), Some("worker"));
        assert_eq!(job.metadata.labels.unwrap()["team"], "a");
        assert!(job.spec.unknown.is_empty());
    }

    #[test]
    fn metadata_that_named_variables_says_so() {
        let cases = [
            (
                "{type: redis, metadata: {address: A, listName: l}}",
                json!({"addressFromEnv": "A", "listName": "l"}),
                0,
            ),
            (
                "{type: rabbitmq, metadata: {apiHost: H}}",
                json!({"hostFromEnv": "H", "protocol": "http"}),
                0,
            ),
            (
                "{type: rabbitmq, metadata: {host: H}}",
                json!({"hostFromEnv": "H"}),
                0,
            ),
            (
                "{type: kafka, metadata: {topic: t, authMode: sasl_ssl}}",
                json!({"topic": "t"}),
                1,
            ),
            ("{type: cron, metadata: {start: s}}", json!({"start": "s"}), 0),
            (
                "{type: aws-sqs-queue, metadata: {identityOwner: operator}}",
                json!({"identityOwner": "operator"}),
                0,
            ),
            (
                "{type: aws-sqs-queue, metadata: {awsRoleArn: r}}",
                json!({"awsRoleArn": "r"}),
                0,
            ),
            (
                "{type: aws-sqs-queue, metadata: {}, authenticationRef: {name: a}}",
                json!({}),
                0,
            ),
            (
                "{type: azure-queue, metadata: {}}",
                json!({"connectionFromEnv": "AzureWebJobsStorage"}),
                1,
            ),
            ("{type: mine, metadata: {a: b}}", json!({"a": "b"}), 1),
        ];
        for (trigger, expected, count) in cases {
            let object = format!(
                "{{apiVersion: keda.k8s.io/v1alpha1, kind: ScaledObject, metadata: {{name: x}}, spec: {{triggers: [{trigger}]}}}}"
            );
            let converted = convert(&read(&object)).unwrap();
            assert_eq!(
                converted.object["spec"]["triggers"][0]["metadata"], expected,
                "{trigger}"
            );
            assert_eq!(converted.notes.len(), count, "{trigger} {:?}", converted.notes);
        }
    }

    #[test]
    fn identities_that_are_no_more_are_noted() {
        let cases = [
            ("azure", json!({"provider": "azure-workload"}), 1),
            ("aws-kiam", json!({"provider": "aws"}), 1),
            ("spiffe", Value::Null, 1),
            ("gcp", json!({"provider": "gcp"}), 0),
        ];
        for (provider, expected, count) in cases {
            let converted = convert(&json!({
                "apiVersion": "keda.k8s.io/v1alpha1", "kind": "TriggerAuthentication", "metadata": {"name": "a"},
                "spec": {
                    "podIdentity": {"provider": provider},
                    "secretTargetRef": [{"parameter": "p", "name": "n", "key": "k"}],
                },
            }))
            .unwrap();
            assert_eq!(converted.object["spec"]["podIdentity"], expected);
            assert_eq!(converted.notes.len(), count);
            assert_eq!(converted.object["metadata"], json!({"name": "a"}));
            let read: TriggerAuthentication = serde_json::from_value(converted.object).unwrap();
            assert!(read.spec.secret_target_ref.is_some());
        }
    }

    #[test]
    fn whatever_is_not_old_is_left_alone() {
        for (api_version, kind) in [
            ("keda.sh/v1alpha1", "ScaledObject"),
            ("v1", "Secret"),
            ("keda.k8s.io/v1alpha1", "Surprise"),
        ] {
            assert_eq!(convert(&json!({"apiVersion": api_version, "kind": kind})), None);
        }
    }
}
