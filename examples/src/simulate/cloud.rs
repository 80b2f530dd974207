//! The cloud of a scenario: what it sells, how quick it is, where it is short.

use std::{collections::BTreeMap, sync::Arc};

use provisioner::{
    CapacityType, InstanceType, Offering, Requirement, Requirements, ResourceList,
    fake::{Fake, FakeSettings, ec2_types},
    karpenter::{Ec2NodeClass, labels},
    resources::{CPU, EPHEMERAL_STORAGE, MEMORY, PODS},
};
use scaler_api::{Quantity, SharedClock};

use crate::{
    input::InputProblems,
    record::PriceList,
    scenario::{self, InstanceTypeEntry, Scenario},
};

/// Pods that a type of one's own may run where nothing is said.
const DEFAULT_PODS: u32 = 110;
/// What spot costs of the list price where nothing is said.
const DEFAULT_SPOT_SHARE: f64 = 0.35;

/// The cloud, and its list of prices.
#[derive(Clone, Debug)]
pub(super) struct Cloud {
    pub(super) provisioner: Arc<Fake<Ec2NodeClass>>,
    prices: Arc<BTreeMap<(String, String, &'static str), f64>>,
}

impl Cloud {
    /// The in-process cloud that a scenario describes, if it has one.
    ///
    /// # Errors
    /// Types that are not built in, quantities that are none, capacity types that are none.
    pub(super) fn build(
        scenario: &Scenario,
        seed: u64,
        clock: &SharedClock,
    ) -> Result<Option<Self>, InputProblems> {
        let Some(cloud) = &scenario.cloud else {
            return Ok(None);
        };
        let mut problems = InputProblems::default();
        let instance_types = instance_types(&scenario.file, cloud, &mut problems);
        let prices: BTreeMap<(String, String, &str), f64> = instance_types
            .iter()
            .flat_map(|it| {
                it.offerings.iter().map(|offering| {
                    (
                        (
                            it.name.clone(),
                            offering.zone.clone(),
                            offering.capacity_type.as_str(),
                        ),
                        offering.price,
                    )
                })
            })
            .collect();
        let provisioner = Fake::new(FakeSettings {
            instance_types,
            launch_delay: cloud.launch_delay.0,
            boot_delay: cloud.boot_delay.0,
            termination_delay: cloud.termination_delay.0,
            seed,
            clock: Arc::clone(clock),
            ..FakeSettings::new(cloud.region.clone())
        });
        let types_are_known = problems.0.is_empty();
        for (index, limit) in cloud.capacity.iter().cloned().enumerate() {
            let known = prices.keys().any(|(name, zone, _)| {
                *name == limit.instance_type && limit.zone.as_ref().is_none_or(|wanted| wanted == zone)
            });
            if types_are_known && !known {
                let zone = limit
                    .zone
                    .as_deref()
                    .map_or_else(String::new, |zone| format!(" in {zone}"));
                let message = format!(
                    "spec.cloud.capacity[{index}]: {:?}{zone} is not among the offerings of spec.cloud.instanceTypes",
                    limit.instance_type
                );
                problems.file(&scenario.file, message);
            }
            let capacity_type = match limit
                .capacity_type
                .as_deref()
                .map(str::parse::<CapacityType>)
                .transpose()
            {
                Ok(capacity_type) => capacity_type,
                Err(error) => {
                    problems.file(
                        &scenario.file,
                        format!("spec.cloud.capacity[].capacityType: {error}"),
                    );
                    continue;
                }
            };
            let most = limit.limit;
            let picks = move |offering: &provisioner::fake::OfferingKey| {
                offering.instance_type == limit.instance_type
                    && limit.zone.as_ref().is_none_or(|zone| *zone == offering.zone)
                    && capacity_type.is_none_or(|capacity_type| capacity_type == offering.capacity_type)
            };
            provisioner.limit(picks, most);
        }
        problems.or(Some(Self {
            provisioner: Arc::new(provisioner),
            prices: Arc::new(prices),
        }))
    }

    /// What a node of a type in a zone costs; any zone's price where the zone is not the cloud's.
    pub(super) fn prices(&self) -> PriceList {
        let prices = Arc::clone(&self.prices);
        Arc::new(move |name, zone, capacity_type| {
            prices
                .iter()
                .filter(|((it, _, how), _)| it == name && *how == capacity_type)
                .min_by_key(|((_, offered, _), _)| offered != zone)
                .map(|(_, price)| *price)
        })
    }
}

fn instance_types(
    file: &str,
    cloud: &scenario::Cloud,
    problems: &mut InputProblems,
) -> Vec<Arc<InstanceType>> {
    let zones: Vec<&str> = cloud.zones.iter().map(String::as_str).collect();
    let known = ec2_types::instance_types(&cloud.region, &zones);
    let mut chosen = Vec::new();
    for (index, entry) in cloud.instance_types.iter().enumerate() {
        let field = format!("spec.cloud.instanceTypes[{index}]");
        match &entry.builtin {
            Some(name) => match known.iter().find(|it| it.name == *name) {
                Some(found) => chosen.push(Arc::new(with_prices((**found).clone(), entry))),
                None => {
                    let names: Vec<&str> = known.iter().map(|it| it.name.as_str()).collect();
                    problems.file(
                        file,
                        format!(
                            "{field}.builtin: {name:?} is no built-in type, expected one of {}",
                            names.join(", ")
                        ),
                    );
                }
            },
            None => match own_type(entry, cloud) {
                Ok(own) => chosen.push(Arc::new(own)),
                Err(message) => problems.file(file, format!("{field}: {message}")),
            },
        }
    }
    chosen
}

fn with_prices(mut instance_type: InstanceType, entry: &InstanceTypeEntry) -> InstanceType {
    for offering in &mut instance_type.offerings {
        let price = match offering.capacity_type {
            CapacityType::Spot => entry.spot_price,
            _ => entry.price,
        };
        offering.price = price.unwrap_or(offering.price);
    }
    instance_type
}

fn own_type(entry: &InstanceTypeEntry, cloud: &scenario::Cloud) -> Result<InstanceType, String> {
    let quantity = |field: &str, text: &Option<String>| -> Result<Quantity, String> {
        let text = text.as_deref().unwrap_or_default();
        text.parse().map_err(|error| format!("{field}: {error}"))
    };
    let name = entry.name.clone().unwrap_or_default();
    let price = entry.price.unwrap_or_default();
    let spot = entry.spot_price.unwrap_or(price * DEFAULT_SPOT_SHARE);
    let mut requirements = Requirements::new();
    for (key, value) in [
        (labels::INSTANCE_TYPE, name.as_str()),
        (labels::ARCH, "amd64"),
        (labels::OS, "linux"),
        (labels::REGION, cloud.region.as_str()),
    ] {
        requirements.add(Requirement::one_of(key, [value]));
    }
    requirements.add(Requirement::one_of(
        labels::ZONE,
        cloud.zones.iter().map(String::as_str),
    ));
    requirements.add(Requirement::one_of(labels::CAPACITY_TYPE, ["on-demand", "spot"]));
    let offerings = cloud.zones.iter().flat_map(|zone| {
        [(CapacityType::OnDemand, price), (CapacityType::Spot, spot)].map(|(capacity_type, price)| Offering {
            zone: zone.clone(),
            capacity_type,
            price,
            available: true,
            reservation_id: None,
            reservation_capacity: None,
            unavailable_since: None,
        })
    });
    Ok(InstanceType {
        name,
        requirements,
        capacity: ResourceList::default()
            .with(CPU, quantity("cpu", &entry.cpu)?)
            .with(MEMORY, quantity("memory", &entry.memory)?)
            .with(EPHEMERAL_STORAGE, Quantity::from_units(20 << 30))
            .with(
                PODS,
                Quantity::from_units(i64::from(entry.pods.unwrap_or(DEFAULT_PODS))),
            ),
        overhead: ResourceList::default().with(CPU, Quantity::from_millis(100)),
        offerings: offerings.collect(),
    })
}
