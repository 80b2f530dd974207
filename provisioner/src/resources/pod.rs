//! What a pod asks of a node.

use k8s_openapi::api::core::v1::{Container, PodSpec};
use scaler_api::Quantity;

use super::{PODS, ResourceList};

/// What a pod asks of a node: containers and sidecars together or the greatest init step, whichever is more; the pod's
/// own amounts where it states them; its overhead; and one of `pods`.
///
/// A limit without a request counts as a request, as the API server defaults it.
#[must_use]
pub fn pod_requests(spec: &PodSpec) -> ResourceList {
    let mut running = ResourceList::default();
    for container in &spec.containers {
        running.add(&container_requests(container));
    }
    let mut sidecars = ResourceList::default();
    let mut starting = ResourceList::default();
    for container in spec.init_containers.iter().flatten() {
        let requests = container_requests(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&requests);
            starting = starting.max(&sidecars);
        } else {
            starting = starting.max(&sidecars.sum(&requests));
        }
    }
    let mut total = running.sum(&sidecars).max(&starting);
    for (name, amount) in pod_level(spec).0 {
        total.0.insert(name, amount);
    }
    total.add(&ResourceList::from_kube_lossy(spec.overhead.as_ref()));
    total.set(PODS, Quantity::from_units(1));
    total
}

fn container_requests(container: &Container) -> ResourceList {
    let Some(resources) = &container.resources else {
        return ResourceList::default();
    };
    let mut requests = ResourceList::from_kube_lossy(resources.limits.as_ref());
    requests
        .0
        .extend(ResourceList::from_kube_lossy(resources.requests.as_ref()).0);
    requests
}

fn pod_level(spec: &PodSpec) -> ResourceList {
    let Some(resources) = &spec.resources else {
        return ResourceList::default();
    };
    let mut requests = ResourceList::from_kube_lossy(resources.limits.as_ref());
    requests
        .0
        .extend(ResourceList::from_kube_lossy(resources.requests.as_ref()).0);
    requests
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn requests(spec: serde_json::Value) -> ResourceList {
        pod_requests(&serde_json::from_value(spec).unwrap())
    }

    fn cpu(cpu: &str) -> serde_json::Value {
        json!({ "name": "c", "resources": { "requests": { "cpu": cpu } } })
    }

    fn sidecar(cpu: &str) -> serde_json::Value {
        json!({ "name": "s", "restartPolicy": "Always", "resources": { "requests": { "cpu": cpu } } })
    }

    #[test]
    fn requests_follow_kubernetes() {
        let cases = [
            (
                "sum of containers",
                json!({ "containers": [cpu("1"), cpu("2")] }),
                "3",
            ),
            (
                "greatest init",
                json!({ "containers": [cpu("1")], "initContainers": [cpu("4"), cpu("2")] }),
                "4",
            ),
            (
                "sidecar stays",
                json!({ "containers": [cpu("1")], "initContainers": [sidecar("2")] }),
                "3",
            ),
            (
                "init after sidecar",
                json!({ "containers": [cpu("1")], "initContainers": [sidecar("2"), cpu("4")] }),
                "6",
            ),
            (
                "init before sidecar",
                json!({ "containers": [cpu("1")], "initContainers": [cpu("4"), sidecar("2")] }),
                "4",
            ),
            (
                "limits only",
                json!({ "containers": [{ "name": "c", "resources": { "limits": { "cpu": "2" } } }] }),
                "2",
            ),
            (
                "overhead",
                json!({ "containers": [cpu("1")], "overhead": { "cpu": "250m" } }),
                "1250m",
            ),
            (
                "pod level",
                json!({ "containers": [cpu("1")], "resources": { "requests": { "cpu": "5" } } }),
                "5",
            ),
        ];
        for (name, spec, expected) in cases {
            let requests = requests(spec);
            assert_eq!(requests.get("cpu").to_string(), expected, "{name}");
            assert_eq!(requests.get("pods").to_string(), "1", "{name}");
        }
    }
}
