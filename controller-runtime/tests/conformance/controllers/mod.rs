//! Controllers, scheduler, nodes.

mod affinity;
mod daemon_set;
mod deployment;
mod disruption;
mod events;
mod garbage;
mod hpa;
mod job;
mod job_policies;
mod nodes;
mod play;
mod preemption;
mod replica_set;
mod rollout;
mod scene;
mod scheduler;
mod stateful_set;
mod taints;
mod volume_claims;

use crate::harness::Topic;

pub(crate) const TOPICS: &[Topic] = &[
    ("controllers::nodes", nodes::CASES),
    ("controllers::replica_set", replica_set::CASES),
    ("controllers::deployment", deployment::CASES),
    ("controllers::rollout", rollout::CASES),
    ("controllers::stateful_set", stateful_set::CASES),
    ("controllers::volume_claims", volume_claims::CASES),
    ("controllers::daemon_set", daemon_set::CASES),
    ("controllers::job", job::CASES),
    ("controllers::job_policies", job_policies::CASES),
    ("controllers::garbage", garbage::CASES),
    ("controllers::scheduler", scheduler::CASES),
    ("controllers::affinity", affinity::CASES),
    ("controllers::preemption", preemption::CASES),
    ("controllers::disruption::budgets", disruption::budgets::CASES),
    ("controllers::disruption::evictions", disruption::evictions::CASES),
    ("controllers::taints", taints::CASES),
    ("controllers::events", events::CASES),
    ("controllers::hpa::metrics", hpa::metrics::CASES),
    ("controllers::hpa::failures", hpa::failures::CASES),
    ("controllers::hpa::targets", hpa::targets::CASES),
];
