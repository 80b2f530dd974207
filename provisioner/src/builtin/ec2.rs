//! EC2's instance types as nodes of Kubernetes: what pods can use of them, their labels, and what they cost.
//!
//! On-demand prices are the published ones of the date in the table; a spot price moves from hour to hour, so a usual
//! share of the on-demand price stands for it ([`SPOT_PRICE`]).

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use scaler_api::Quantity;

use super::table::{self, Device, Region, Row};
use crate::{
    CapacityType, Catalog, Error, ErrorKind, InstanceType, Offering, Requirement, Requirements, ResourceList,
    karpenter::labels,
    resources::{CPU, EPHEMERAL_STORAGE, MEMORY, PODS},
};

/// What spot capacity is taken to cost, as a share of the on-demand price: discounts are mostly between half and three
/// quarters.
pub const SPOT_PRICE: f64 = 0.4;

const MEBI: i64 = 1 << 20;
const GIBI: i64 = 1 << 30;
/// Memory that the hypervisor keeps, in thousandths.
const HYPERVISOR_SHARE: i64 = 75;
/// What machines with ARM processors lack besides, in MiB.
const ARM_LACKS: i64 = 64;
/// The root volume where nobody says otherwise.
const ROOT_VOLUME: i64 = 20 * GIBI;
const KUBELET_STORAGE: i64 = GIBI;
/// Where the kubelet begins to evict, in MiB.
const EVICTION_MEMORY: i64 = 100;

static CATALOGS: LazyLock<BTreeMap<String, Arc<Catalog>>> = LazyLock::new(|| {
    let (rows, regions) = table::read();
    let catalog = |(region, sold): (String, Region)| {
        let instance_types = rows
            .iter()
            .filter_map(|row| Some(Arc::new(instance_type(row, &region, sold.get(&row.name)?))));
        let instance_types = instance_types.collect();
        (
            region,
            Arc::new(Catalog {
                version: 1,
                instance_types,
            }),
        )
    };
    regions.into_iter().map(catalog).collect()
});

/// What EC2 sells in a region.
///
/// ```
/// let catalog = provisioner::builtin::ec2("us-east-1")?;
/// let m5 = catalog.instance_types.iter().find(|it| it.name == "m5.large");
/// assert_eq!(m5.map(|it| it.allocatable().get("pods").value()), Some(29));
/// # Ok::<_, provisioner::Error>(())
/// ```
///
/// # Errors
/// If prices of the region are not known.
pub fn ec2(region: &str) -> Result<Arc<Catalog>, Error> {
    CATALOGS.get(region).cloned().ok_or_else(|| {
        let known: Vec<&str> = ec2_regions().collect();
        Error::new(
            ErrorKind::Invalid,
            format!(
                "EC2's prices in {region:?} are not known, expected {}",
                known.join(" or ")
            ),
        )
    })
}

/// The regions whose prices are known.
pub fn ec2_regions() -> impl Iterator<Item = &'static str> {
    CATALOGS.keys().map(String::as_str)
}

fn instance_type(row: &Row, region: &str, (price, zones): &(f64, Vec<String>)) -> InstanceType {
    let mut sold = Vec::new();
    if row.is_on_demand {
        sold.push((CapacityType::OnDemand, *price));
    }
    if row.is_spot {
        sold.push((CapacityType::Spot, price * SPOT_PRICE));
    }
    let offerings = zones.iter().flat_map(|zone| {
        sold.iter().map(move |&(capacity_type, price)| Offering {
            zone: zone.clone(),
            capacity_type,
            price,
            available: true,
            reservation_id: None,
            reservation_capacity: None,
            unavailable_since: None,
        })
    });
    let mut requirements = labels_of(row);
    let capacity_types = sold.iter().map(|(capacity_type, _)| capacity_type.as_str());
    requirements.add(Requirement::one_of(labels::CAPACITY_TYPE, capacity_types));
    requirements.add(Requirement::one_of(
        labels::ZONE,
        zones.iter().map(String::as_str),
    ));
    requirements.add(Requirement::one_of(labels::REGION, [region]));
    InstanceType {
        name: row.name.clone(),
        requirements,
        capacity: capacity(row),
        overhead: overhead(row),
        offerings: offerings.collect(),
    }
}

/// Pods that can have an address: of every interface, all addresses but its own; and two that use the node's.
fn most_pods(row: &Row) -> i64 {
    row.interfaces * (row.addresses_per_interface - 1) + 2
}

fn capacity(row: &Row) -> ResourceList {
    let lacking = if row.architecture == "arm64" { ARM_LACKS } else { 0 };
    let memory = row.memory_mebibytes - lacking;
    let kept = (memory * HYPERVISOR_SHARE + 999) / 1000;
    let mut capacity = ResourceList::default()
        .with(CPU, Quantity::from_units(row.processors))
        .with(MEMORY, mebibytes(memory - kept))
        .with(EPHEMERAL_STORAGE, bytes(ROOT_VOLUME))
        .with(PODS, Quantity::from_units(most_pods(row)));
    for device in [&row.gpu, &row.accelerator].into_iter().flatten() {
        let resource = match device.manufacturer.as_str() {
            "nvidia" => "nvidia.com/gpu",
            "amd" => "amd.com/gpu",
            "habana" => "habana.ai/gaudi",
            "aws" => "aws.amazon.com/neuron",
            _ => continue,
        };
        capacity.set(resource, Quantity::from_units(device.count));
    }
    capacity
}

/// What the kubelet and the system keep, and what is left for evictions.
fn overhead(row: &Row) -> ResourceList {
    // Thousandths of a processor: 6 % of the first, 1 % of the second, 0.5 % of two more, 0.25 % of the others.
    let share = |from: i64, to: i64, per_mille_tenths: i64| {
        (row.processors.min(to) - from).max(0) * per_mille_tenths / 10
    };
    let processors = share(0, 1, 600) + share(1, 2, 100) + share(2, 4, 50) + share(4, i64::MAX, 25);
    ResourceList::default()
        .with(CPU, Quantity::from_millis(processors))
        .with(MEMORY, mebibytes(11 * most_pods(row) + 255 + EVICTION_MEMORY))
        .with(EPHEMERAL_STORAGE, bytes(KUBELET_STORAGE + (ROOT_VOLUME + 9) / 10))
}

fn bytes(amount: i64) -> Quantity {
    Quantity::from_units(amount).with_format(scaler_api::Format::BinarySi)
}

fn mebibytes(amount: i64) -> Quantity {
    bytes(amount * MEBI)
}

/// The labels that nodes of the type carry; those that speak of what it lacks are absent for certain.
fn labels_of(row: &Row) -> Requirements {
    let (family, size) = row.name.split_once('.').unwrap_or((&row.name, ""));
    let category: String = family.chars().take_while(char::is_ascii_alphabetic).collect();
    let generation: String = family
        .chars()
        .skip(category.len())
        .take_while(char::is_ascii_digit)
        .collect();
    let mut requirements: Requirements = [
        Requirement::one_of(labels::INSTANCE_TYPE, [row.name.as_str()]),
        Requirement::one_of(labels::ARCH, [row.architecture.as_str()]),
        Requirement::one_of(labels::OS, ["linux"]),
    ]
    .into_iter()
    .collect();
    let mut add = |name: &str, value: &str| {
        let key = format!("{}/instance-{name}", labels::AWS_GROUP);
        requirements.add(if value.is_empty() {
            Requirement::absent(&key)
        } else {
            Requirement::one_of(&key, [value])
        });
    };
    add("category", &category);
    add("family", family);
    add("generation", &generation);
    add("size", size);
    add("cpu", &row.processors.to_string());
    add("memory", &row.memory_mebibytes.to_string());
    add("hypervisor", &row.hypervisor);
    add("local-nvme", &row.nvme_gigabytes);
    add("cpu-manufacturer", &row.manufacturer);
    add("cpu-sustained-clock-speed-mhz", &row.megahertz);
    add("ebs-bandwidth", &row.ebs_megabits);
    add(
        "encryption-in-transit-supported",
        if row.encrypts_in_transit { "true" } else { "false" },
    );
    add(
        "capability-flex",
        if family.ends_with("-flex") {
            "true"
        } else {
            "false"
        },
    );
    let none = Device::default();
    for (kind, device) in [("gpu", &row.gpu), ("accelerator", &row.accelerator)] {
        let of = device.as_ref().unwrap_or(&none);
        let count = device
            .as_ref()
            .map_or_else(String::new, |device| device.count.to_string());
        add(&format!("{kind}-name"), &of.name);
        add(&format!("{kind}-manufacturer"), &of.manufacturer);
        add(&format!("{kind}-count"), &count);
        if kind == "gpu" {
            add("gpu-memory", &of.memory_mebibytes);
        }
    }
    requirements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> InstanceType {
        let catalog = ec2("us-east-1").unwrap();
        let found = catalog.instance_types.iter().find(|it| it.name == name).unwrap();
        InstanceType::clone(found)
    }

    #[test]
    fn a_type_has_what_its_kubelet_reports_by_the_provider_s_formulas() {
        let m5 = of("m5.large");
        // 8192 MiB less 7.5 %, rounded up.
        assert_eq!(m5.capacity.get(MEMORY), mebibytes(8192 - 615));
        assert_eq!(m5.capacity.get(PODS).value(), 29);
        assert_eq!(m5.overhead.get(CPU).to_string(), "70m");
        assert_eq!(m5.overhead.get(MEMORY), mebibytes(11 * 29 + 255 + 100));
        assert_eq!(m5.allocatable().get(EPHEMERAL_STORAGE), bytes(17 * GIBI));
        assert_eq!(of("m5.2xlarge").overhead.get(CPU).to_string(), "90m");
        assert_eq!(of("m6g.large").capacity.get(MEMORY), mebibytes(8128 - 610));
    }

    #[test]
    fn devices_are_resources_and_labels_and_absent_where_there_are_none() {
        let g5 = of("g5.12xlarge");
        assert_eq!(g5.capacity.get("nvidia.com/gpu").value(), 4);
        assert_eq!(of("inf2.xlarge").capacity.get("aws.amazon.com/neuron").value(), 1);
        let asks: Requirements = [Requirement::exists("karpenter.k8s.aws/instance-gpu-count")]
            .into_iter()
            .collect();
        assert!(g5.requirements.intersects(&asks).is_ok());
        assert!(of("m5.large").requirements.intersects(&asks).is_err());
        let label = |name: &str, key: &str| {
            of(name)
                .requirements
                .get(&format!("karpenter.k8s.aws/instance-{key}"))
                .and_then(|r| r.single())
                .map(str::to_owned)
        };
        assert_eq!(label("inf2.xlarge", "category").as_deref(), Some("inf"));
        assert_eq!(label("m5.large", "generation").as_deref(), Some("5"));
        assert_eq!(label("g5.12xlarge", "local-nvme").as_deref(), Some("3800"));
    }

    #[test]
    fn every_type_is_sold_somewhere_at_a_price() {
        let catalog = ec2("us-east-1").unwrap();
        assert!(catalog.instance_types.len() > 1000);
        for it in &catalog.instance_types {
            assert!(!it.offerings.is_empty(), "{}", it.name);
            assert!(
                it.offerings.iter().all(|offering| offering.price > 0.0),
                "{}",
                it.name
            );
            assert!(
                it.allocatable()
                    .iter()
                    .all(|(name, amount)| name == PODS || !amount.is_zero()),
                "{}",
                it.name
            );
        }
        let m5 = of("m5.large");
        let price = |capacity_type| {
            m5.offerings
                .iter()
                .find(|o| o.capacity_type == capacity_type)
                .map(|o| o.price)
        };
        assert_eq!(price(CapacityType::OnDemand), Some(0.096));
        assert_eq!(price(CapacityType::Spot), Some(0.096 * SPOT_PRICE));
    }

    #[test]
    fn a_region_without_prices_is_refused_with_those_that_have_some() {
        let error = ec2("mars-1").unwrap_err().to_string();
        assert_eq!(
            error,
            r#"EC2's prices in "mars-1" are not known, expected us-east-1"#
        );
    }
}
