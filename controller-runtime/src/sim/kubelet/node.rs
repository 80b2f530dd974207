//! The Node object of a kubelet.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo, Taint,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use provisioner::Machine;

use crate::{events::EventType, runtime::Runtime, sim::controllers::meta::time};

const NOT_READY: &str = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
                         message:Network plugin returns error: cni plugin not initialized";
const READY: &str = "kubelet is posting ready status";
const HOSTNAME: &str = "kubernetes.io/hostname";
const ARCHITECTURE: &str = "kubernetes.io/arch";
const SYSTEM: &str = "kubernetes.io/os";

/// Whether a node is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    NotReady,
    Ready,
    /// Nobody answers any more.
    Unknown,
}

/// The object with which the kubelet of a machine registers.
pub(super) fn of_machine(machine: &Machine, ip: &str, now: Timestamp) -> Node {
    let mut labels = machine.labels.clone();
    for (key, value) in [
        (HOSTNAME, machine.node_name.as_str()),
        (ARCHITECTURE, "amd64"),
        (SYSTEM, "linux"),
    ] {
        labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    let mut taints = machine.taints.clone();
    let not_ready = "node.kubernetes.io/not-ready";
    if !taints.iter().any(|taint| taint.key == not_ready) {
        taints.push(Taint {
            key: not_ready.to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        });
    }
    let mut node = Node {
        metadata: ObjectMeta {
            name: Some(machine.node_name.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            provider_id: Some(machine.id.to_string()),
            taints: Some(taints),
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus {
            capacity: Some(machine.capacity.to_kube()),
            allocatable: Some(machine.allocatable.to_kube()),
            ..NodeStatus::default()
        }),
    };
    node.status = Some(status(&node, Health::NotReady, ip, now));
    node
}

/// The status of `node` with its health; what a manifest states stays.
pub(super) fn status(node: &Node, health: Health, ip: &str, now: Timestamp) -> NodeStatus {
    let mut status = node.status.clone().unwrap_or_default();
    if status.capacity.is_none() && status.allocatable.is_none() {
        // As kwok has it for a node that says nothing of its size, but with a number of pods that kubelets allow.
        let size = [("cpu", "1k"), ("memory", "1Ti"), ("pods", "110")];
        let size: BTreeMap<_, _> = size
            .into_iter()
            .map(|(name, amount)| {
                (
                    name.to_owned(),
                    k8s_openapi::apimachinery::pkg::api::resource::Quantity(amount.to_owned()),
                )
            })
            .collect();
        status.capacity = Some(size);
    }
    status.allocatable = status.allocatable.or_else(|| status.capacity.clone());
    status.capacity = status.capacity.or_else(|| status.allocatable.clone());
    if status.addresses.as_ref().is_none_or(Vec::is_empty) {
        let address = |type_: &str, address: &str| NodeAddress {
            type_: type_.to_owned(),
            address: address.to_owned(),
        };
        status.addresses = Some(vec![
            address("InternalIP", ip),
            address("Hostname", &node.name_any()),
        ]);
    }
    if status.node_info.is_none() {
        status.node_info = Some(system_info(node));
    }
    status.conditions = Some(conditions(node, health, now));
    status
}

fn conditions(node: &Node, health: Health, now: Timestamp) -> Vec<NodeCondition> {
    let ready = match health {
        Health::NotReady => ("False", "KubeletNotReady", NOT_READY),
        Health::Ready => ("True", "KubeletReady", READY),
        Health::Unknown => (
            "Unknown",
            "NodeStatusUnknown",
            "Kubelet stopped posting node status.",
        ),
    };
    let fine = |status| if health == Health::Unknown { ready } else { status };
    let all = [
        (
            "MemoryPressure",
            fine((
                "False",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            )),
        ),
        (
            "DiskPressure",
            fine((
                "False",
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure",
            )),
        ),
        (
            "PIDPressure",
            fine((
                "False",
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            )),
        ),
        ("Ready", ready),
    ];
    let old = node
        .status
        .clone()
        .unwrap_or_default()
        .conditions
        .unwrap_or_default();
    let mut conditions: Vec<_> = all
        .into_iter()
        .map(|(type_, (status, reason, message))| {
            let same = old.iter().find(|old| old.type_ == type_ && old.status == status);
            NodeCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
                last_heartbeat_time: same
                    .and_then(|old| old.last_heartbeat_time.clone())
                    .or_else(|| Some(time(now))),
                last_transition_time: same
                    .and_then(|old| old.last_transition_time.clone())
                    .or_else(|| Some(time(now))),
            }
        })
        .collect();
    let known: Vec<_> = conditions
        .iter()
        .map(|condition| condition.type_.clone())
        .collect();
    conditions.extend(old.into_iter().filter(|old| !known.contains(&old.type_)));
    conditions
}

fn system_info(node: &Node) -> NodeSystemInfo {
    let label = |key: &str, default: &str| {
        node.labels()
            .get(key)
            .cloned()
            .unwrap_or_else(|| default.to_owned())
    };
    NodeSystemInfo {
        architecture: label(ARCHITECTURE, "amd64"),
        operating_system: label(SYSTEM, "linux"),
        kubelet_version: "v1.35.0".to_owned(),
        container_runtime_version: "containerd://2.2.0".to_owned(),
        kernel_version: "6.12".to_owned(),
        os_image: "embedded".to_owned(),
        machine_id: node.name_any(),
        ..NodeSystemInfo::default()
    }
}

/// Registers the node of a machine, which becomes ready after `delay`.
pub(super) async fn register(cx: Runtime, machine: Machine, ip: String, delay: Duration) {
    let api: Api<Node> = Api::all(cx.client.clone());
    let node = of_machine(&machine, &ip, cx.clock.now());
    retry(|| async {
        match api.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            result => result.map(drop),
        }
    })
    .await;
    tokio::time::sleep(delay).await;
    set_health(&cx, &machine.node_name, Health::Ready, &ip).await;
}

/// Writes the node's health, unless it is that already.
pub(super) async fn set_health(cx: &Runtime, name: &str, health: Health, ip: &str) {
    let api: Api<Node> = Api::all(cx.client.clone());
    retry(|| async {
        let Some(node) = api.get_opt(name).await? else {
            return Ok(());
        };
        let status = status(&node, health, ip, cx.clock.now());
        if node.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let patch = serde_json::json!({
            "metadata": {"resourceVersion": node.resource_version()},
            "status": status,
        });
        let node = api
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        if health == Health::Ready {
            let message = format!("Node {name} status is now: NodeReady");
            cx.recorder
                .publish(&node, EventType::Normal, "NodeReady", message);
        }
        Ok(())
    })
    .await;
}

/// The machine is gone: after `grace` the node counts as lost, and then its object goes as the cloud's controller has
/// it.
pub(super) async fn lose(cx: Runtime, name: String, ip: String, grace: Duration) {
    /// How often the cloud's controller looks.
    const PERIOD: Duration = Duration::from_secs(5);
    tokio::time::sleep(grace).await;
    set_health(&cx, &name, Health::Unknown, &ip).await;
    tokio::time::sleep(PERIOD).await;
    let api: Api<Node> = Api::all(cx.client.clone());
    retry(|| async {
        let Some(node) = api.get_opt(&name).await? else {
            return Ok(());
        };
        if node.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let message = format!("Deleting node {name} because it does not exist in the cloud provider");
        cx.named("cloud-node-lifecycle-controller").recorder.publish(
            &node,
            EventType::Normal,
            "DeletingNode",
            message,
        );
        match api.delete(&name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    })
    .await;
}

/// Tries until it succeeds, with a pause.
async fn retry<F: Future<Output = kube::Result<()>>>(mut attempt: impl FnMut() -> F) {
    while let Err(error) = attempt().await {
        tracing::debug!(%error, "node was not written, trying again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
