//! What a namespace that is being deleted says of its contents.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The conditions of a namespace in which so many objects of each resource are left, held by these finalizers. Those of
/// `before` that say the same keep their time.
pub(super) fn conditions(
    resources: &BTreeMap<String, usize>,
    finalizers: &BTreeMap<String, usize>,
    before: &[Value],
    now: &str,
) -> Vec<Value> {
    let words = |counts: &BTreeMap<String, usize>, word: &str| {
        let words: Vec<String> = counts
            .iter()
            .map(|(name, count)| format!("{name} {word} {count} resource instances"))
            .collect();
        words.join(", ")
    };
    let remain = format!("Some resources are remaining: {}", words(resources, "has"));
    let held = format!(
        "Some content in the namespace has finalizers remaining: {}",
        words(finalizers, "in")
    );
    let no_finalizers = "All content-preserving finalizers finished".to_owned();
    let (held, held_reason) = if finalizers.is_empty() {
        (no_finalizers, "ContentHasNoFinalizers")
    } else {
        (held, "SomeFinalizersRemain")
    };
    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        (
            "NamespaceDeletionContentFailure",
            false,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
        ("NamespaceContentRemaining", true, "SomeResourcesRemain", remain),
        (
            "NamespaceFinalizersRemaining",
            !finalizers.is_empty(),
            held_reason,
            held,
        ),
    ];
    rows.into_iter()
        .map(|(type_, status, reason, message)| {
            let status = if status { "True" } else { "False" };
            let condition = json!({"type": type_, "status": status, "reason": reason, "message": message});
            let old = before.iter().find(|old| old["type"] == type_);
            // What has not turned keeps the time of its last turn.
            let since = old
                .filter(|old| old["status"] == status)
                .map_or_else(|| now.into(), |old| old["lastTransitionTime"].clone());
            let mut condition = condition;
            condition["lastTransitionTime"] = since;
            condition
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named_and_times_change_with_the_status() {
        let counts = |pairs: &[(&str, usize)]| -> BTreeMap<String, usize> {
            pairs
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect()
        };
        let first = conditions(
            &counts(&[("pods.", 2), ("jobs.batch", 1)]),
            &counts(&[("example.com/hold", 1)]),
            &[],
            "one",
        );
        assert_eq!(
            first[3]["message"],
            "Some resources are remaining: jobs.batch has 1 resource instances, pods. has 2 resource instances"
        );
        assert_eq!(
            first[4]["message"],
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        );
        let then = conditions(&counts(&[("pods.", 1)]), &counts(&[]), &first, "two");
        assert_eq!(
            (&then[3]["lastTransitionTime"], &then[4]["lastTransitionTime"]),
            (&json!("one"), &json!("two"))
        );
        assert_eq!(then[4]["status"], "False");
    }
}
