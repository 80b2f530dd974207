//! Names, labels, annotations, finalizers and owners.

use serde_json::Value;

use crate::sim::api::{field::FieldError, resources::Resource, value};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
'[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
'[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Problems of a new object's metadata.
pub(super) fn metadata(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    name(resource, object, &mut errors);
    labels(object, &mut errors);
    finalizer_names(resource, object, &mut errors);
    let owners = value::items(object, &["metadata", "ownerReferences"]);
    for owner in owners {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if value::text(owner, &[field]).is_empty() {
                let path = format!("metadata.ownerReferences.{field}");
                let detail = if field == "apiVersion" {
                    "version must not be empty"
                } else {
                    "must not be empty"
                };
                errors.push(FieldError::invalid(path, &"".into(), detail));
            }
        }
    }
    let controllers: Vec<String> = owners
        .iter()
        .filter(|owner| owner["controller"] == true)
        .map(|owner| {
            format!(
                "{}/{}",
                value::text(owner, &["kind"]),
                value::text(owner, &["name"])
            )
        })
        .collect();
    if let [first, second, ..] = controllers.as_slice() {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        let found = Value::Array(owners.to_vec());
        errors.push(FieldError::invalid("metadata.ownerReferences", &found, detail));
    }
    errors
}

/// Finalizers are qualified names; those of built-in kinds have a domain, or are Kubernetes' own.
fn finalizer_names(resource: &Resource, object: &Value, errors: &mut Vec<FieldError>) {
    for name in value::finalizers(object) {
        if !is_qualified(name) {
            errors.push(FieldError::invalid(
                "metadata.finalizers",
                &name.into(),
                QUALIFIED,
            ));
        }
    }
    if resource.extension.is_some() {
        return;
    }
    for (index, name) in value::finalizers(object).enumerate() {
        if !name.contains('/')
            && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion")
            && !name.contains('.')
        {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            let path = format!("metadata.finalizers[{index}]");
            errors.push(FieldError::invalid(path, &name.into(), detail));
        }
    }
}

fn name(resource: &Resource, object: &Value, errors: &mut Vec<FieldError>) {
    let name = value::name(object);
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
        return;
    }
    let mut refuse = |detail: &str| errors.push(FieldError::invalid("metadata.name", &name.into(), detail));
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("rbac.authorization.k8s.io", _) => {
            if matches!(name, "." | "..") || name.contains(['/', '%']) {
                refuse("may not contain '/' or '%'");
            }
        }
        ("", "namespaces") if !is_label(name) || name.len() > 63 => refuse(LABEL),
        ("", "services") if !is_label(name) || name.starts_with(|first: char| first.is_ascii_digit()) => {
            refuse(DNS1035)
        }
        _ => {
            if name.len() > 253 {
                refuse("must be no more than 253 bytes");
            } else if !is_subdomain(name) {
                refuse(SUBDOMAIN);
            }
        }
    }
}

/// Problems of labels and annotations.
pub(super) fn labels(object: &Value, errors: &mut Vec<FieldError>) {
    label_map(
        value::at(object, &["metadata", "labels"]),
        "metadata.labels",
        errors,
    );
    for key in value::at(object, &["metadata", "annotations"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if !is_qualified(&key.0.to_lowercase()) {
            errors.push(FieldError::invalid(
                "metadata.annotations",
                &key.0.as_str().into(),
                QUALIFIED,
            ));
        }
    }
}

/// Problems of a map of labels at `field`.
pub(super) fn label_map(labels: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    for (key, text) in labels.and_then(Value::as_object).into_iter().flatten() {
        if !is_qualified(key) {
            errors.push(FieldError::invalid(field, &key.as_str().into(), QUALIFIED));
        }
        let text = text.as_str().unwrap_or_default();
        if text.len() > 63 {
            errors.push(FieldError::invalid(
                field,
                &text.into(),
                "must be no more than 63 bytes",
            ));
        } else if !text.is_empty() && !is_name_part(text) {
            errors.push(FieldError::invalid(field, &text.into(), LABEL_VALUE));
        }
    }
}

/// An object on its way out takes no new finalizers.
pub(super) fn finalizers(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    for (index, name) in value::finalizers(new).enumerate() {
        if name.is_empty() {
            let detail = "name part must be non-empty";
            errors.push(FieldError::invalid(
                format!("metadata.finalizers[{index}]"),
                &name.into(),
                detail,
            ));
        }
    }
    if !value::is_deleting(old) {
        return;
    }
    let added: Vec<String> = value::finalizers(new)
        .filter(|name| !value::finalizers(old).any(|known| known == *name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !added.is_empty() {
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        );
        errors.push(FieldError::forbidden("metadata.finalizers", detail));
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    let part = |part: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.split('.').all(part)
}

fn is_name_part(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    edge(text.chars().next()) && edge(text.chars().last()) && text.chars().all(inner)
}

/// `prefix/name` or `name`.
fn is_qualified(key: &str) -> bool {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    name.len() <= 63
        && is_name_part(name)
        && prefix.is_none_or(|prefix| prefix.len() <= 253 && is_subdomain(prefix))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_follow_their_kind() {
        let (registry, _) = crate::sim::api::resources::builtin();
        let problems = |group: &str, plural: &str, name: &str| {
            let resource = registry.get(group, plural).unwrap();
            metadata(resource, &json!({"metadata": {"name": name}})).len()
        };
        for (group, plural, name, expected) in [
            ("", "pods", "a.b-c", 0),
            ("", "pods", "A", 1),
            ("", "pods", "", 1),
            ("", "pods", "a_b", 1),
            ("", "services", "1a", 1),
            ("", "namespaces", "a.b", 1),
            ("rbac.authorization.k8s.io", "clusterroles", "system:node", 0),
        ] {
            assert_eq!(problems(group, plural, name), expected, "{plural} {name}");
        }
    }

    #[test]
    fn labels_are_qualified_names_with_short_values() {
        let count = |labels: Value| {
            let mut errors = Vec::new();
            label_map(Some(&labels), "metadata.labels", &mut errors);
            errors.len()
        };
        assert_eq!(count(json!({"app.kubernetes.io/name": "a-b", "x": ""})), 0);
        assert_eq!(count(json!({"bad key": "a"})), 1);
        assert_eq!(count(json!({"a": "b c"})), 1);
    }
}
