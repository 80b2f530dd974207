//! What a kubelet writes into a pod's status.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{HostIP, Pod, PodCondition, PodIP, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt as _;

use super::{
    container::{Container, Role, State},
    program::Exit,
};
use crate::sim::controllers::meta::time;

/// What a kubelet knows of a pod.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    pub(super) containers: &'a [Container],
    pub(super) started: Timestamp,
    pub(super) host_ip: &'a str,
    pub(super) pod_ip: &'a str,
    /// Whether the pod was told to stop.
    pub(super) stopping: bool,
}

/// The phase of a pod by its containers.
pub(super) fn phase(view: &View<'_>, restart_policy: &str) -> &'static str {
    let failed_init =
        |one: &Container| one.role == Role::Init && one.ended().is_some_and(|exit| exit != Exit::SUCCESS);
    if view.containers.iter().any(failed_init) {
        return "Failed";
    }
    let main = || {
        view.containers
            .iter()
            .filter(|container| container.role == Role::Main)
    };
    let initialised = view
        .containers
        .iter()
        .all(|one| one.role != Role::Init || one.ended().is_some());
    if main().all(|one| one.ended().is_some()) && (view.stopping || restart_policy != "Always") {
        let good = main().all(|one| one.ended() == Some(Exit::SUCCESS));
        return if good { "Succeeded" } else { "Failed" };
    }
    let waiting =
        |one: &Container| matches!(one.state, State::Waiting("ContainerCreating" | "PodInitializing"));
    if !initialised || main().all(waiting) {
        "Pending"
    } else {
        "Running"
    }
}

/// The status of `pod`: what is the kubelet's is new, what is others' stays.
pub(super) fn status(pod: &Pod, view: &View<'_>, now: Timestamp) -> PodStatus {
    let restart_policy = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref())
        .unwrap_or("Always");
    let phase = phase(view, restart_policy);
    let old = pod.status.clone().unwrap_or_default();
    let uid = pod.uid().unwrap_or_default();
    let statuses = |wanted: &dyn Fn(Role) -> bool| -> Vec<_> {
        view.containers
            .iter()
            .filter(|one| wanted(one.role))
            .map(|one| one.status(&uid))
            .collect()
    };
    let init = statuses(&|role| role != Role::Main);
    let running = phase == "Running";
    let ip = (phase != "Pending").then(|| view.pod_ip.to_owned());
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions(pod, view, phase, now)),
        container_statuses: Some(statuses(&|role| role == Role::Main)),
        init_container_statuses: (!init.is_empty()).then_some(init),
        host_ip: Some(view.host_ip.to_owned()),
        host_ips: Some(vec![HostIP {
            ip: view.host_ip.to_owned(),
        }]),
        pod_ips: ip
            .clone()
            .or_else(|| old.pod_ip.clone())
            .map(|ip| vec![PodIP { ip }]),
        pod_ip: ip.or(old.pod_ip.clone()),
        start_time: Some(old.start_time.clone().unwrap_or_else(|| time(view.started))),
        observed_generation: pod
            .metadata
            .generation
            .filter(|_| running || old.observed_generation.is_some()),
        ..old
    }
}

fn conditions(pod: &Pod, view: &View<'_>, phase: &str, now: Timestamp) -> Vec<PodCondition> {
    let names = |unwanted: &dyn Fn(&Container) -> bool, init: bool| -> Vec<&str> {
        let of_kind = view
            .containers
            .iter()
            .filter(|one| (one.role == Role::Init) == init);
        of_kind
            .filter(|one| unwanted(one))
            .map(|one| one.name.as_str())
            .collect()
    };
    let uninitialised = names(&|one| one.ended() != Some(Exit::SUCCESS), true);
    let unready = names(&|one| !one.ready, false);
    let begun = view
        .containers
        .iter()
        .any(|one| !matches!(one.state, State::Waiting("ContainerCreating" | "PodInitializing")));
    let finished = matches!(phase, "Succeeded" | "Failed");
    let gates = pod
        .spec
        .iter()
        .flat_map(|spec| spec.readiness_gates.iter().flatten());
    let gated = gates
        .filter(|gate| {
            let condition = crate::sim::controllers::pods::condition(pod, &gate.condition_type);
            condition.is_none_or(|condition| condition.status != "True")
        })
        .count()
        > 0;
    let not_ready = (!unready.is_empty()).then(|| {
        if phase == "Succeeded" {
            ("PodCompleted", String::new())
        } else if phase == "Failed" {
            ("PodFailed", String::new())
        } else {
            (
                "ContainersNotReady",
                format!("containers with unready status: [{}]", unready.join(" ")),
            )
        }
    });
    let incomplete = (!uninitialised.is_empty()).then(|| {
        (
            "ContainersNotInitialized",
            format!("containers with incomplete status: [{}]", uninitialised.join(" ")),
        )
    });
    let completed = (phase == "Succeeded").then(|| ("PodCompleted", String::new()));
    let ready = not_ready
        .clone()
        .or(gated.then(|| ("ReadinessGatesNotReady", String::new())));
    let mut conditions = vec![
        condition("PodReadyToStartContainers", begun && !finished, None),
        condition("Initialized", incomplete.is_none(), incomplete.or(completed)),
        condition("Ready", ready.is_none(), ready),
        condition("ContainersReady", not_ready.is_none(), not_ready),
        condition("PodScheduled", true, None),
    ];
    let old: Vec<PodCondition> = pod
        .status
        .clone()
        .unwrap_or_default()
        .conditions
        .unwrap_or_default();
    for condition in &mut conditions {
        let same = old
            .iter()
            .find(|old| old.type_ == condition.type_ && old.status == condition.status);
        let since: Option<Time> = same.and_then(|old| old.last_transition_time.clone());
        condition.last_transition_time = Some(since.unwrap_or_else(|| time(now)));
        condition.observed_generation = pod.metadata.generation;
    }
    let others = old
        .into_iter()
        .filter(|old| conditions.iter().all(|new| new.type_ != old.type_));
    others
        .collect::<Vec<_>>()
        .into_iter()
        .chain(conditions.clone())
        .collect()
}

fn condition(type_: &str, status: bool, why: Option<(&str, String)>) -> PodCondition {
    let (reason, message) = why.unzip();
    PodCondition {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.map(str::to_owned),
        message: message.filter(|message| !message.is_empty()),
        ..PodCondition::default()
    }
}
