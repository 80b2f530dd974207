//! Which nodes a pod asks for, by label and by name.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, PreferredSchedulingTerm,
};
use kube::ResourceExt as _;

/// Whether the node is one that the pod's selector and required affinity allow.
pub(crate) fn allows(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.labels();
    spec.node_selector
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value))
        && required_terms(spec).is_none_or(|terms| terms.iter().any(|term| term_matches(term, node)))
}

/// The weights of the preferred terms that the node meets.
pub(crate) fn preference(spec: &PodSpec, node: &Node) -> i64 {
    preferred_terms(spec)
        .filter(|preferred| preferred.weight != 0 && term_matches(&preferred.preference, node))
        .map(|preferred| i64::from(preferred.weight))
        .sum()
}

/// The preferred terms.
pub(crate) fn preferred_terms(spec: &PodSpec) -> impl Iterator<Item = &PreferredSchedulingTerm> {
    spec.affinity
        .iter()
        .filter_map(|affinity| affinity.node_affinity.as_ref())
        .flat_map(|affinity| {
            affinity
                .preferred_during_scheduling_ignored_during_execution
                .iter()
                .flatten()
        })
}

/// The nodes that the pod names, if every term names some: a DaemonSet's pods do.
pub(crate) fn named_nodes(spec: &PodSpec) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for term in required_terms(spec)? {
        let mut named: Option<BTreeSet<String>> = None;
        for field in term
            .match_fields
            .iter()
            .flatten()
            .filter(|field| field.key == "metadata.name" && field.operator == "In")
        {
            let values: BTreeSet<String> = field.values.iter().flatten().cloned().collect();
            named = Some(match named {
                Some(before) => before.intersection(&values).cloned().collect(),
                None => values,
            });
        }
        all.extend(named?);
    }
    (!all.is_empty()).then_some(all)
}

fn required_terms(spec: &PodSpec) -> Option<&Vec<NodeSelectorTerm>> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()
        .map(|required| &required.node_selector_terms)
}

/// An empty term matches no node.
fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let (expressions, fields) = (&term.match_expressions, &term.match_fields);
    if expressions.as_ref().is_none_or(Vec::is_empty) && fields.as_ref().is_none_or(Vec::is_empty) {
        return false;
    }
    let name = node.name_any();
    expressions
        .iter()
        .flatten()
        .all(|one| requirement_matches(one, node.labels().get(&one.key).map(String::as_str)))
        && fields
            .iter()
            .flatten()
            .all(|one| requirement_matches(one, (one.key == "metadata.name").then_some(name.as_str())))
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = || requirement.values.iter().flatten();
    let listed = || value.is_some_and(|value| values().any(|wanted| wanted == value));
    let number = |compare: fn(i64, i64) -> bool| {
        let value = value.and_then(|value| value.parse().ok());
        let bound = values().next().and_then(|bound| bound.parse().ok());
        value
            .zip(bound)
            .is_some_and(|(value, bound)| compare(value, bound))
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(|value, bound| value > bound),
        "Lt" => number(|value, bound| value < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(terms: &Value) -> PodSpec {
        serde_json::from_value(json!({
            "containers": [],
            "nodeSelector": {"os": "linux"},
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}},
        }))
        .unwrap()
    }

    #[test]
    fn terms_are_alternatives_of_conjunctions() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"os": "linux", "zone": "a", "cores": "8"}},
        }))
        .unwrap();
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        for (terms, expected) in [
            (
                json!([{"matchExpressions": [expression("zone", "In", &["a", "b"])]}]),
                true,
            ),
            (
                json!([{"matchExpressions": [expression("zone", "NotIn", &["a"])]}]),
                false,
            ),
            (
                json!([{"matchExpressions": [expression("gpu", "Exists", &[])]}, {"matchExpressions": [expression("gpu", "DoesNotExist", &[])]}]),
                true,
            ),
            (
                json!([{"matchExpressions": [expression("cores", "Gt", &["4"]), expression("cores", "Lt", &["8"])]}]),
                false,
            ),
            (
                json!([{"matchExpressions": [expression("cores", "Gt", &["4"])]}]),
                true,
            ),
            (
                json!([{"matchFields": [expression("metadata.name", "In", &["n1"])]}]),
                true,
            ),
            (
                json!([{"matchFields": [expression("metadata.name", "In", &["n2"])]}]),
                false,
            ),
            (json!([{}]), false),
        ] {
            assert_eq!(allows(&spec(&terms), &node), expected, "{terms}");
        }
    }

    #[test]
    fn only_a_pod_that_names_nodes_in_every_term_is_bound_to_names() {
        let by_name = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]});
        let by_zone = json!({"matchExpressions": [{"key": "zone", "operator": "Exists"}]});
        assert_eq!(
            named_nodes(&spec(&json!([by_name]))),
            Some(BTreeSet::from(["n1".to_owned()]))
        );
        assert_eq!(named_nodes(&spec(&json!([by_name, by_zone]))), None);
    }
}
