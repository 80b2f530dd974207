//! The JSON types of fields of built-in kinds: what a typed decoder refuses before validation begins.

use scaler_api::Quantity;
use serde_json::Value;

use crate::sim::api::{paging::illegal_base64, resources::Resource, status::ApiError, value};

/// What stands at a field, in Go's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Int32,
    Int64,
    Bool,
    Text,
    Object(&'static str),
    /// A map of strings.
    Texts,
    List(&'static str),
}

/// Fields that every kind has.
const METADATA: &[(&[&str], &str, Type)] = &[
    (&["metadata"], "metadata", Type::Object("v1.ObjectMeta")),
    (&["metadata", "name"], "ObjectMeta.metadata.name", Type::Text),
    (&["metadata", "labels"], "ObjectMeta.metadata.labels", Type::Texts),
    (
        &["metadata", "annotations"],
        "ObjectMeta.metadata.annotations",
        Type::Texts,
    ),
    (
        &["metadata", "finalizers"],
        "ObjectMeta.metadata.finalizers",
        Type::List("string"),
    ),
];

type Field = (&'static [&'static str], &'static str, Type);

const DEPLOYMENT: &[Field] = &[
    (&["spec"], "Deployment.spec", Type::Object("v1.DeploymentSpec")),
    (&["spec", "replicas"], "DeploymentSpec.spec.replicas", Type::Int32),
    (&["spec", "paused"], "DeploymentSpec.spec.paused", Type::Bool),
    (
        &["spec", "minReadySeconds"],
        "DeploymentSpec.spec.minReadySeconds",
        Type::Int32,
    ),
    (
        &["spec", "template", "spec", "containers"],
        "PodSpec.spec.template.spec.containers",
        Type::List("v1.Container"),
    ),
];
const REPLICAS: &[Field] = &[
    (&["spec"], "spec", Type::Object("v1.Spec")),
    (&["spec", "replicas"], "Spec.spec.replicas", Type::Int32),
    (
        &["spec", "template", "spec", "containers"],
        "PodSpec.spec.template.spec.containers",
        Type::List("v1.Container"),
    ),
];
const POD: &[Field] = &[
    (&["spec"], "Pod.spec", Type::Object("v1.PodSpec")),
    (
        &["spec", "containers"],
        "PodSpec.spec.containers",
        Type::List("v1.Container"),
    ),
    (&["spec", "nodeName"], "PodSpec.spec.nodeName", Type::Text),
    (&["spec", "priority"], "PodSpec.spec.priority", Type::Int32),
    (
        &["spec", "terminationGracePeriodSeconds"],
        "PodSpec.spec.terminationGracePeriodSeconds",
        Type::Int64,
    ),
];
const AUTOSCALER: &[Field] = &[
    (
        &["spec"],
        "HorizontalPodAutoscaler.spec",
        Type::Object("v2.HorizontalPodAutoscalerSpec"),
    ),
    (
        &["spec", "minReplicas"],
        "HorizontalPodAutoscalerSpec.spec.minReplicas",
        Type::Int32,
    ),
    (
        &["spec", "maxReplicas"],
        "HorizontalPodAutoscalerSpec.spec.maxReplicas",
        Type::Int32,
    ),
    (
        &["spec", "metrics"],
        "HorizontalPodAutoscalerSpec.spec.metrics",
        Type::List("v2.MetricSpec"),
    ),
];
const JOB: &[Field] = &[
    (&["spec", "parallelism"], "JobSpec.spec.parallelism", Type::Int32),
    (&["spec", "completions"], "JobSpec.spec.completions", Type::Int32),
    (
        &["spec", "backoffLimit"],
        "JobSpec.spec.backoffLimit",
        Type::Int32,
    ),
    (&["spec", "suspend"], "JobSpec.spec.suspend", Type::Bool),
];
const TEXTS: &[Field] = &[(&["data"], "ConfigMap.data", Type::Texts)];

/// Refuses an object whose fields have other types than its kind's.
///
/// # Errors
/// 400, as a typed decoder words it.
pub(crate) fn check(resource: &Resource, version: &str, object: &Value) -> Result<(), ApiError> {
    let own: &[Field] = match (resource.group.as_str(), resource.plural.as_str()) {
        _ if resource.extension.is_some() => &[],
        ("", "pods") => POD,
        ("apps", "deployments") => DEPLOYMENT,
        ("apps", "replicasets" | "statefulsets") | ("", "replicationcontrollers") => REPLICAS,
        ("autoscaling", _) => AUTOSCALER,
        ("batch", "jobs") => JOB,
        ("", "configmaps") => TEXTS,
        _ => &[],
    };
    let kind = &resource.kind;
    let refuse = |problem: String| {
        ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {problem}"
        ))
    };
    let bytes: &[&str] = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "secrets") => &["data"],
        ("", "configmaps") => &["binaryData"],
        _ => &[],
    };
    for field in bytes {
        let texts = object.get(field).and_then(Value::as_object);
        for text in texts.into_iter().flatten().filter_map(|(_, text)| text.as_str()) {
            if let Some(at) = illegal_base64(text, "+/") {
                return Err(refuse(format!("illegal base64 data at input byte {at}")));
            }
        }
    }
    let template: &[&str] = match (resource.group.as_str(), resource.plural.as_str()) {
        _ if resource.extension.is_some() => &[],
        ("", "pods") => &["spec"],
        ("apps", _) | ("batch", "jobs") => &["spec", "template", "spec"],
        _ => &[],
    };
    if !template.is_empty() && has_bad_quantity(object, template) {
        return Err(refuse(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                .to_owned(),
        ));
    }
    for (path, name, wanted) in METADATA.iter().chain(own) {
        let Some(found) = value::at(object, path).filter(|found| !found.is_null()) else {
            continue;
        };
        if let Some((found, wanted)) = mismatch(found, *wanted) {
            return Err(refuse(format!(
                "json: cannot unmarshal {found} into Go struct field {name} of type {wanted}"
            )));
        }
    }
    Ok(())
}

/// Whether a container of the pod spec at `path` asks for what is no quantity.
fn has_bad_quantity(object: &Value, path: &[&str]) -> bool {
    ["containers", "initContainers"].iter().any(|list| {
        let containers = value::at(object, path).and_then(|spec| spec.get(list));
        let mut containers = containers.and_then(Value::as_array).into_iter().flatten();
        containers.any(|container| {
            ["requests", "limits"].iter().any(|which| {
                let asked = value::at(container, &["resources", which]).and_then(Value::as_object);
                let mut asked = asked.into_iter().flatten().filter_map(|(_, text)| text.as_str());
                asked.any(|text| text.parse::<Quantity>().is_err())
            })
        })
    })
}

fn mismatch(found: &Value, wanted: Type) -> Option<(String, String)> {
    let word = match found {
        Value::Null => return None,
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if number.is_i64() => "number".to_owned(),
        Value::Number(number) => format!("number {number}"),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    let (fits, wanted) = match wanted {
        Type::Int32 => {
            let fits = found.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
            (fits, "int32".to_owned())
        }
        Type::Int64 => (found.is_i64(), "int64".to_owned()),
        Type::Bool => (found.is_boolean(), "bool".to_owned()),
        Type::Text => (found.is_string(), "string".to_owned()),
        Type::Object(name) => (found.is_object(), name.to_owned()),
        Type::List(name) => (found.is_array(), format!("[]{name}")),
        Type::Texts => match found.as_object() {
            None => (false, "map[string]string".to_owned()),
            Some(map) => {
                let bad = map.values().find(|text| !text.is_string() && !text.is_null())?;
                return mismatch(bad, Type::Text);
            }
        },
    };
    (!fits).then_some((word, wanted))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wrong_type_is_refused_as_a_typed_decoder_does() {
        let (registry, _) = crate::sim::api::resources::builtin();
        let deployments = registry.get("apps", "deployments").unwrap();
        let cases = [
            (
                json!({"spec": {"replicas": "three"}}),
                "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": {"replicas": 1.5}}),
                "cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({"metadata": {"labels": {"a": 1}}}),
                "cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                json!({"spec": []}),
                "cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
            ),
        ];
        for (object, expected) in cases {
            let error = check(deployments, "v1", &object).unwrap_err();
            assert_eq!(error.code, 400);
            assert!(error.message.ends_with(expected), "{}", error.message);
        }
        assert_eq!(
            check(deployments, "v1", &json!({"spec": {"replicas": 3}})),
            Ok(())
        );
    }
}
