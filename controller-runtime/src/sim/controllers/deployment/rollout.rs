//! How many replicas each ReplicaSet of a Deployment has.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, DeploymentSpec, ReplicaSet},
    core::v1::Pod,
};
use kube::ResourceExt as _;

use super::{
    size::{available, max_surge, max_unavailable, replicas, set_replicas},
    status,
    template::{self, DESIRED_REPLICAS, MAX_REPLICAS, REVISION},
};
use crate::sim::controllers::pods;

/// Something to write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// A set that does not exist yet.
    Create(Box<ReplicaSet>),
    /// New annotations or replicas of a set.
    Update(Box<ReplicaSet>),
    /// A set of the past that is kept no longer.
    Delete(String),
    /// The Deployment's own annotation.
    Revision(String),
    /// A `ScalingReplicaSet` event.
    Event(String),
}

/// What a Deployment is made of and what becomes of it.
#[derive(Debug)]
pub(crate) struct Rollout<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) spec: DeploymentSpec,
    pub(crate) status: status::Working,
    pub(crate) new: Option<ReplicaSet>,
    pub(crate) old: Vec<ReplicaSet>,
    pub(crate) changes: Vec<Change>,
}

/// One step of a Deployment with its sets and its pods.
pub(crate) fn sync<'a>(
    deployment: &'a Deployment,
    sets: &[Arc<ReplicaSet>],
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> Rollout<'a> {
    let mut rollout = Rollout::new(deployment, sets, now);
    if deployment.metadata.deletion_timestamp.is_some() {
        rollout
            .status
            .calculate(&rollout.spec, rollout.new.as_ref(), &rollout.old);
        return rollout;
    }
    rollout.status.note_paused(&rollout.spec);
    if rollout.spec.paused == Some(true) || rollout.is_being_scaled() {
        rollout.adopt_new_set(false);
        rollout.scale();
        if rollout.spec.paused == Some(true) {
            rollout.forget_old();
        }
        rollout
            .status
            .calculate(&rollout.spec, rollout.new.as_ref(), &rollout.old);
        return rollout;
    }
    if rollout.recreates() {
        rollout.recreate(pods)
    } else {
        rollout.roll()
    }
    rollout
        .status
        .calculate(&rollout.spec, rollout.new.as_ref(), &rollout.old);
    rollout
        .status
        .progress(deployment, &rollout.spec, rollout.new.as_ref());
    rollout
}

impl<'a> Rollout<'a> {
    fn new(deployment: &'a Deployment, sets: &[Arc<ReplicaSet>], now: Timestamp) -> Self {
        let new = template::find_new(deployment, sets.iter().map(|set| &**set)).cloned();
        let is_new = |set: &ReplicaSet| new.as_ref().is_some_and(|new| new.uid() == set.uid());
        let mut old: Vec<_> = sets
            .iter()
            .filter(|set| !is_new(set))
            .map(|set| ReplicaSet::clone(set))
            .collect();
        old.sort_by_key(|set| (set.metadata.creation_timestamp.clone(), set.name_any()));
        Self {
            deployment,
            spec: deployment.spec.clone().unwrap_or_default(),
            status: status::Working::new(deployment, now),
            new,
            old,
            changes: Vec::new(),
        }
    }

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn recreates(&self) -> bool {
        self.spec
            .strategy
            .as_ref()
            .is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"))
    }

    fn max_surge(&self) -> i32 {
        max_surge(&self.spec)
    }

    fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.new.iter().chain(&self.old)
    }

    fn total(&self) -> i32 {
        self.all().map(replicas).sum()
    }

    fn available(&self) -> i32 {
        self.all().map(available).sum()
    }

    /// Whether the Deployment's size was changed since its sets were scaled.
    fn is_being_scaled(&self) -> bool {
        self.all().filter(|set| replicas(set) > 0).any(|set| {
            let noted = set
                .annotations()
                .get(DESIRED_REPLICAS)
                .and_then(|desired| desired.parse::<i32>().ok());
            noted.is_some_and(|desired| desired != self.replicas())
        })
    }

    /// Numbers the new set and creates it if there is none.
    fn adopt_new_set(&mut self, create: bool) {
        let existing = self.new.is_some();
        let mut set = match &self.new {
            Some(set) => set.clone(),
            None if create => template::new_set(self.deployment, self.status.status.collision_count),
            None => return,
        };
        template::annotate(self.deployment, &mut set, &self.old);
        if let Some(spec) = &mut set.spec {
            spec.min_ready_seconds = self.spec.min_ready_seconds;
        }
        let revision = set.annotations().get(REVISION).cloned().unwrap_or_default();
        if existing {
            if self.new.as_ref() != Some(&set) {
                self.update(set.clone());
            }
            self.status.note_new_set(
                &self.spec,
                "FoundNewReplicaSet",
                &format!("Found new replica set \"{}\"", set.name_any()),
                false,
            );
        } else {
            let count = self.new_replicas(0);
            set_replicas(&mut set, count);
            template::note_size(set.annotations_mut(), self.replicas(), self.max_surge());
            self.changes.push(Change::Create(Box::new(set.clone())));
            if count > 0 {
                self.changes.push(Change::Event(format!(
                    "Scaled up replica set {} from 0 to {count}",
                    set.name_any()
                )));
            }
            self.status.note_new_set(
                &self.spec,
                "NewReplicaSetCreated",
                &format!("Created new replica set \"{}\"", set.name_any()),
                true,
            );
        }
        if self.deployment.annotations().get(REVISION) != Some(&revision) {
            self.changes.push(Change::Revision(revision));
        }
        self.new = Some(set);
    }

    /// How many replicas the new set may have, which has `current` now.
    fn new_replicas(&self, current: i32) -> i32 {
        if self.recreates() {
            return self.replicas();
        }
        let (total, allowed) = (self.total(), self.replicas() + self.max_surge());
        if total >= allowed {
            current
        } else {
            current + (allowed - total).min(self.replicas() - current)
        }
    }

    /// One write per set: a later one takes the place of an earlier one.
    fn update(&mut self, set: ReplicaSet) {
        for change in &mut self.changes {
            if let Change::Create(pending) | Change::Update(pending) = change
                && pending.metadata.name == set.metadata.name
            {
                **pending = set;
                return;
            }
        }
        self.changes.push(Change::Update(Box::new(set)));
    }

    /// Scales a set to `to`, says so, and notes the Deployment's size on it.
    fn scale_set(&mut self, which: Which, to: i32) -> bool {
        let (desired, surge) = (self.replicas(), self.max_surge());
        let set = match which {
            Which::New => self.new.as_mut(),
            Which::Old(index) => self.old.get_mut(index),
        };
        let Some(set) = set else { return false };
        let from = replicas(set);
        let before = set.clone();
        template::note_size(set.annotations_mut(), desired, surge);
        set_replicas(set, to);
        if *set == before {
            return false;
        }
        let (name, set) = (set.name_any(), set.clone());
        self.update(set);
        if from != to {
            let direction = if to > from { "up" } else { "down" };
            self.changes.push(Change::Event(format!(
                "Scaled {direction} replica set {name} from {from} to {to}"
            )));
        }
        from != to
    }

    /// Recreate: the new pods come when the old ones are gone.
    fn recreate(&mut self, pods: &[Arc<Pod>]) {
        self.adopt_new_set(false);
        let mut scaled = false;
        for index in 0..self.old.len() {
            if replicas(&self.old[index]) > 0 {
                scaled |= self.scale_set(Which::Old(index), 0);
            }
        }
        if scaled || self.old_pods_run(pods) {
            return;
        }
        self.adopt_new_set(true);
        self.scale_set(Which::New, self.replicas());
        if self.status.is_complete(&self.spec, self.new.as_ref(), &self.old) {
            self.forget_old();
        }
    }

    fn old_pods_run(&self, pods: &[Arc<Pod>]) -> bool {
        let new = self.new.as_ref().and_then(ReplicaSet::uid);
        pods.iter().filter(|pod| !pods::is_finished(pod)).any(|pod| {
            let owner = crate::sim::controllers::meta::controller_of(&pod.metadata);
            owner.is_some_and(|owner| Some(&owner.uid) != new.as_ref())
        })
    }

    /// RollingUpdate: one step up, or one step down.
    fn roll(&mut self) {
        self.adopt_new_set(true);
        let current = self.new.as_ref().map(replicas).unwrap_or_default();
        let wanted = if current > self.replicas() {
            self.replicas()
        } else {
            self.new_replicas(current)
        };
        if current != self.replicas() && self.scale_set(Which::New, wanted) {
            return;
        }
        if self.shrink_old() {
            return;
        }
        if self.status.is_complete(&self.spec, self.new.as_ref(), &self.old) {
            self.forget_old();
        }
    }

    /// Takes replicas from the old sets, unhealthy ones first, as far as enough stay available.
    fn shrink_old(&mut self) -> bool {
        if self.old.iter().map(replicas).sum::<i32>() == 0 {
            return false;
        }
        let min_available = self.replicas() - max_unavailable(&self.spec);
        let new_unavailable = self
            .new
            .as_ref()
            .map(|set| replicas(set) - available(set))
            .unwrap_or_default();
        let most = self.total() - min_available - new_unavailable;
        if most <= 0 {
            return false;
        }
        let mut done = 0;
        for index in 0..self.old.len() {
            let (size, healthy) = (replicas(&self.old[index]), available(&self.old[index]));
            let unhealthy = (size - healthy).min(most - done);
            if unhealthy > 0 {
                done += unhealthy;
                self.scale_set(Which::Old(index), size - unhealthy);
            }
        }
        let spare = self.available() - min_available;
        let mut taken = 0;
        for index in 0..self.old.len() {
            let size = replicas(&self.old[index]);
            let less = size.min(spare - taken);
            if less > 0 {
                taken += less;
                self.scale_set(Which::Old(index), size - less);
            }
        }
        done + taken > 0
    }

    /// The Deployment's size has changed: the active set follows, or all of them in proportion during a rollout.
    fn scale(&mut self) {
        let active: Vec<Which> = self
            .which()
            .into_iter()
            .filter(|which| replicas(self.get(*which)) > 0)
            .collect();
        let only = match active.as_slice() {
            [] if self.new.is_some() => Some(Which::New),
            [] => self.old.len().checked_sub(1).map(Which::Old),
            [one] => Some(*one),
            _ => None,
        };
        if let Some(one) = only {
            if replicas(self.get(one)) != self.replicas() {
                self.scale_set(one, self.replicas());
            }
            return;
        }
        if self.new.as_ref().is_some_and(|set| self.is_saturated(set)) {
            for index in 0..self.old.len() {
                if replicas(&self.old[index]) > 0 {
                    self.scale_set(Which::Old(index), 0);
                }
            }
            return;
        }
        if !self.recreates() {
            self.scale_in_proportion(active);
        }
    }

    fn scale_in_proportion(&mut self, mut active: Vec<Which>) {
        let allowed = if self.replicas() > 0 {
            self.replicas() + self.max_surge()
        } else {
            0
        };
        let to_add = allowed - active.iter().map(|which| replicas(self.get(*which))).sum::<i32>();
        let age = |which: &Which| {
            let set = self.get(*which);
            (set.metadata.creation_timestamp.clone(), set.name_any())
        };
        // Largest first; of equals the newest first when growing, the oldest when shrinking.
        active.sort_by(|a, b| {
            let by_age = if to_add > 0 {
                age(b).cmp(&age(a))
            } else {
                age(a).cmp(&age(b))
            };
            replicas(self.get(*b)).cmp(&replicas(self.get(*a))).then(by_age)
        });
        let mut added = 0;
        let mut sizes = Vec::new();
        for which in &active {
            let set = self.get(*which);
            let share = if to_add == 0 || to_add == added {
                0
            } else {
                self.share(set, to_add - added, to_add > 0)
            };
            added += share;
            sizes.push(replicas(set) + share);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (which, size) in active.into_iter().zip(sizes) {
            self.scale_set(which, size);
        }
    }

    fn share(&self, set: &ReplicaSet, allowed: i32, growing: bool) -> i32 {
        let size = replicas(set);
        let fraction = if self.replicas() == 0 {
            -size
        } else {
            let noted = set
                .annotations()
                .get(MAX_REPLICAS)
                .and_then(|max| max.parse().ok())
                .filter(|max| *max != 0);
            let before: i32 = noted.unwrap_or_else(|| {
                self.deployment
                    .status
                    .as_ref()
                    .and_then(|s| s.replicas)
                    .unwrap_or_default()
            });
            if before == 0 {
                0
            } else {
                let scaled =
                    f64::from(size) * f64::from(self.replicas() + self.max_surge()) / f64::from(before);
                // Half away from zero; sizes are far below the limits of i32.
                scaled.round() as i32 - size
            }
        };
        if growing {
            fraction.min(allowed)
        } else {
            fraction.max(allowed)
        }
    }

    fn is_saturated(&self, set: &ReplicaSet) -> bool {
        let desired = set
            .annotations()
            .get(DESIRED_REPLICAS)
            .and_then(|desired| desired.parse().ok());
        replicas(set) == self.replicas()
            && desired == Some(self.replicas())
            && available(set) == self.replicas()
    }

    /// Deletes old sets beyond the history limit.
    fn forget_old(&mut self) {
        let Some(limit) = self
            .spec
            .revision_history_limit
            .filter(|limit| *limit != i32::MAX)
        else {
            return;
        };
        let mut past: Vec<_> = self
            .old
            .iter()
            .filter(|set| set.metadata.deletion_timestamp.is_none())
            .collect();
        let excess = past
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or_default());
        past.sort_by_key(|set| template::revision(set));
        for set in past.into_iter().take(excess) {
            let status = set.status.clone().unwrap_or_default();
            let idle = status.replicas == 0 && replicas(set) == 0;
            if idle && set.metadata.generation <= status.observed_generation {
                self.changes.push(Change::Delete(set.name_any()));
            }
        }
    }

    fn which(&self) -> Vec<Which> {
        self.new
            .iter()
            .map(|_| Which::New)
            .chain((0..self.old.len()).map(Which::Old))
            .collect()
    }

    fn get(&self, which: Which) -> &ReplicaSet {
        match which {
            Which::New => self.new.as_ref().expect("callers name a set that is there"),
            Which::Old(index) => &self.old[index],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Which {
    New,
    Old(usize),
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
