//! The traits on the in-process cloud.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Fake, Shared,
    cloud::{Choice, Record},
    interruptions,
};
use crate::{
    Catalog, ClassStatus, DriftReason, Error, ErrorKind, Instance, InstanceState, Interruption,
    LaunchRequest, Machine, Machines, NodeClass, ProviderId, Provisioner, Requirements, Termination,
    karpenter::{Condition, ConditionValue, NodeClaim, NodePool, labels},
    taints,
};

#[async_trait]
impl<C: NodeClass> Provisioner for Fake<C> {
    type Class = C;

    async fn resolve(&self, class: &C) -> Result<ClassStatus, Error> {
        let mut cloud = self.shared.cloud();
        cloud.maybe_fail(self.shared.settings.error_rate, "resolve")?;
        let now = self.shared.settings.clock.now();
        let kinds: &[&str] = if self.shared.is_aws {
            &[
                "AMIsReady",
                "InstanceProfileReady",
                "SecurityGroupsReady",
                "SubnetsReady",
                "ValidationSucceeded",
            ]
        } else {
            &["ValidationSucceeded"]
        };
        let condition = |kind: &&str| -> Condition {
            let problem = cloud
                .class_problem
                .as_ref()
                .filter(|problem| problem.kind == *kind);
            let value = match problem {
                Some(problem) => ConditionValue::is_false(kind, &problem.reason, &problem.message),
                None => ConditionValue::is_true(kind),
            };
            value.at(class.meta().generation, now)
        };
        let conditions = kinds.iter().map(condition).collect();
        let resolved = if self.shared.is_aws {
            aws_status(&self.shared, &cloud.image_id)
        } else {
            BTreeMap::new()
        };
        Ok(ClassStatus { resolved, conditions })
    }

    async fn catalog(&self, _pool: &NodePool, _class: &C) -> Result<Arc<Catalog>, Error> {
        let mut cloud = self.shared.cloud();
        cloud.maybe_fail(self.shared.settings.error_rate, "catalog")?;
        Ok(cloud.catalog(Instant::now()))
    }

    /// Buys at once and answers after the launch delay, so that a launch that is dropped in between is there.
    async fn launch(&self, request: &LaunchRequest<'_, C>) -> Result<Instance, Error> {
        let id = launch(&self.shared, request.claim, request.token)?;
        self.shared.changed.notify_waiters();
        sleep(self.shared.settings.launch_delay).await;
        let cloud = self.shared.cloud();
        let record = cloud.find(&id, Instant::now());
        record.map(|record| record.as_of(Instant::now())).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("instance {id} was terminated while it was being launched"),
            )
        })
    }

    async fn terminate(&self, id: &ProviderId) -> Result<Termination, Error> {
        let now = Instant::now();
        let termination = {
            let mut cloud = self.shared.cloud();
            cloud.maybe_fail(self.shared.settings.error_rate, "terminate")?;
            match cloud.find(id, now) {
                None => Termination::Gone,
                Some(_) => {
                    cloud.end(id, now + self.shared.settings.termination_delay);
                    Termination::Requested
                }
            }
        };
        self.shared.changed.notify_waiters();
        Ok(termination)
    }

    async fn get(&self, id: &ProviderId) -> Result<Option<Instance>, Error> {
        let now = Instant::now();
        let mut cloud = self.shared.cloud();
        cloud.maybe_fail(self.shared.settings.error_rate, "get")?;
        Ok(cloud.find(id, now).map(|record| record.as_of(now)))
    }

    async fn list(&self) -> Result<Vec<Instance>, Error> {
        let now = Instant::now();
        let mut cloud = self.shared.cloud();
        cloud.maybe_fail(self.shared.settings.error_rate, "list")?;
        let instances = cloud.records.values().map(|record| record.as_of(now));
        Ok(instances
            .filter(|instance| instance.state != InstanceState::Terminated)
            .collect())
    }

    async fn drift(&self, instance: &Instance, _class: &C) -> Result<Option<DriftReason>, Error> {
        let cloud = self.shared.cloud();
        let current = Some(&cloud.image_id) == instance.image_id.as_ref();
        Ok((!current).then(|| DriftReason("AMIDrift".to_owned())))
    }

    fn interruptions(&self) -> Option<BoxStream<'_, Interruption>> {
        Some(interruptions::stream(&self.shared))
    }
}

#[async_trait]
impl<C: NodeClass> Machines for Fake<C> {
    fn running(&self) -> Vec<Machine> {
        self.shared.cloud().running(Instant::now())
    }

    async fn changed(&self) {
        loop {
            // Registered before looking, so that nothing is missed in between.
            let changed = self.shared.changed.notified();
            let next = {
                let mut cloud = self.shared.cloud();
                let now = Instant::now();
                let running: Vec<String> = cloud
                    .running(now)
                    .into_iter()
                    .map(|machine| machine.node_name)
                    .collect();
                if running != cloud.seen {
                    cloud.seen = running;
                    return;
                }
                cloud.next_change(now)
            };
            changed_or(changed, next).await;
        }
    }
}

/// Waits until something changes or `at` comes, if it does.
pub(super) async fn changed_or(changed: impl Future<Output = ()>, at: Option<Instant>) {
    let time = async {
        match at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = changed => {}
        () = time => {}
    }
}

fn launch(shared: &Shared, claim: &NodeClaim, token: &str) -> Result<ProviderId, Error> {
    let now = Instant::now();
    let mut cloud = shared.cloud();
    cloud.maybe_fail(shared.settings.error_rate, "launch")?;
    if let Some(record) = cloud.of_token(token) {
        return Ok(record.instance.id.clone());
    }
    let asked = Requirements::from_specs(&claim.spec.requirements)?;
    let mut short = 0_usize;
    for choice in cloud.choices(&asked, &claim.spec.resources.requests, now) {
        if cloud.has_capacity(&choice.key(), now) {
            let id = cloud.next_id();
            let record = record(
                shared,
                claim,
                &choice,
                &id,
                (cloud.launched, &cloud.image_id),
                now,
            );
            let id = record.instance.id.clone();
            cloud.insert(token, record);
            return Ok(id);
        }
        short += 1;
        cloud.mark_unavailable(
            choice.key(),
            now + shared.settings.unavailable_for,
            shared.settings.clock.now(),
        );
    }
    let message = if short == 0 {
        format!(
            "no offering satisfies the claim, requirements={asked}, resources={}",
            claim.spec.resources.requests
        )
    } else {
        format!("all {short} offerings of the claim are short of capacity, requirements={asked}")
    };
    Err(Error::new(ErrorKind::InsufficientCapacity, message).with_reason("InsufficientCapacityError"))
}

fn record(
    shared: &Shared,
    claim: &NodeClaim,
    choice: &Choice,
    id: &str,
    (number, image_id): (usize, &str),
    now: Instant,
) -> Record {
    let settings = &shared.settings;
    let claim_name = claim.metadata.name.clone().unwrap_or_default();
    let node_name = if shared.is_aws {
        // Ten addresses in, as a subnet of a VPC has it.
        let host = number + 10;
        format!(
            "ip-10-0-{}-{}.{}.compute.internal",
            host / 250,
            host % 250,
            settings.region
        )
    } else {
        claim_name.clone()
    };
    let id = ProviderId(match (&settings.scheme, shared.is_aws) {
        (_, true) => format!("aws:///{}/{id}", choice.offering.zone),
        (scheme, false) => format!("{}://{node_name}", scheme.as_deref().unwrap_or("kwok")),
    });
    let it = &choice.instance_type;
    let bought = bought_labels(settings.region.as_str(), choice);
    let mut registered = claim.metadata.labels.clone().unwrap_or_default();
    registered.extend(bought.clone());
    registered.insert(labels::HOSTNAME.to_owned(), node_name.clone());
    let startup = taints::merge(&claim.spec.taints, &claim.spec.startup_taints);
    let machine = Machine {
        id: id.clone(),
        node_name: node_name.clone(),
        labels: registered,
        taints: taints::merge(&startup, &[labels::unregistered_taint()]),
        capacity: it.capacity.clone(),
        allocatable: it.allocatable(),
    };
    let instance = Instance {
        id,
        node_name: Some(node_name),
        instance_type: it.name.clone(),
        zone: choice.offering.zone.clone(),
        capacity_type: choice.offering.capacity_type,
        price: choice.offering.price,
        image_id: Some(image_id.to_owned()),
        capacity: it.capacity.clone(),
        allocatable: it.allocatable(),
        labels: bought,
        claim: Some(claim_name),
        state: InstanceState::Pending,
        launched_at: settings.clock.now(),
    };
    let runs_at = now + settings.launch_delay + settings.boot_delay;
    Record {
        instance,
        machine,
        runs_at,
        ending: false,
        gone_at: None,
    }
}

/// Labels that follow from what was bought.
fn bought_labels(region: &str, choice: &Choice) -> BTreeMap<String, String> {
    let mut labels = choice.instance_type.requirements.single_values();
    let offering = &choice.offering;
    labels.insert(labels::REGION.to_owned(), region.to_owned());
    labels.insert(labels::ZONE.to_owned(), offering.zone.clone());
    labels.insert(
        labels::CAPACITY_TYPE.to_owned(),
        offering.capacity_type.to_string(),
    );
    labels.insert(
        labels::INSTANCE_TYPE.to_owned(),
        choice.instance_type.name.clone(),
    );
    labels
}

fn aws_status(shared: &Shared, image_id: &str) -> BTreeMap<String, Value> {
    let mut zones: Vec<String> = shared
        .settings
        .instance_types
        .iter()
        .flat_map(|it| it.offerings.iter().map(|offering| offering.zone.clone()))
        .collect();
    zones.sort();
    zones.dedup();
    let subnet = |(index, zone): (usize, &String)| json!({ "id": format!("subnet-{:017x}", index + 1), "zone": zone, "zoneID": format!("{zone}-id") });
    let subnets: Vec<Value> = zones.iter().enumerate().map(subnet).collect();
    BTreeMap::from([
        ("subnets".to_owned(), json!(subnets)),
        (
            "securityGroups".to_owned(),
            json!([{ "id": "sg-00000000000000001", "name": "nodes" }]),
        ),
        (
            "amis".to_owned(),
            json!([{ "id": image_id, "name": "node", "requirements": [
            { "key": labels::ARCH, "operator": "In", "values": ["amd64"] },
        ] }]),
        ),
        ("instanceProfile".to_owned(), json!("nodes")),
    ])
}
