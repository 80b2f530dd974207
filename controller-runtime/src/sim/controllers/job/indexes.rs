//! The numbers of an indexed Job's pods.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

/// The index of a pod of an indexed Job.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often the pod's index failed before it, in a Job whose indexes have limits of their own.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";

/// A pod's index.
pub(super) fn index(pod: &Pod) -> Option<i32> {
    pod.annotations().get(INDEX)?.parse().ok()
}

/// How often the pod's index failed before it.
pub(super) fn failures(pod: &Pod) -> i32 {
    pod.annotations()
        .get(FAILURES)
        .and_then(|count| count.parse().ok())
        .unwrap_or_default()
}

/// `0,2-4` as a set.
pub(super) fn parse(text: &str) -> BTreeSet<i32> {
    let mut indexes = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            indexes.extend(first..=last);
        }
    }
    indexes
}

/// A set as `0,2-4`; two in a row are `0,1`.
pub(super) fn format(indexes: &BTreeSet<i32>) -> String {
    let mut ranges: BTreeMap<i32, i32> = BTreeMap::new();
    for index in indexes {
        match ranges.last_entry() {
            Some(mut range) if *range.get() + 1 == *index => *range.get_mut() = *index,
            _ => drop(ranges.insert(*index, *index)),
        }
    }
    let words: Vec<String> = ranges
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        })
        .collect();
    words.join(",")
}

/// How many, for the comparison with counts of the API.
pub(super) fn count(indexes: &BTreeSet<i32>) -> i32 {
    i32::try_from(indexes.len()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_three_or_more() {
        for (text, indexes) in [
            ("", vec![]),
            ("3", vec![3]),
            ("0,1", vec![0, 1]),
            ("0,2-4,7,8", vec![0, 2, 3, 4, 7, 8]),
        ] {
            let set: BTreeSet<i32> = indexes.into_iter().collect();
            assert_eq!(format(&set), text);
            assert_eq!(parse(text), set);
        }
        assert_eq!(parse("0-1"), BTreeSet::from([0, 1]));
    }
}
