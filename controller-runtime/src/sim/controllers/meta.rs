//! Owners, selectors and times: what every controller needs of metadata.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::{
    apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Time},
    util::intstr::IntOrString,
};
use kube::{Resource, ResourceExt as _};

/// The owner that manages an object.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

/// Whether `owner` manages the object.
pub(crate) fn is_controlled_by<K: Resource>(meta: &ObjectMeta, owner: &K) -> bool {
    controller_of(meta).is_some_and(|reference| Some(&reference.uid) == owner.meta().uid.as_ref())
}

/// A reference by which `owner` manages an object and is not deleted in the foreground before it.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Whether `selector` selects `labels`; an empty selector selects everything.
pub(crate) fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let by_label = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, wanted)| value(key) == Some(wanted));
    by_label
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let found = value(&requirement.key);
            let listed = || {
                requirement
                    .values
                    .iter()
                    .flatten()
                    .any(|wanted| Some(wanted) == found)
            };
            match requirement.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// Whether a selector selects everything.
pub(crate) fn selects_all(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// A time as the API keeps it: whole seconds.
pub(crate) fn time(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// A number or a percentage of `total`, rounded up or down.
pub(crate) fn scaled_value(value: &IntOrString, total: i32, round_up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent * i64::from(total);
            let quotient = if round_up {
                (product + 99).div_euclid(100)
            } else {
                product.div_euclid(100)
            };
            i32::try_from(quotient).unwrap_or(i32::MAX)
        }
    }
}

/// A short name for `content`, the same every time: a 32-bit hash whose digits are spelt with letters and numbers that
/// make no words.
pub(crate) fn safe_hash(content: &[u8]) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let hash = content.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    hash.to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_told() {
        let percent = IntOrString::String("25%".to_owned());
        assert_eq!(scaled_value(&percent, 10, true), 3);
        assert_eq!(scaled_value(&percent, 10, false), 2);
        assert_eq!(scaled_value(&percent, 0, true), 0);
        assert_eq!(scaled_value(&IntOrString::Int(7), 1, true), 7);
    }

    #[test]
    fn hashes_use_the_safe_alphabet_and_differ_by_content() {
        let hash = safe_hash(b"template");
        assert!(
            hash.len() <= 10
                && hash
                    .bytes()
                    .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
        );
        assert_eq!(hash, safe_hash(b"template"));
        assert_ne!(hash, safe_hash(b"another"));
    }

    #[test]
    fn selectors_combine_labels_and_expressions() {
        let selector: LabelSelector = serde_json::from_value(serde_json::json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "zone", "operator": "NotIn", "values": ["z"]},
            ],
        }))
        .unwrap();
        let labels = |text: &str| -> BTreeMap<String, String> {
            text.split(',')
                .filter_map(|pair| pair.split_once('='))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect()
        };
        for (text, expected) in [
            ("app=web,tier=a", true),
            ("app=web,tier=c", false),
            ("app=web", false),
            ("app=web,tier=b,old=1", false),
            ("app=web,tier=b,zone=z", false),
            ("app=api,tier=a", false),
        ] {
            assert_eq!(selects(&selector, Some(&labels(text))), expected, "{text}");
        }
        assert!(selects(&LabelSelector::default(), None));
    }
}
