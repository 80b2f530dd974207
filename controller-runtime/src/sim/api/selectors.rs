//! Label selectors on objects, and field selectors.

use std::{borrow::Cow, fmt};

use metrics_adapter::Selector;
use serde_json::Value;

use super::{resources::Resource, value};
use crate::hpa;

/// Requirements on labels; all must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LabelSelector(Selector);

impl LabelSelector {
    /// Parses a selector string such as `a=b,c in (d,e),!f`.
    ///
    /// # Errors
    /// Says what was found where something else was expected.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Selector::parse(text).map(Self).map_err(|error| error.to_string())
    }

    /// The selector of a `metav1.LabelSelector`; an empty one selects everything.
    ///
    /// # Errors
    /// Names an unknown operator, or what is no label.
    pub(crate) fn from_object(selector: &Value) -> Result<Self, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = selector.get("matchLabels").and_then(Value::as_object);
        let expressions = value::items(selector, &["matchExpressions"]).iter();
        let selector = hpa::LabelSelector {
            match_labels: labels
                .into_iter()
                .flatten()
                .map(|(key, wanted)| (key.clone(), text(wanted)))
                .collect(),
            match_expressions: expressions
                .map(|expression| hpa::label_selector::LabelSelectorRequirement {
                    key: value::text(expression, &["key"]).to_owned(),
                    operator: value::text(expression, &["operator"]).to_owned(),
                    values: value::items(expression, &["values"]).iter().map(text).collect(),
                })
                .collect(),
        };
        selector
            .to_selector()
            .map(Self)
            .map_err(|error| error.to_string())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object's labels meet every requirement.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.matches_labels(value::at(object, &["metadata", "labels"]))
    }

    pub(crate) fn matches_labels(&self, labels: Option<&Value>) -> bool {
        self.0
            .matches_by(|key| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The string form of a selector that wants exactly these labels.
pub(crate) fn labels_text(labels: &Value) -> String {
    let labels = labels.as_object().into_iter().flatten();
    labels
        .map(|(key, text)| format!("{key}={}", text.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(",")
}

/// Requirements on fields; all must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FieldSelector(Vec<FieldRequirement>);

#[derive(Clone, Debug, PartialEq)]
struct FieldRequirement {
    label: String,
    path: Vec<String>,
    equal: bool,
    wanted: String,
}

impl FieldSelector {
    /// Parses `a=b,c!=d` for a resource, whose field labels are checked.
    ///
    /// # Errors
    /// Names the unsupported field label or the malformed term.
    pub(crate) fn parse(text: &str, resource: &Resource, version: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let (label, equal, wanted) = split_term(term)
                .ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{term}'"))?;
            let Some(path) = field_path(resource, version, label) else {
                return Err(unsupported(resource, label));
            };
            let wanted = wanted
                .replace("\\,", ",")
                .replace("\\=", "=")
                .replace("\\\\", "\\");
            requirements.push(FieldRequirement {
                label: label.to_owned(),
                path,
                equal,
                wanted,
            });
        }
        Ok(Self(requirements))
    }

    /// The value that `label` must equal, if one is demanded.
    pub(crate) fn exact(&self, label: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|one| one.equal && one.label == label)
            .map(|one| one.wanted.as_str())
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|one| {
            let found = one.path.iter().try_fold(object, |value, step| value.get(step));
            (field_text(&one.label, found) == one.wanted) == one.equal
        })
    }
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    if let Some((label, wanted)) = term.split_once("!=") {
        return Some((label, false, wanted));
    }
    let (label, wanted) = term.split_once("==").or_else(|| term.split_once('='))?;
    Some((label, true, wanted))
}

/// A field as selectors compare it: missing booleans are `false`, missing numbers `0`.
fn field_text<'a>(label: &str, found: Option<&'a Value>) -> Cow<'a, str> {
    match found {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Null) | None => Cow::Borrowed(match label {
            "spec.unschedulable" | "spec.hostNetwork" => "false",
            "status.replicas" | "status.successful" => "0",
            _ => "",
        }),
        Some(other) => Cow::Owned(other.to_string()),
    }
}

fn unsupported(resource: &Resource, label: &str) -> String {
    if resource.extension.is_some() {
        return format!("field label not supported: {label}");
    }
    match resource.plural.as_str() {
        "pods" | "nodes" | "events" | "namespaces" | "secrets" => {
            format!("field label not supported: {label}")
        }
        _ => format!(
            "\"{label}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ),
    }
}

/// Where the field behind a selector's label stands in a stored object; `None` if the label is not supported.
fn field_path(resource: &Resource, version: &str, label: &str) -> Option<Vec<String>> {
    let split = |text: &str| Some(text.split('.').map(str::to_owned).collect());
    if label == "metadata.name" || (label == "metadata.namespace" && resource.namespaced) {
        return split(label);
    }
    if let Some(extension) = &resource.extension {
        return extension
            .selectable(version, label)
            .then(|| split(label))
            .flatten();
    }
    let known: &[&str] = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "namespaces") => &["status.phase"],
        ("", "secrets") => &["type"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "replicationcontrollers") | ("apps", "replicasets") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful"],
        ("", "events") => return event_path(label, "involvedObject"),
        ("events.k8s.io", "events") => return event_path(label, "regarding"),
        _ => &[],
    };
    match label {
        "status.successful" if known.contains(&label) => split("status.succeeded"),
        _ => known.contains(&label).then(|| split(label)).flatten(),
    }
}

/// Field labels of events; they are stored as the core group has them.
fn event_path(label: &str, about: &str) -> Option<Vec<String>> {
    let path = |steps: &[&str]| Some(steps.iter().map(|&step| step.to_owned()).collect());
    if let Some(field) = label.strip_prefix(about).and_then(|rest| rest.strip_prefix('.')) {
        let known = [
            "kind",
            "namespace",
            "name",
            "uid",
            "apiVersion",
            "resourceVersion",
            "fieldPath",
        ];
        return known
            .contains(&field)
            .then(|| path(&["involvedObject", field]))
            .flatten();
    }
    match label {
        "reason" | "type" => path(&[label]),
        "reportingComponent" | "reportingController" => path(&["reportingComponent"]),
        "source" => path(&["source", "component"]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn label_selectors_match_by_their_grammar() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front", "weight": "5"}}});
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app = web , tier in (front, back)", true),
            ("app!=web", false),
            ("app notin (a,b)", true),
            ("missing notin (a,b)", true),
            ("missing!=a", true),
            ("tier", true),
            ("!tier", false),
            ("!missing", true),
            ("weight>4", true),
            ("weight<4", false),
            ("weight gt 4", false),
        ];
        for (text, expected) in cases {
            match LabelSelector::parse(text) {
                Ok(selector) => assert_eq!(selector.matches(&object), expected, "{text}"),
                Err(_) => assert!(!expected, "{text} does not parse"),
            }
        }
    }

    #[test]
    fn malformed_label_selectors_are_refused() {
        for text in ["a in", "a in (b", "a in b)", "=b", "a=b,", "a b", "!", "a=b c"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_selector_object_prints_as_scale_shows_it() {
        let selector = json!({
            "matchLabels": {"b": "x"},
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["2", "1"]},
                {"key": "c", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(
            LabelSelector::from_object(&selector).unwrap().to_string(),
            "a in (1,2),b=x,!c"
        );
    }

    #[test]
    fn field_selectors_know_the_labels_of_their_resource() {
        let (registry, _) = super::super::resources::builtin();
        let pods = registry.get("", "pods").unwrap();
        let pod = json!({"metadata": {"name": "a"}, "spec": {}, "status": {"phase": "Running"}});
        for (text, expected) in [
            ("status.phase=Running", true),
            ("status.phase!=Running,spec.nodeName=", false),
            ("spec.nodeName=", true),
            ("metadata.name==a", true),
        ] {
            let selector = FieldSelector::parse(text, pods, "v1").unwrap();
            assert_eq!(selector.matches(&pod), expected, "{text}");
        }
        assert_eq!(
            FieldSelector::parse("spec.foo=1", pods, "v1").unwrap_err(),
            "field label not supported: spec.foo"
        );
    }
}
