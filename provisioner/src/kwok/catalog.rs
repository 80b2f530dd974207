//! What is for sale where nothing is real.

use std::{path::Path, sync::Arc};

use scaler_api::{Format, Quantity};

use super::file;
use crate::{
    CapacityType, Catalog, Error, ErrorKind, InstanceType, LaunchRequest, Offering, Requirement,
    Requirements, ResourceList,
    karpenter::labels,
    resources::{CPU, EPHEMERAL_STORAGE, MEMORY, PODS},
};

const CPUS: [u32; 12] = [1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256];
/// Family and GiB of memory for each CPU.
const FAMILIES: [(&str, u32); 3] = [("c", 2), ("s", 4), ("m", 8)];
const SYSTEMS: [&str; 2] = ["linux", "windows"];
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];
const ZONES: [&str; 4] = ["test-zone-a", "test-zone-b", "test-zone-c", "test-zone-d"];
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
/// Dollars per hour for a CPU, and for 10⁹ bytes of memory.
const PRICES: (f64, f64) = (0.025, 0.001);
/// The share of the price that a spot instance costs.
const SPOT: f64 = 0.7;

/// The instance types that a [`KwokProvisioner`](super::KwokProvisioner) sells. Clones share them.
#[derive(Clone, Debug)]
pub struct KwokCatalog(Arc<Catalog>);

impl KwokCatalog {
    /// Of instance types; none may be sold under a name twice.
    #[must_use]
    pub fn new(instance_types: Vec<Arc<InstanceType>>) -> Self {
        Self(Arc::new(Catalog {
            version: 1,
            instance_types,
        }))
    }

    /// Twelve sizes from 1 to 256 CPUs with 2, 4 or 8 GiB for each (families c, s and m), for Linux and Windows on
    /// amd64 and arm64, in four zones, as spot and on demand: 144 types such as `c-1x-amd64-linux`.
    #[must_use]
    pub fn builtin() -> Self {
        let mut types = Vec::new();
        for cpus in CPUS {
            for family in FAMILIES {
                for system in SYSTEMS {
                    for architecture in ARCHITECTURES {
                        types.push(Arc::new(builtin(cpus, family, architecture, system)));
                    }
                }
            }
        }
        Self::new(types)
    }

    /// Of a file of JSON or YAML: an array of `{name, requirements, capacity, allocatable, offerings: [{price,
    /// available, requirements}]}`. The older shape of Karpenter's own file is read too: `{name, architecture,
    /// operatingSystems, resources, offerings: [{Price, Available, Requirements}]}`. It blocks while it reads.
    ///
    /// # Errors
    /// If the file cannot be read, or everything that is wrong with it, each with its field and value.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("instance types file {} cannot be read", path.display());
            Error::new(ErrorKind::Invalid, message).with_source(error)
        })?;
        Self::from_text(&text).map_err(|error| {
            let message = format!("instance types file {}", path.display());
            Error::new(error.kind(), message).with_source(error)
        })
    }

    /// Of the text of such a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its field and value.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        file::parse(text).map(Self::new)
    }

    /// The types.
    #[must_use]
    pub fn instance_types(&self) -> &[Arc<InstanceType>] {
        &self.0.instance_types
    }

    pub(super) fn shared(&self) -> Arc<Catalog> {
        Arc::clone(&self.0)
    }

    /// The cheapest offering that a claim can have; at the same price spot before on-demand, then by type and zone.
    pub(super) fn choose<C>(
        &self,
        request: &LaunchRequest<'_, C>,
    ) -> Result<(Arc<InstanceType>, Offering), Error> {
        let asked = Requirements::from_specs(&request.claim.spec.requirements)?;
        let requests = &request.claim.spec.resources.requests;
        let fitting = self
            .0
            .instance_types
            .iter()
            .filter(|it| it.requirements.intersects(&asked).is_ok() && requests.fits(&it.allocatable()));
        let offers =
            fitting.flat_map(|it| it.available_offerings(&asked).map(move |offering| (it, offering)));
        let cheapest = offers.min_by(|(one, a), (other, b)| {
            a.price
                .total_cmp(&b.price)
                .then(a.capacity_type.cmp(&b.capacity_type))
                .then_with(|| one.name.cmp(&other.name))
                .then_with(|| a.zone.cmp(&b.zone))
        });
        let Some((it, offering)) = cheapest else {
            let message =
                format!("no offering satisfies the claim, requirements={asked}, resources={requests}");
            return Err(
                Error::new(ErrorKind::InsufficientCapacity, message).with_reason("InsufficientCapacityError")
            );
        };
        Ok((Arc::clone(it), offering.clone()))
    }
}

fn builtin(cpus: u32, (family, gib_per_cpu): (&str, u32), architecture: &str, system: &str) -> InstanceType {
    let name = format!("{family}-{cpus}x-{architecture}-{system}");
    let bytes = i64::from(cpus * gib_per_cpu) * GIB;
    let memory = binary(bytes);
    let mut requirements = Requirements::new();
    let mut add = |key: &str, value: &str| requirements.add(Requirement::one_of(key, [value]));
    let of_kwok = |name: &str| format!("{}/{name}", labels::KWOK_GROUP);
    add(labels::INSTANCE_TYPE, &name);
    add(labels::ARCH, architecture);
    add(labels::OS, system);
    add(&of_kwok("instance-family"), family);
    add(&of_kwok("instance-size"), &cpus.to_string());
    add(&of_kwok("instance-cpu"), &cpus.to_string());
    add(&of_kwok("instance-memory"), &memory.to_string());
    requirements.add(Requirement::one_of(labels::ZONE, ZONES));
    requirements.add(Requirement::one_of(labels::CAPACITY_TYPE, ["on-demand", "spot"]));
    let bytes = u32::try_from(bytes / MIB).map_or(f64::INFINITY, f64::from) * f64::from(1 << 20);
    let price = PRICES.0 * f64::from(cpus) + PRICES.1 * bytes / 1e9;
    let offering = |zone: &str, capacity_type, price| Offering {
        zone: zone.to_owned(),
        capacity_type,
        price,
        available: true,
        reservation_id: None,
        reservation_capacity: None,
        unavailable_since: None,
    };
    let offerings = ZONES.iter().flat_map(|zone| {
        [
            offering(zone, CapacityType::Spot, price * SPOT),
            offering(zone, CapacityType::OnDemand, price),
        ]
    });
    InstanceType {
        name,
        requirements,
        capacity: ResourceList::default()
            .with(CPU, Quantity::from_units(i64::from(cpus)))
            .with(MEMORY, memory)
            .with(EPHEMERAL_STORAGE, binary(20 * GIB))
            .with(PODS, Quantity::from_units(i64::from((cpus * 16).min(1024)))),
        overhead: default_overhead(),
        offerings: offerings.collect(),
    }
}

/// What the system keeps for itself where a file does not say.
pub(super) fn default_overhead() -> ResourceList {
    ResourceList::default()
        .with(CPU, Quantity::from_millis(100))
        .with(MEMORY, binary(10 * MIB))
}

fn binary(bytes: i64) -> Quantity {
    Quantity::from_units(bytes).with_format(Format::BinarySi)
}
