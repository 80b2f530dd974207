//! From an older template of a DaemonSet to the newest.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::DaemonSet, core::v1::Pod},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::ResourceExt as _;

use super::decide::{HASH_LABEL, Plan, pod_for, spec};
use crate::sim::controllers::{meta::scaled_value, pods};

/// How many pods may run beside those that they replace; none if an update waits for deletions.
pub(super) fn max_surge(set: &DaemonSet, nodes: usize) -> Option<i32> {
    let strategy = spec(set).update_strategy.unwrap_or_default();
    if strategy.type_.as_deref() == Some("OnDelete") {
        return None;
    }
    let most = strategy.rolling_update.and_then(|rolling| rolling.max_surge);
    let nodes = i32::try_from(nodes).unwrap_or(i32::MAX);
    Some(most.map_or(0, |most| scaled_value(&most, nodes, true)))
}

pub(super) fn age(pod: &Pod) -> impl Ord + use<> {
    (pod.metadata.creation_timestamp.clone(), pod.name_any())
}

/// The pods of a node that are too many. The oldest stays; in a surge also one of the new template, until that is
/// available or if the old one is not ready.
pub(super) fn excess(set: &DaemonSet, hash: &str, mut alive: Vec<Arc<Pod>>, now: Timestamp) -> Vec<Arc<Pod>> {
    alive.sort_by_key(|pod| age(pod));
    if max_surge(set, 1).unwrap_or_default() == 0 {
        return alive.into_iter().skip(1).collect();
    }
    let (new, old): (Vec<_>, Vec<_>) = alive
        .into_iter()
        .partition(|pod| pod.labels().get(HASH_LABEL).is_some_and(|found| found == hash));
    let min_ready = spec(set).min_ready_seconds.unwrap_or_default();
    let replaced = new.first().is_some_and(|new| {
        let old_is_down = old.first().is_some_and(|old| !pods::is_ready(old));
        old_is_down || pods::is_available(new, min_ready, now)
    });
    let old = old.into_iter().skip(usize::from(!replaced));
    new.into_iter().skip(1).chain(old).collect()
}

/// From an older template to the newest.
pub(super) struct Update<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) hash: &'a str,
    /// The nodes that the set is for.
    pub(super) wanted: Vec<&'a str>,
    pub(super) on: &'a BTreeMap<String, Vec<Arc<Pod>>>,
    pub(super) now: Timestamp,
}

impl Update<'_> {
    fn is_new(&self, pod: &Pod) -> bool {
        pod.labels().get(HASH_LABEL).is_some_and(|hash| hash == self.hash)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let min_ready = spec(self.set).min_ready_seconds.unwrap_or_default();
        pods::is_available(pod, min_ready, self.now)
    }

    fn pods(&self, node: &str) -> impl Iterator<Item = &Arc<Pod>> {
        let pods = self.on.get(node).into_iter().flatten();
        pods.filter(|pod| pods::is_active(pod))
    }

    /// The pods that may go now: no more than may be unavailable.
    pub(super) fn replace(&self) -> Vec<Arc<Pod>> {
        let strategy = spec(self.set).update_strategy.unwrap_or_default();
        let most = strategy
            .rolling_update
            .and_then(|rolling| rolling.max_unavailable)
            .unwrap_or(IntOrString::Int(1));
        let nodes = i32::try_from(self.wanted.len()).unwrap_or(i32::MAX);
        let most = scaled_value(&most, nodes, true).max(1);
        let (mut unavailable, mut down, mut up) = (0, Vec::new(), Vec::new());
        for name in &self.wanted {
            let pod = self.pods(name).next();
            let available = pod.is_some_and(|pod| self.is_available(pod));
            unavailable += i32::from(!available);
            if let Some(pod) = pod.filter(|pod| !self.is_new(pod)) {
                if available {
                    up.push(Arc::clone(pod))
                } else {
                    down.push(Arc::clone(pod))
                }
            }
        }
        let more = usize::try_from(most - unavailable).unwrap_or_default();
        down.extend(up.into_iter().take(more));
        down
    }

    /// Puts new pods beside old ones, no more than `most` at a time; an old one goes when its new one is available.
    pub(super) fn surge(&self, most: i32, plan: &mut Plan) {
        let (mut surging, mut down, mut up) = (0, Vec::new(), Vec::new());
        for name in &self.wanted {
            let new = self.pods(name).find(|pod| self.is_new(pod));
            let old = self.pods(name).find(|pod| !self.is_new(pod));
            match (new, old) {
                (_, None) => {}
                (None, Some(old)) if self.is_available(old) => up.push(*name),
                (None, Some(_)) => down.push(*name),
                (Some(new), Some(old)) if self.is_available(new) => plan.delete.push(Arc::clone(old)),
                (Some(_), Some(_)) => surging += 1,
            }
        }
        let more = usize::try_from(most - surging).unwrap_or_default();
        down.extend(up.into_iter().take(more));
        plan.create
            .extend(down.into_iter().map(|name| pod_for(self.set, self.hash, name)));
    }
}
