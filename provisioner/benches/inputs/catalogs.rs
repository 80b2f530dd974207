//! The catalogues that Karpenter's benchmarks buy from.

use serde_json::{Value, json};

const GIB: f64 = 1_073_741_824.0;

/// The instance types of `fake400` or `kwok144`.
pub(super) fn types(catalog: &str) -> Vec<Value> {
    match catalog {
        "fake400" => (1..=400).map(fake).collect(),
        "kwok144" => kwok(),
        _ => panic!("there is no catalogue {catalog}"),
    }
}

fn one_of(key: &str, values: &[&str]) -> Value {
    json!({ "key": key, "operator": "In", "values": values })
}

fn offerings(zones: &[(&str, &str)], price: impl Fn(&str) -> f64) -> Value {
    let offering = |(zone, capacity_type): &(&str, &str)| {
        json!({
            "price": price(capacity_type),
            "available": true,
            "requirements": [
                one_of("topology.kubernetes.io/zone", &[zone]),
                one_of("karpenter.sh/capacity-type", &[capacity_type]),
            ],
        })
    };
    zones.iter().map(offering).collect()
}

/// From 1 to 400 cpus, at a price that grows with them.
fn fake(cpus: u32) -> Value {
    let name = format!("fake-it-{}", cpus - 1);
    let price = 0.1 * f64::from(cpus) + 0.1 * f64::from(2 * cpus) * GIB / 1e9;
    let zones = [
        ("test-zone-1", "spot"),
        ("test-zone-2", "spot"),
        ("test-zone-1", "on-demand"),
        ("test-zone-2", "on-demand"),
        ("test-zone-3", "on-demand"),
    ];
    json!({
        "name": name,
        "requirements": [
            one_of("node.kubernetes.io/instance-type", &[&name]),
            one_of("kubernetes.io/arch", &["amd64"]),
            one_of("kubernetes.io/os", &["darwin", "linux", "windows"]),
            one_of("topology.kubernetes.io/zone", &["test-zone-1", "test-zone-2", "test-zone-3"]),
            one_of("karpenter.sh/capacity-type", &["on-demand", "spot"]),
            one_of("integer", &[&cpus.to_string()]),
        ],
        "capacity": { "cpu": cpus.to_string(), "memory": format!("{}Gi", 2 * cpus), "pods": (10 * cpus).to_string() },
        "allocatable": {
            "cpu": format!("{}m", 1000 * cpus - 100),
            "memory": format!("{}Mi", 2048 * cpus - 10),
            "pods": (10 * cpus).to_string(),
        },
        "offerings": offerings(&zones, |_| price),
    })
}

/// Three families of twelve sizes for two systems and two architectures.
fn kwok() -> Vec<Value> {
    let mut types = Vec::new();
    for cpus in [1_u32, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256] {
        for (family, memory) in [("c", 2), ("s", 4), ("m", 8)] {
            for system in ["linux", "windows"] {
                for architecture in ["amd64", "arm64"] {
                    types.push(kwok_type(cpus, family, memory * cpus, system, architecture));
                }
            }
        }
    }
    types
}

fn kwok_type(cpus: u32, family: &str, memory: u32, system: &str, architecture: &str) -> Value {
    let name = format!("{family}-{cpus}x-{architecture}-{system}");
    let price = 0.025 * f64::from(cpus) + 0.001 * f64::from(memory) * GIB / 1e9;
    let zones = ["test-zone-a", "test-zone-b", "test-zone-c", "test-zone-d"];
    let ways: Vec<(&str, &str)> = zones
        .iter()
        .flat_map(|zone| [(*zone, "spot"), (*zone, "on-demand")])
        .collect();
    let pods = (16 * cpus).min(1024).to_string();
    json!({
        "name": name,
        "requirements": [
            one_of("node.kubernetes.io/instance-type", &[&name]),
            one_of("kubernetes.io/arch", &[architecture]),
            one_of("kubernetes.io/os", &[system]),
            one_of("topology.kubernetes.io/zone", &zones),
            one_of("karpenter.sh/capacity-type", &["on-demand", "spot"]),
            one_of("karpenter.kwok.sh/instance-family", &[family]),
            one_of("karpenter.kwok.sh/instance-cpu", &[&cpus.to_string()]),
        ],
        "capacity": { "cpu": cpus.to_string(), "ephemeral-storage": "20Gi", "memory": format!("{memory}Gi"), "pods": pods },
        "allocatable": {
            "cpu": format!("{}m", 1000 * cpus - 100),
            "ephemeral-storage": "20Gi",
            "memory": format!("{}Mi", 1024 * memory - 10),
            "pods": pods,
        },
        "offerings": offerings(&ways, |capacity_type| if capacity_type == "spot" { 0.7 * price } else { price }),
    })
}
