//! The table of instance types as `cargo xtask codegen ec2-catalog` writes it: lines of tab-separated columns, then for
//! each region `@region` and lines of type, price and the letters of its zones.

use std::{collections::BTreeMap, io::Read as _};

use flate2::read::GzDecoder;

const COMPRESSED: &[u8] = include_bytes!("../../data/ec2.tsv.gz");

/// A machine type, as its cloud describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    pub name: String,
    pub architecture: String,
    pub processors: i64,
    pub memory_mebibytes: i64,
    /// Network interfaces of the default card.
    pub interfaces: i64,
    pub addresses_per_interface: i64,
    pub hypervisor: String,
    pub nvme_gigabytes: String,
    pub manufacturer: String,
    pub megahertz: String,
    pub ebs_megabits: String,
    pub encrypts_in_transit: bool,
    pub is_spot: bool,
    pub is_on_demand: bool,
    pub gpu: Option<Device>,
    pub accelerator: Option<Device>,
}

/// GPUs or accelerators of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Device {
    pub name: String,
    pub manufacturer: String,
    pub count: i64,
    pub memory_mebibytes: String,
}

/// What a region sells: price per hour and zones, by type.
pub(super) type Region = BTreeMap<String, (f64, Vec<String>)>;

/// Everything that is in the table; a line that cannot be read is left out.
pub(super) fn read() -> (Vec<Row>, BTreeMap<String, Region>) {
    let mut text = String::new();
    if GzDecoder::new(COMPRESSED).read_to_string(&mut text).is_err() {
        return Default::default();
    }
    let mut rows = Vec::new();
    let mut regions: BTreeMap<String, Region> = BTreeMap::new();
    let mut region = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('@') {
            region = Some(name);
            regions.entry(name.to_owned()).or_default();
        } else if let Some(name) = region {
            let sold = regions.entry(name.to_owned()).or_default();
            sold.extend(sale(name, line));
        } else {
            rows.extend(row(line));
        }
    }
    (rows, regions)
}

fn sale(region: &str, line: &str) -> Option<(String, (f64, Vec<String>))> {
    let mut columns = line.split('\t');
    let (name, price, letters) = (columns.next()?, columns.next()?, columns.next()?);
    let zones = letters.chars().map(|letter| format!("{region}{letter}"));
    Some((name.to_owned(), (price.parse().ok()?, zones.collect())))
}

fn row(line: &str) -> Option<Row> {
    let columns: Vec<&str> = line.split('\t').collect();
    let text = |index: usize| columns.get(index).copied().unwrap_or_default().to_owned();
    let number = |index: usize| text(index).parse::<i64>().ok();
    let usage = text(12);
    Some(Row {
        name: text(0),
        architecture: text(1),
        processors: number(2)?,
        memory_mebibytes: number(3)?,
        interfaces: number(4)?,
        addresses_per_interface: number(5)?,
        hypervisor: text(6),
        nvme_gigabytes: text(7),
        manufacturer: text(8),
        megahertz: text(9),
        ebs_megabits: text(10),
        encrypts_in_transit: text(11) == "1",
        is_on_demand: usage.contains('o'),
        is_spot: usage.contains('s'),
        gpu: device(&text(13)),
        accelerator: device(&text(14)),
    })
}

fn device(text: &str) -> Option<Device> {
    let parts: Vec<&str> = text.split(':').collect();
    let [name, manufacturer, count, memory] = parts[..] else {
        return None;
    };
    Some(Device {
        name: name.to_owned(),
        manufacturer: manufacturer.to_owned(),
        count: count.parse().ok()?,
        memory_mebibytes: memory.to_owned(),
    })
}
