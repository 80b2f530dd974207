//! Request bodies in protobuf, which kubectl's typed commands send (`create`, `drain`, `auth can-i`).
//!
//! Only the kinds that those commands write are known, by the field numbers of Kubernetes' `generated.proto`; answers
//! are always JSON, which every client takes.

use serde_json::{Map, Value};

use super::{paging::base64, status::ApiError};

/// A message: the number, name and form of each field.
struct Message(&'static [(u32, &'static str, Form)]);

/// How a field is written.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Integer,
    Flag,
    Inner(&'static Message),
    Texts,
    Inners(&'static Message),
    TextMap,
    ByteMap,
    Quantities,
    IntOrString,
    Timestamp,
}

use Form::{ByteMap, Flag, Inner, Inners, IntOrString, Integer, Quantities, Text, TextMap, Texts, Timestamp};

const MAGIC: &[u8] = b"k8s\0";

static OWNER: Message = Message(&[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Flag),
    (7, "blockOwnerDeletion", Flag),
]);
static METADATA: Message = Message(&[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Integer),
    (8, "creationTimestamp", Timestamp),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (13, "ownerReferences", Inners(&OWNER)),
    (14, "finalizers", Texts),
]);
static PRECONDITIONS: Message = Message(&[(1, "uid", Text), (2, "resourceVersion", Text)]);
static DELETE_OPTIONS: Message = Message(&[
    (1, "gracePeriodSeconds", Integer),
    (2, "preconditions", Inner(&PRECONDITIONS)),
    (3, "orphanDependents", Flag),
    (4, "propagationPolicy", Text),
    (5, "dryRun", Texts),
]);
static EVICTION: Message = Message(&[
    (1, "metadata", Inner(&METADATA)),
    (2, "deleteOptions", Inner(&DELETE_OPTIONS)),
]);
static RESOURCE_ATTRIBUTES: Message = Message(&[
    (1, "namespace", Text),
    (2, "verb", Text),
    (3, "group", Text),
    (4, "version", Text),
    (5, "resource", Text),
    (6, "subresource", Text),
    (7, "name", Text),
]);
static PATH_ATTRIBUTES: Message = Message(&[(1, "path", Text), (2, "verb", Text)]);
static ACCESS_SPEC: Message = Message(&[
    (1, "resourceAttributes", Inner(&RESOURCE_ATTRIBUTES)),
    (2, "nonResourceAttributes", Inner(&PATH_ATTRIBUTES)),
]);
static ACCESS_REVIEW: Message = Message(&[
    (1, "metadata", Inner(&METADATA)),
    (2, "spec", Inner(&ACCESS_SPEC)),
]);
static BARE: Message = Message(&[(1, "metadata", Inner(&METADATA))]);
static CONFIG_MAP: Message = Message(&[
    (1, "metadata", Inner(&METADATA)),
    (2, "data", TextMap),
    (3, "binaryData", ByteMap),
    (4, "immutable", Flag),
]);
static SECRET: Message = Message(&[
    (1, "metadata", Inner(&METADATA)),
    (2, "data", ByteMap),
    (3, "type", Text),
    (4, "stringData", TextMap),
    (5, "immutable", Flag),
]);
static EXPRESSION: Message = Message(&[(1, "key", Text), (2, "operator", Text), (3, "values", Texts)]);
static SELECTOR: Message = Message(&[
    (1, "matchLabels", TextMap),
    (2, "matchExpressions", Inners(&EXPRESSION)),
]);
static PORT: Message = Message(&[
    (1, "name", Text),
    (2, "hostPort", Integer),
    (3, "containerPort", Integer),
    (4, "protocol", Text),
]);
static VARIABLE: Message = Message(&[(1, "name", Text), (2, "value", Text)]);
static RESOURCES: Message = Message(&[(1, "limits", Quantities), (2, "requests", Quantities)]);
static CONTAINER: Message = Message(&[
    (1, "name", Text),
    (2, "image", Text),
    (3, "command", Texts),
    (4, "args", Texts),
    (5, "workingDir", Text),
    (6, "ports", Inners(&PORT)),
    (7, "env", Inners(&VARIABLE)),
    (8, "resources", Inner(&RESOURCES)),
    (13, "terminationMessagePath", Text),
    (14, "imagePullPolicy", Text),
]);
static TOLERATION: Message = Message(&[
    (1, "key", Text),
    (2, "operator", Text),
    (3, "value", Text),
    (4, "effect", Text),
    (5, "tolerationSeconds", Integer),
]);
static POD_SPEC: Message = Message(&[
    (2, "containers", Inners(&CONTAINER)),
    (3, "restartPolicy", Text),
    (4, "terminationGracePeriodSeconds", Integer),
    (5, "activeDeadlineSeconds", Integer),
    (6, "dnsPolicy", Text),
    (7, "nodeSelector", TextMap),
    (8, "serviceAccountName", Text),
    (10, "nodeName", Text),
    (19, "schedulerName", Text),
    (20, "initContainers", Inners(&CONTAINER)),
    (22, "tolerations", Inners(&TOLERATION)),
    (24, "priorityClassName", Text),
]);
static TEMPLATE: Message = Message(&[(1, "metadata", Inner(&METADATA)), (2, "spec", Inner(&POD_SPEC))]);
static ROLLING_UPDATE: Message = Message(&[(1, "maxUnavailable", IntOrString), (2, "maxSurge", IntOrString)]);
static STRATEGY: Message = Message(&[(1, "type", Text), (2, "rollingUpdate", Inner(&ROLLING_UPDATE))]);
static DEPLOYMENT_SPEC: Message = Message(&[
    (1, "replicas", Integer),
    (2, "selector", Inner(&SELECTOR)),
    (3, "template", Inner(&TEMPLATE)),
    (4, "strategy", Inner(&STRATEGY)),
    (5, "minReadySeconds", Integer),
    (6, "revisionHistoryLimit", Integer),
    (7, "paused", Flag),
    (9, "progressDeadlineSeconds", Integer),
]);
static DEPLOYMENT: Message = Message(&[
    (1, "metadata", Inner(&METADATA)),
    (2, "spec", Inner(&DEPLOYMENT_SPEC)),
]);
static JOB_SPEC: Message = Message(&[
    (1, "parallelism", Integer),
    (2, "completions", Integer),
    (3, "activeDeadlineSeconds", Integer),
    (4, "selector", Inner(&SELECTOR)),
    (5, "manualSelector", Flag),
    (6, "template", Inner(&TEMPLATE)),
    (7, "backoffLimit", Integer),
    (8, "ttlSecondsAfterFinished", Integer),
    (9, "completionMode", Text),
    (10, "suspend", Flag),
]);
static JOB: Message = Message(&[(1, "metadata", Inner(&METADATA)), (2, "spec", Inner(&JOB_SPEC))]);
static JOB_TEMPLATE: Message = Message(&[(1, "metadata", Inner(&METADATA)), (2, "spec", Inner(&JOB_SPEC))]);
static CRON_JOB_SPEC: Message = Message(&[
    (1, "schedule", Text),
    (2, "startingDeadlineSeconds", Integer),
    (3, "concurrencyPolicy", Text),
    (4, "suspend", Flag),
    (5, "jobTemplate", Inner(&JOB_TEMPLATE)),
    (6, "successfulJobsHistoryLimit", Integer),
    (7, "failedJobsHistoryLimit", Integer),
    (8, "timeZone", Text),
]);
static CRON_JOB: Message = Message(&[
    (1, "metadata", Inner(&METADATA)),
    (2, "spec", Inner(&CRON_JOB_SPEC)),
]);
static BUDGET_SPEC: Message = Message(&[
    (1, "minAvailable", IntOrString),
    (2, "selector", Inner(&SELECTOR)),
    (3, "maxUnavailable", IntOrString),
]);
static BUDGET: Message = Message(&[
    (1, "metadata", Inner(&METADATA)),
    (2, "spec", Inner(&BUDGET_SPEC)),
]);
static QUOTA_SPEC: Message = Message(&[(1, "hard", Quantities), (2, "scopes", Texts)]);
static QUOTA: Message = Message(&[(1, "metadata", Inner(&METADATA)), (2, "spec", Inner(&QUOTA_SPEC))]);
static POLICY_RULE: Message = Message(&[
    (1, "verbs", Texts),
    (2, "apiGroups", Texts),
    (3, "resources", Texts),
    (4, "resourceNames", Texts),
    (5, "nonResourceURLs", Texts),
]);
static ROLE: Message = Message(&[
    (1, "metadata", Inner(&METADATA)),
    (2, "rules", Inners(&POLICY_RULE)),
]);
static SUBJECT: Message = Message(&[
    (1, "kind", Text),
    (2, "apiGroup", Text),
    (3, "name", Text),
    (4, "namespace", Text),
]);
static ROLE_REF: Message = Message(&[(1, "apiGroup", Text), (2, "kind", Text), (3, "name", Text)]);
static ROLE_BINDING: Message = Message(&[
    (1, "metadata", Inner(&METADATA)),
    (2, "subjects", Inners(&SUBJECT)),
    (3, "roleRef", Inner(&ROLE_REF)),
]);
static PRIORITY_CLASS: Message = Message(&[
    (1, "metadata", Inner(&METADATA)),
    (2, "value", Integer),
    (3, "globalDefault", Flag),
    (4, "description", Text),
    (5, "preemptionPolicy", Text),
]);
static TYPE: Message = Message(&[(1, "apiVersion", Text), (2, "kind", Text)]);

fn message(kind: &str) -> Option<&'static Message> {
    Some(match kind {
        "Eviction" => &EVICTION,
        "DeleteOptions" => &DELETE_OPTIONS,
        "SelfSubjectAccessReview" => &ACCESS_REVIEW,
        "Namespace" | "ServiceAccount" | "SelfSubjectReview" => &BARE,
        "ConfigMap" => &CONFIG_MAP,
        "Secret" => &SECRET,
        "Deployment" => &DEPLOYMENT,
        "Job" => &JOB,
        "CronJob" => &CRON_JOB,
        "PodDisruptionBudget" => &BUDGET,
        "ResourceQuota" => &QUOTA,
        "Role" | "ClusterRole" => &ROLE,
        "RoleBinding" | "ClusterRoleBinding" => &ROLE_BINDING,
        "PriorityClass" => &PRIORITY_CLASS,
        _ => return None,
    })
}

/// Whether a body is one of Kubernetes' protobuf messages.
pub(crate) fn is_protobuf(body: &[u8]) -> bool {
    body.starts_with(MAGIC)
}

/// The object in a protobuf body.
///
/// # Errors
/// 400 for a malformed body, 415 for a kind that is only taken as JSON.
pub(crate) fn decode(body: &[u8]) -> Result<Value, ApiError> {
    let malformed = || ApiError::bad_request("the body is no protobuf message of Kubernetes");
    let unknown = fields(body.get(MAGIC.len()..).unwrap_or_default()).ok_or_else(malformed)?;
    let part = |number: u32| {
        unknown.iter().find_map(|(found, wire)| match wire {
            Wire::Bytes(bytes) if *found == number => Some(*bytes),
            _ => None,
        })
    };
    let mut object = part(1)
        .and_then(|bytes| read(&TYPE, bytes))
        .ok_or_else(malformed)?;
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let Some(message) = message(kind) else {
        return Err(ApiError::unsupported_media_type(
            "application/json, application/yaml",
        ));
    };
    object.extend(read(message, part(2).unwrap_or_default()).ok_or_else(malformed)?);
    Ok(Value::Object(object))
}

/// A field as it stands on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn fields(mut bytes: &[u8]) -> Option<Vec<(u32, Wire<'_>)>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = u32::try_from(tag >> 3).ok()?;
        let wire = match tag & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            1 => Wire::Bytes(take(&mut bytes, 8)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Wire::Bytes(take(&mut bytes, length)?)
            }
            5 => Wire::Bytes(take(&mut bytes, 4)?),
            _ => return None,
        };
        out.push((number, wire));
    }
    Some(out)
}

fn text(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok().map(Value::from)
}

#[allow(
    clippy::cast_possible_wrap,
    reason = "protobuf writes negative numbers in two's complement"
)]
fn read(message: &Message, bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut out = Map::new();
    for (number, wire) in fields(bytes)? {
        let Some((_, name, form)) = message.0.iter().find(|(known, ..)| *known == number) else {
            continue;
        };
        match (form, wire) {
            (Flag, Wire::Number(flag)) => {
                out.insert((*name).to_owned(), (flag != 0).into());
            }
            (Integer, Wire::Number(number)) => {
                out.insert((*name).to_owned(), (number as i64).into());
            }
            (form, Wire::Bytes(bytes)) => read_bytes(&mut out, name, *form, bytes)?,
            _ => {}
        }
    }
    // Go writes empty texts for fields that are not set.
    out.retain(|_, value| *value != "");
    Some(out)
}

fn read_bytes(out: &mut Map<String, Value>, name: &str, form: Form, bytes: &[u8]) -> Option<()> {
    match form {
        Text => drop(out.insert(name.to_owned(), text(bytes)?)),
        Inner(inner) => drop(out.insert(name.to_owned(), Value::Object(read(inner, bytes)?))),
        Texts => push(out, name, text(bytes)?),
        Inners(inner) => push(out, name, Value::Object(read(inner, bytes)?)),
        TextMap | ByteMap | Quantities => {
            let mut key = String::new();
            let mut value = Value::from("");
            for (number, wire) in fields(bytes)? {
                match (number, wire) {
                    (1, Wire::Bytes(bytes)) => key = std::str::from_utf8(bytes).ok()?.to_owned(),
                    (2, Wire::Bytes(bytes)) => value = map_value(form, bytes)?,
                    _ => {}
                }
            }
            if let Some(map) = out
                .entry(name)
                .or_insert_with(|| Value::Object(Map::new()))
                .as_object_mut()
            {
                map.insert(key, value);
            }
        }
        IntOrString => drop(out.insert(name.to_owned(), int_or_string(bytes)?)),
        Integer | Flag | Timestamp => {}
    }
    Some(())
}

fn map_value(form: Form, bytes: &[u8]) -> Option<Value> {
    match form {
        ByteMap => Some(base64(bytes).into()),
        Quantities => fields(bytes)?.into_iter().find_map(|(number, wire)| match wire {
            Wire::Bytes(bytes) if number == 1 => text(bytes),
            _ => None,
        }),
        _ => text(bytes),
    }
}

#[allow(
    clippy::cast_possible_wrap,
    reason = "protobuf writes negative numbers in two's complement"
)]
fn int_or_string(bytes: &[u8]) -> Option<Value> {
    let (mut is_text, mut number, mut string) = (false, 0, Value::Null);
    for (field, wire) in fields(bytes)? {
        match (field, wire) {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(found)) => number = found as i64,
            (3, Wire::Bytes(bytes)) => string = text(bytes)?,
            _ => {}
        }
    }
    Some(if is_text { string } else { number.into() })
}

fn push(out: &mut Map<String, Value>, name: &str, value: Value) {
    if let Some(list) = out
        .entry(name)
        .or_insert_with(|| Value::Array(Vec::new()))
        .as_array_mut()
    {
        list.push(value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    #[test]
    fn kubectls_evictions_are_read() {
        let types = [field(1, b"policy/v1"), field(2, b"Eviction")].concat();
        let metadata = [field(1, b"web-1"), field(3, b"default")].concat();
        let raw = [field(1, &metadata), field(2, &[1 << 3, 30])].concat();
        let body = [MAGIC.to_vec(), field(1, &types), field(2, &raw)].concat();
        assert!(is_protobuf(&body));
        assert_eq!(
            decode(&body).unwrap(),
            json!({
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": "web-1", "namespace": "default"},
                "deleteOptions": {"gracePeriodSeconds": 30},
            })
        );
        assert_eq!(decode(&body[..body.len() - 1]).unwrap_err().code, 400);
    }

    #[test]
    fn kinds_that_are_not_known_must_be_sent_as_json() {
        let types = [field(1, b"v1"), field(2, b"Odd")].concat();
        let body = [MAGIC.to_vec(), field(1, &types)].concat();
        assert_eq!(decode(&body).unwrap_err().code, 415);
    }
}
