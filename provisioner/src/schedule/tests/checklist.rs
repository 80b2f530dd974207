//! The titles of the checklist (§8.1 to §8.9), which of them have cases, and why the others have none.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Titles that tests of their own cover: the title, and the test.
const BY_TESTS: &[(&str, &str)] = &[
    (
        "ephemeral not-ready ignored while uninitialised",
        "in_flight::taints_count_by_phase",
    ),
    (
        "startup taints respected per phase",
        "in_flight::taints_count_by_phase",
    ),
    (
        "real taints respected per phase",
        "in_flight::taints_count_by_phase",
    ),
    (
        "not if inactive",
        "reserved::pods_need_another_place_by_owner_and_state",
    ),
    (
        "not if DaemonSet",
        "reserved::pods_need_another_place_by_owner_and_state",
    ),
    (
        "not if inactive ReplicaSet",
        "reserved::pods_need_another_place_by_owner_and_state",
    ),
    (
        "yes if inactive StatefulSet",
        "reserved::pods_need_another_place_by_owner_and_state",
    ),
    (
        "NodeClaim content: requests incl. daemon overhead once",
        "provisioning::a_claim_asks_for_pods_and_daemons_once",
    ),
    (
        "NodeClaim content: requirements, extra, type restriction, owner, ref",
        "a_claim_says_what_karpenters_would",
    ),
    ("annotations/labels/taints", "a_claim_says_what_karpenters_would"),
    (
        "ephemeral volumes with given/default/newest class",
        "storage::volumes_say_where_their_pod_may_be_and_what_is_attached",
    ),
    (
        "Immediate unbound",
        "storage::volumes_say_where_their_pod_may_be_and_what_is_attached",
    ),
    (
        "PVC deleting/Lost",
        "storage::volumes_say_where_their_pod_may_be_and_what_is_attached",
    ),
    (
        "PV deleting",
        "storage::volumes_say_where_their_pod_may_be_and_what_is_attached",
    ),
    (
        "missing class OK when bound",
        "storage::volumes_say_where_their_pod_may_be_and_what_is_attached",
    ),
    (
        "local/hostPath hostname ignored, other types not",
        "storage::volumes_say_where_their_pod_may_be_and_what_is_attached",
    ),
    (
        "CSI migration in-tree names",
        "storage::volumes_say_where_their_pod_may_be_and_what_is_attached",
    ),
];

/// Titles without a case, each with its reason.
const NOT_COVERED: &[(&str, &str)] = &[
    (
        "NodePool not Ready ✗",
        "the caller leaves such pools out of the world",
    ),
    (
        "NotReady tainted node even if initialised is in-flight",
        "needs a cluster: a taint counts once its node is initialised, here as in Karpenter's code",
    ),
    ("never binds pods", "a plan has no client that could bind"),
    ("unsupported provisioner/topology key", "the caller reads volumes"),
    (
        "queue depth / unschedulable / duration metrics",
        "the controller's",
    ),
    ("effective-zone metric", "the controller's"),
    (
        "offering overrides",
        "the catalogue's: overlays are applied before planning",
    ),
    (
        "minValues fails after truncation",
        "the launch's: a plan names up to 600 types, and truncates nothing below it",
    ),
    (
        "batcher single / same pod doesn't extend / new pod extends",
        "the controller's",
    ),
    (
        "TGP precedence",
        "the controller's: a plan says nothing of termination",
    ),
    (
        "deleting pools ignored",
        "the caller leaves such pools out of the world",
    ),
    ("hash of claim fixed at scheduling time", "the controller's"),
    (
        "daemonsets: live-pod spec",
        "the caller gives one template a set, of a live pod where it has one",
    ),
    (
        "daemonsets: hostname affinity stripped",
        "the caller's, where it gives a live pod as template",
    ),
    ("static pools", "the caller leaves such pools out of the world"),
];

fn cited() -> BTreeMap<&'static str, usize> {
    let sections = [
        constraints::cases(),
        preferences::cases(),
        instance_types::cases(),
        in_flight::cases(),
        volumes::cases(),
        reserved::cases(),
        spreads::cases(),
        affinity::cases(),
        instance_selection::cases(),
        provisioning::cases(),
        rules::cases(),
    ];
    let mut cited = BTreeMap::new();
    for case in sections.iter().flatten() {
        *cited.entry(case.title).or_default() += 1;
    }
    cited
}

#[test]
fn every_title_has_cases_or_a_reason() {
    let cited = cited();
    let by_tests: BTreeSet<&str> = BY_TESTS.iter().map(|(title, _)| *title).collect();
    let missing: BTreeSet<&str> = NOT_COVERED.iter().map(|(title, _)| *title).collect();
    let both: Vec<_> = missing
        .iter()
        .filter(|title| cited.contains_key(*title) || by_tests.contains(*title))
        .collect();
    assert!(both.is_empty(), "covered, and said not to be: {both:?}");
    let covered: BTreeSet<&str> = cited.keys().copied().chain(by_tests).collect();
    let cases: usize = cited.values().sum();
    assert_eq!(
        (covered.len(), cases, missing.len()),
        (209, 352, 15),
        "titles, cases, titles without"
    );
}
