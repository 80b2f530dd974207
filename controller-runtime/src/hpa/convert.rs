//! From the objects of the API.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{autoscaling::v1 as autoscaling, core::v1 as core},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use kube::ResourceExt as _;
use scaler_api::Quantity;

use super::{
    pods::{ConditionStatus, Container, InitContainer, Pod, PodPhase, ReadyCondition},
    reconcile::Scale,
};

impl From<&autoscaling::Scale> for Scale {
    fn from(scale: &autoscaling::Scale) -> Self {
        Self {
            spec_replicas: scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0),
            status_replicas: scale.status.as_ref().map_or(0, |status| status.replicas),
            selector: scale
                .status
                .as_ref()
                .and_then(|status| status.selector.clone())
                .unwrap_or_default(),
        }
    }
}

impl From<&core::Pod> for Pod {
    fn from(pod: &core::Pod) -> Self {
        let status = pod.status.as_ref();
        let spec = pod.spec.as_ref();
        let init_containers = spec
            .and_then(|spec| spec.init_containers.as_ref())
            .into_iter()
            .flatten();
        let resources = spec.and_then(|spec| spec.resources.as_ref());
        Self {
            name: pod.name_any(),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            phase: status
                .and_then(|status| status.phase.as_deref())
                .map_or(PodPhase::Pending, phase),
            start_time: status
                .and_then(|status| status.start_time.as_ref())
                .map(|time| time.0),
            ready: status.and_then(ready),
            containers: spec
                .into_iter()
                .flat_map(|spec| &spec.containers)
                .map(Container::from)
                .collect(),
            init_containers: init_containers.map(InitContainer::from).collect(),
            pod_requests: millis(resources.and_then(|resources| resources.requests.as_ref())),
            overhead: millis(spec.and_then(|spec| spec.overhead.as_ref())),
        }
    }
}

impl From<&core::Container> for Container {
    fn from(container: &core::Container) -> Self {
        let requests = container
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref());
        Self {
            name: container.name.clone(),
            requests: millis(requests),
        }
    }
}

impl From<&core::Container> for InitContainer {
    fn from(container: &core::Container) -> Self {
        let restartable = container.restart_policy.as_deref() == Some("Always");
        Self {
            container: container.into(),
            restartable,
        }
    }
}

fn phase(phase: &str) -> PodPhase {
    match phase {
        "Running" => PodPhase::Running,
        "Succeeded" => PodPhase::Succeeded,
        "Failed" => PodPhase::Failed,
        "Unknown" => PodPhase::Unknown,
        _ => PodPhase::Pending,
    }
}

fn ready(status: &core::PodStatus) -> Option<ReadyCondition> {
    let condition = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready")?;
    Some(ReadyCondition {
        status: match condition.status.as_str() {
            "True" => ConditionStatus::True,
            "False" => ConditionStatus::False,
            _ => ConditionStatus::Unknown,
        },
        last_transition: condition
            .last_transition_time
            .as_ref()
            .map_or(jiff::Timestamp::UNIX_EPOCH, |time| time.0),
    })
}

/// A quantity that does not parse counts as one that is not there; the API server lets none in.
fn millis(list: Option<&BTreeMap<String, ApiQuantity>>) -> BTreeMap<String, i64> {
    let parse = |(name, quantity): (&String, &ApiQuantity)| {
        Some((name.clone(), quantity.0.parse::<Quantity>().ok()?.milli_value()))
    };
    list.into_iter().flatten().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_of_the_api_is_read_as_far_as_the_algorithm_looks() {
        let pod: core::Pod = serde_json::from_value(json!({
            "metadata": { "name": "web-1", "deletionTimestamp": "2026-01-01T00:00:09Z" },
            "spec": {
                "overhead": { "cpu": "10m" },
                "resources": { "requests": { "cpu": "1" } },
                "initContainers": [
                    { "name": "proxy", "restartPolicy": "Always", "resources": { "requests": { "cpu": "50m" } } },
                    { "name": "setup" },
                ],
                "containers": [{ "name": "web", "resources": { "requests": { "cpu": "250m", "memory": "1Ki" } } }],
            },
            "status": {
                "phase": "Running",
                "startTime": "2026-01-01T00:00:01Z",
                "conditions": [
                    { "type": "PodScheduled", "status": "True" },
                    { "type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:02Z" },
                ],
            },
        }))
        .unwrap();
        let cpu = |millis| BTreeMap::from([("cpu".to_owned(), millis)]);
        let container = |name: &str, requests| Container {
            name: name.to_owned(),
            requests,
        };
        let init = |container, restartable| InitContainer {
            container,
            restartable,
        };
        let memory = BTreeMap::from([("cpu".to_owned(), 250), ("memory".to_owned(), 1_024_000)]);
        assert_eq!(
            Pod::from(&pod),
            Pod {
                name: "web-1".into(),
                deleting: true,
                phase: PodPhase::Running,
                start_time: Some("2026-01-01T00:00:01Z".parse().unwrap()),
                ready: Some(ReadyCondition {
                    status: ConditionStatus::False,
                    last_transition: "2026-01-01T00:00:02Z".parse().unwrap(),
                }),
                containers: vec![container("web", memory)],
                init_containers: vec![
                    init(container("proxy", cpu(50)), true),
                    init(container("setup", BTreeMap::new()), false),
                ],
                pod_requests: cpu(1000),
                overhead: cpu(10),
            }
        );
        assert_eq!(Pod::from(&core::Pod::default()).phase, PodPhase::Pending);
    }
}
