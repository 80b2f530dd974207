//! Machines of the embedded cluster whose kubelets a case can silence.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use provisioner::{Machine, Machines, ProviderId, ResourceList};
use serde_json::Value;
use tokio::sync::Notify;

/// The machines that run. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running {
    machines: Arc<Mutex<BTreeMap<String, Machine>>>,
    changed: Arc<Notify>,
}

impl Running {
    /// Starts the machine that a Node is about.
    pub(crate) fn start(&self, node: &Value) -> anyhow::Result<()> {
        let name = node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let resources = |field: &str| -> anyhow::Result<ResourceList> {
            let found = serde_json::from_value(node["status"][field].clone())?;
            Ok(ResourceList::from_kube_lossy(Some(&found)))
        };
        let machine = Machine {
            id: ProviderId(format!("conformance://{name}")),
            node_name: name.clone(),
            labels: serde_json::from_value(node["metadata"]["labels"].clone())?,
            taints: serde_json::from_value(node["spec"]["taints"].clone())?,
            capacity: resources("capacity")?,
            allocatable: resources("allocatable")?,
        };
        self.machines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, machine);
        self.changed.notify_one();
        Ok(())
    }

    /// Ends a machine.
    pub(crate) fn end(&self, name: &str) {
        self.machines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
        self.changed.notify_one();
    }
}

#[async_trait]
impl Machines for Running {
    fn running(&self) -> Vec<Machine> {
        let machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        machines.values().cloned().collect()
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}
