//! Instance types as lines of a table.

use std::collections::{BTreeMap, BTreeSet};

use super::{endpoint, xml::Element};

/// One type: the columns of its line.
#[derive(Debug)]
pub(super) struct Type {
    name: String,
    columns: Vec<String>,
}

impl Type {
    /// Tab-separated; `provisioner::builtin` reads it.
    pub(super) fn line(&self) -> String {
        format!("{}\t{}", self.name, self.columns.join("\t"))
    }
}

/// Every type that runs Linux, by name.
pub(super) fn describe(url: &str, region: &str) -> anyhow::Result<Vec<Type>> {
    let set = "instanceTypeSet";
    let pages = endpoint::ask(url, region, "DescribeInstanceTypes", &[], set)?;
    let mut types: Vec<Type> = pages
        .iter()
        .flat_map(|page| page.all(set))
        .filter_map(one)
        .collect();
    types.sort_by(|one, other| one.name.cmp(&other.name));
    types.dedup_by(|one, other| one.name == other.name);
    Ok(types)
}

fn one(item: &Element) -> Option<Type> {
    let architectures: Vec<&str> = item
        .all("processorInfo/supportedArchitectures")
        .iter()
        .map(Element::value)
        .collect();
    let architecture = if architectures.contains(&"x86_64") {
        "amd64"
    } else if architectures.contains(&"arm64") {
        "arm64"
    } else {
        return None;
    };
    let usage: Vec<&str> = item
        .all("supportedUsageClasses")
        .iter()
        .map(Element::value)
        .collect();
    let usage = ["on-demand", "spot"]
        .into_iter()
        .filter(|class| usage.contains(class))
        .map(|class| &class[..1]);
    let card = default_card(item);
    let interfaces = match card
        .map(|card| card.text("maximumNetworkInterfaces"))
        .unwrap_or_default()
    {
        "" => item.text("networkInfo/maximumNetworkInterfaces"),
        some => some,
    };
    let nvme = match item.text("instanceStorageInfo/nvmeSupport") {
        "required" | "supported" => item.text("instanceStorageInfo/totalSizeInGB"),
        _ => "",
    };
    let encrypted = item.text("networkInfo/encryptionInTransitSupported") == "true";
    let columns = [
        architecture.to_owned(),
        item.text("vCpuInfo/defaultVCpus").to_owned(),
        item.text("memoryInfo/sizeInMiB").to_owned(),
        interfaces.to_owned(),
        item.text("networkInfo/ipv4AddressesPerInterface").to_owned(),
        item.text("hypervisor").to_owned(),
        nvme.to_owned(),
        item.text("processorInfo/manufacturer").to_lowercase(),
        megahertz(item.text("processorInfo/sustainedClockSpeedInGhz")),
        item.text("ebsInfo/ebsOptimizedInfo/maximumBandwidthInMbps")
            .to_owned(),
        u8::from(encrypted).to_string(),
        usage.collect(),
        device(item, "gpuInfo/gpus"),
        accelerator(item),
    ];
    Some(Type {
        name: item.text("instanceType").to_owned(),
        columns: columns.into(),
    })
}

fn default_card(item: &Element) -> Option<&Element> {
    let default = match item.text("networkInfo/defaultNetworkCardIndex") {
        "" => "0",
        index => index,
    };
    item.all("networkInfo/networkCards")
        .iter()
        .find(|card| card.text("networkCardIndex") == default)
}

fn megahertz(gigahertz: &str) -> String {
    let speed: Option<f64> = gigahertz.parse().ok();
    speed.map_or_else(String::new, |speed| format!("{:.0}", speed * 1000.0))
}

/// `name:manufacturer:count:memory in MiB`, empty for none.
fn device(item: &Element, path: &str) -> String {
    let Some(device) = item.all(path).first() else {
        return String::new();
    };
    let word = |name: &str| device.text(name).to_lowercase().replace([' ', ':'], "-");
    // A share of a GPU counts as none of it, and as one that programs see.
    let counts = item.all(path).iter().map(|device| {
        let number = |name: &str| device.text(name).parse::<u32>().unwrap_or(0);
        number("count").max(number("logicalGpuCount"))
    });
    let count: u32 = counts.sum();
    format!(
        "{}:{}:{count}:{}",
        word("name"),
        word("manufacturer"),
        device.text("memoryInfo/sizeInMiB")
    )
}

fn accelerator(item: &Element) -> String {
    let neuron = device(item, "neuronInfo/neuronDevices");
    // The newer part does not say who makes them, since there is one maker.
    if neuron.is_empty() {
        device(item, "inferenceAcceleratorInfo/accelerators")
    } else {
        neuron.replacen("::", ":aws:", 1)
    }
}

/// Zones by type.
pub(super) fn zones(url: &str, region: &str) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let set = "instanceTypeOfferingSet";
    let by_zone = ["LocationType=availability-zone"];
    let pages = endpoint::ask(url, region, "DescribeInstanceTypeOfferings", &by_zone, set)?;
    let mut zones: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for item in pages.iter().flat_map(|page| page.all(set)) {
        let zone = item.text("location");
        // Local zones and the like have prices of their own.
        if zone.strip_prefix(region).is_some_and(|letter| letter.len() == 1) {
            zones
                .entry(item.text("instanceType").to_owned())
                .or_default()
                .insert(zone.to_owned());
        }
    }
    Ok(zones)
}

/// What a region sells: `@region`, and `type price zones` for each, zones by their letters.
pub(super) fn region(
    region: &str,
    types: &[Type],
    zones: &BTreeMap<String, BTreeSet<String>>,
    prices: &BTreeMap<String, String>,
) -> String {
    let mut text = format!("@{region}\n");
    for it in types {
        if let (Some(price), Some(zones)) = (prices.get(&it.name), zones.get(&it.name)) {
            let letters: String = zones
                .iter()
                .filter_map(|zone| zone.strip_prefix(region))
                .collect();
            text.push_str(&format!("{}\t{price}\t{letters}\n", it.name));
        }
    }
    text
}
