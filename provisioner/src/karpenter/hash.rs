//! Hashes whose change means drift.
//!
//! The numbers differ from those of Karpenter's own build; a claim that carries another hash *version* is re-stamped,
//! never drifted, and [`needs_restamp`] says when.

use serde_json::{Value, json};

use super::NodePool;

/// Version of the hash in `karpenter.sh/nodepool-hash`.
pub const NODEPOOL_HASH_VERSION: &str = "v3";

/// The hash of a pool's template: labels, annotations, taints, startup taints, class, expiry and grace period.
/// Requirements drift by comparison with the claim's labels; limits, weight and disruption never drift a node.
#[must_use]
pub fn node_pool(pool: &NodePool) -> String {
    let template = &pool.spec.template;
    structural(&json!({
        "labels": template.metadata.labels,
        "annotations": template.metadata.annotations,
        "taints": template.spec.taints,
        "startupTaints": template.spec.startup_taints,
        "nodeClassRef": template.spec.node_class_ref,
        "terminationGracePeriod": template.spec.termination_grace_period.as_ref().and_then(super::NillableDuration::get),
        "expireAfter": template.spec.expire_after.get(),
    }))
}

/// Whether a claim's hash is of another version than ours, so that it must be re-stamped instead of compared.
#[must_use]
pub fn needs_restamp(claim_version: Option<&str>, current_version: &str) -> bool {
    claim_version != Some(current_version)
}

/// A hash of what a value says: lists are sets, and empty fields (null, false, 0, "", [], {}) are as good as absent.
#[must_use]
pub fn structural(value: &Value) -> String {
    fnv1a(canonical(value).unwrap_or_default().as_bytes()).to_string()
}

/// One text per meaning; `None` for empty values.
fn canonical(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some("true".to_owned()),
        Value::Number(number) => (number.as_f64() != Some(0.0)).then(|| number.to_string()),
        Value::String(text) => (!text.is_empty()).then(|| format!("{text:?}")),
        Value::Array(items) => {
            let mut items: Vec<String> = items.iter().filter_map(canonical).collect();
            items.sort();
            (!items.is_empty()).then(|| format!("[{}]", items.join(",")))
        }
        Value::Object(fields) => {
            let mut fields: Vec<String> = fields
                .iter()
                .filter_map(|(key, value)| Some(format!("{key:?}:{}", canonical(value)?)))
                .collect();
            fields.sort();
            (!fields.is_empty()).then(|| format!("{{{}}}", fields.join(",")))
        }
    }
}

/// FNV-1a, 64 bit: fixed for ever, unlike the standard library's hasher.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_lists_and_empty_fields_do_not_matter() {
        let hash = |value: Value| structural(&value);
        assert_eq!(
            hash(json!({"a": [1, 2], "b": ""})),
            hash(json!({"a": [2, 1], "c": null, "d": {"e": []}}))
        );
        assert_ne!(hash(json!({"a": [1, 2]})), hash(json!({"a": [1, 3]})));
        assert_ne!(hash(json!({"a": "1"})), hash(json!({"a": 1})));
    }

    #[test]
    fn another_or_no_version_is_restamped() {
        assert!(needs_restamp(None, NODEPOOL_HASH_VERSION));
        assert!(needs_restamp(Some("v2"), NODEPOOL_HASH_VERSION));
        assert!(!needs_restamp(Some("v3"), NODEPOOL_HASH_VERSION));
    }
}
