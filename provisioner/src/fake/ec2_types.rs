//! Some EC2 instance types with their sizes, network limits and on-demand prices of us-east-1 (Linux, per hour), for
//! demonstrations and tests. Spot prices are made up: 30 % to 40 % of the on-demand price, by type and zone.

use std::sync::Arc;

use scaler_api::Quantity;

use crate::{
    CapacityType, InstanceType, Offering, Requirement, Requirements, ResourceList,
    karpenter::labels,
    resources::{CPU, EPHEMERAL_STORAGE, MEMORY, PODS},
};

/// Name, vCPU, memory in GiB, network interfaces, IPv4 addresses of each, price.
type Row = (&'static str, u32, u32, u32, u32, f64);

const ROWS: &[Row] = &[
    ("c5.large", 2, 4, 3, 10, 0.085),
    ("c5.xlarge", 4, 8, 4, 15, 0.17),
    ("c5.2xlarge", 8, 16, 4, 15, 0.34),
    ("c5.4xlarge", 16, 32, 8, 30, 0.68),
    ("c5.9xlarge", 36, 72, 8, 30, 1.53),
    ("m5.large", 2, 8, 3, 10, 0.096),
    ("m5.xlarge", 4, 16, 4, 15, 0.192),
    ("m5.2xlarge", 8, 32, 4, 15, 0.384),
    ("m5.4xlarge", 16, 64, 8, 30, 0.768),
    ("m5.8xlarge", 32, 128, 8, 30, 1.536),
    ("m5.12xlarge", 48, 192, 8, 30, 2.304),
    ("m6g.large", 2, 8, 3, 10, 0.077),
    ("m6g.xlarge", 4, 16, 4, 15, 0.154),
    ("m6g.2xlarge", 8, 32, 4, 15, 0.308),
    ("m6i.large", 2, 8, 3, 10, 0.096),
    ("m6i.xlarge", 4, 16, 4, 15, 0.192),
    ("m6i.2xlarge", 8, 32, 4, 15, 0.384),
    ("m6i.4xlarge", 16, 64, 8, 30, 0.768),
    ("r5.large", 2, 16, 3, 10, 0.126),
    ("r5.xlarge", 4, 32, 4, 15, 0.252),
    ("r5.2xlarge", 8, 64, 4, 15, 0.504),
    ("r5.4xlarge", 16, 128, 8, 30, 1.008),
    ("t3.small", 2, 2, 3, 4, 0.0208),
    ("t3.medium", 2, 4, 3, 6, 0.0416),
    ("t3.large", 2, 8, 3, 12, 0.0832),
    ("t3.xlarge", 4, 16, 4, 15, 0.1664),
    ("t3.2xlarge", 8, 32, 4, 15, 0.3328),
];

const MIB: i64 = 1024 * 1024;
const GIB: i64 = 1024 * MIB;
/// The share of the memory that virtualisation is expected to take, in thousandths.
const VM_MEMORY_OVERHEAD: i64 = 75;

/// All of them, sold in `zones` on demand and as spot.
#[must_use]
pub fn instance_types(region: &str, zones: &[&str]) -> Vec<Arc<InstanceType>> {
    ROWS.iter()
        .enumerate()
        .map(|(index, row)| Arc::new(instance_type(index, row, region, zones)))
        .collect()
}

fn instance_type(index: usize, row: &Row, region: &str, zones: &[&str]) -> InstanceType {
    let &(name, cpus, memory_gib, interfaces, addresses, price) = row;
    let pods = interfaces * (addresses - 1) + 2;
    let offerings = zones.iter().enumerate().flat_map(|(zone, name)| {
        let share = 0.30 + 0.01 * f64::from(u32::try_from((index * 3 + zone * 5) % 11).unwrap_or(0));
        [
            offering(name, CapacityType::OnDemand, price),
            offering(name, CapacityType::Spot, round(price * share)),
        ]
    });
    InstanceType {
        name: name.to_owned(),
        requirements: requirements(name, cpus, memory_gib, region, zones),
        capacity: capacity(is_arm(name), cpus, memory_gib, pods),
        overhead: overhead(cpus, pods),
        offerings: offerings.collect(),
    }
}

fn offering(zone: &str, capacity_type: CapacityType, price: f64) -> Offering {
    Offering {
        zone: zone.to_owned(),
        capacity_type,
        price,
        available: true,
        reservation_id: None,
        reservation_capacity: None,
        unavailable_since: None,
    }
}

/// To a hundredth of a cent.
fn round(price: f64) -> f64 {
    (price * 10_000.0).round() / 10_000.0
}

fn is_arm(name: &str) -> bool {
    name.split('.').next().is_some_and(|family| family.ends_with('g'))
}

fn requirements(name: &str, cpus: u32, memory_gib: u32, region: &str, zones: &[&str]) -> Requirements {
    let (family, size) = name.split_once('.').unwrap_or((name, ""));
    let category: String = family.chars().take_while(char::is_ascii_alphabetic).collect();
    let generation: String = family
        .chars()
        .skip_while(char::is_ascii_alphabetic)
        .take_while(char::is_ascii_digit)
        .collect();
    let arch = if is_arm(name) { "arm64" } else { "amd64" };
    let manufacturer = if is_arm(name) { "aws" } else { "intel" };
    let mut requirements = Requirements::new();
    let mut add = |key: &str, value: &str| requirements.add(Requirement::one_of(key, [value]));
    let of_aws = |name: &str| format!("{}/{name}", labels::AWS_GROUP);
    add(labels::INSTANCE_TYPE, name);
    add(labels::ARCH, arch);
    add(labels::OS, "linux");
    add(labels::REGION, region);
    add(&of_aws("instance-family"), family);
    add(&of_aws("instance-category"), &category);
    add(&of_aws("instance-generation"), &generation);
    add(&of_aws("instance-size"), size);
    add(&of_aws("instance-cpu"), &cpus.to_string());
    add(&of_aws("instance-memory"), &(memory_gib * 1024).to_string());
    add(&of_aws("instance-cpu-manufacturer"), manufacturer);
    add(&of_aws("instance-hypervisor"), "nitro");
    requirements.add(Requirement::one_of(labels::ZONE, zones.iter().copied()));
    requirements.add(Requirement::one_of(labels::CAPACITY_TYPE, ["on-demand", "spot"]));
    requirements
}

fn capacity(is_arm: bool, cpus: u32, memory_gib: u32, pods: u32) -> ResourceList {
    let listed = i64::from(memory_gib) * 1024 - if is_arm { 64 } else { 0 };
    let usable = listed - (listed * VM_MEMORY_OVERHEAD + 999) / 1000;
    ResourceList::default()
        .with(CPU, Quantity::from_units(i64::from(cpus)))
        .with(MEMORY, binary(usable * MIB))
        .with(EPHEMERAL_STORAGE, binary(20 * GIB))
        .with(PODS, Quantity::from_units(i64::from(pods)))
}

/// What the kubelet reserves, and its eviction thresholds.
fn overhead(cpus: u32, pods: u32) -> ResourceList {
    let reserved_memory = 11 * i64::from(pods) + 255;
    let eviction_memory = 100;
    let eviction_storage = 20 * GIB / 10;
    ResourceList::default()
        .with(
            CPU,
            Quantity::from_nanos(i128::from(reserved_cpu_micros(cpus)) * 1_000),
        )
        .with(MEMORY, binary((reserved_memory + eviction_memory) * MIB))
        .with(EPHEMERAL_STORAGE, binary(GIB + eviction_storage))
}

/// 6 % of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % of the rest, to the milli-core.
fn reserved_cpu_micros(cpus: u32) -> i64 {
    let micros = (1..=cpus).map(|core| match core {
        1 => 60_000,
        2 => 10_000,
        3 | 4 => 5_000,
        _ => 2_500,
    });
    micros.sum::<i64>() / 1_000 * 1_000
}

fn binary(bytes: i64) -> Quantity {
    Quantity::from_units(bytes).with_format(scaler_api::Format::BinarySi)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overhead_follows_the_formulas() {
        let types = instance_types("us-east-1", &["us-east-1a", "us-east-1b"]);
        let find = |name: &str| types.iter().find(|it| it.name == name).unwrap();
        let large = find("m5.large");
        assert_eq!(large.capacity.get(PODS).value(), 29);
        assert_eq!(
            large.capacity.get(MEMORY).to_string(),
            "7577Mi",
            "8192 less 7.5 %, rounded up"
        );
        assert_eq!(large.allocatable().get(CPU).to_string(), "1930m");
        assert_eq!(
            large.allocatable().get(MEMORY).to_string(),
            "6903Mi",
            "less 11 x 29 + 255 + 100"
        );
        assert_eq!(find("m5.2xlarge").allocatable().get(CPU).to_string(), "7910m");
        let arm = find("m6g.large");
        assert_eq!(
            arm.requirements.get(labels::ARCH).unwrap().single(),
            Some("arm64")
        );
        assert_eq!(
            find("m5.xlarge")
                .requirements
                .get("karpenter.k8s.aws/instance-generation")
                .unwrap()
                .single(),
            Some("5")
        );
    }

    #[test]
    fn spot_is_cheaper_everywhere() {
        for it in instance_types("r", &["a", "b", "c"]) {
            let price = |capacity_type| {
                it.offerings
                    .iter()
                    .filter(move |o| o.capacity_type == capacity_type)
                    .map(|o| o.price)
            };
            let dearest_spot = price(CapacityType::Spot).fold(0.0, f64::max);
            assert!(
                price(CapacityType::OnDemand).all(|list| dearest_spot < list * 0.5),
                "{}",
                it.name
            );
        }
    }
}
