//! Reads instance types from text: everything that is wrong is said at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use scaler_api::Quantity;
use serde_json::{Map, Value};

use super::catalog::default_overhead;
use crate::{
    CapacityType, Error, ErrorKind, InstanceType, Offering, Requirement, Requirements, ResourceList,
    karpenter::{Operator, RequirementSpec, labels},
    resources::{CPU, MEMORY, PODS},
};

/// Pods that a machine of the older shape takes if it does not say.
const DEFAULT_PODS: i64 = 110;

/// The instance types of a text.
///
/// # Errors
/// Every problem, each with its field and value.
pub(super) fn parse(text: &str) -> Result<Vec<Arc<InstanceType>>, Error> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| {
        Error::new(ErrorKind::Invalid, "is neither JSON nor YAML").with_source(error.to_string())
    })?;
    let mut problems = Problems::default();
    let mut types = Vec::new();
    match value.as_array() {
        Some(entries) if !entries.is_empty() => {
            for (index, entry) in entries.iter().enumerate() {
                types.extend(instance_type(&mut problems.at(&format!("[{index}]")), entry));
            }
        }
        _ => problems
            .root()
            .expected("", Some(&value), "an array of at least one instance type"),
    }
    let mut names = BTreeSet::new();
    for it in &types {
        if !names.insert(it.name.clone()) {
            problems.0.push(format!("name {:?} is there twice", it.name));
        }
    }
    if problems.0.is_empty() {
        return Ok(types.into_iter().map(Arc::new).collect());
    }
    let count = problems.0.len();
    let message = format!(
        "{count} problem{}: {}",
        if count == 1 { "" } else { "s" },
        problems.0.join("; ")
    );
    Err(Error::new(ErrorKind::Invalid, message))
}

/// What is wrong.
#[derive(Debug, Default)]
struct Problems(Vec<String>);

impl Problems {
    fn at(&mut self, path: &str) -> Place<'_> {
        Place {
            problems: self,
            path: path.to_owned(),
        }
    }

    fn root(&mut self) -> Place<'_> {
        self.at("")
    }
}

/// A place in the file, and where its problems go.
struct Place<'a> {
    problems: &'a mut Problems,
    path: String,
}

impl Place<'_> {
    fn below(&mut self, field: &str) -> Place<'_> {
        Place {
            path: format!("{}{field}", self.path),
            problems: self.problems,
        }
    }

    fn expected(&mut self, field: &str, value: Option<&Value>, expected: &str) {
        let path = format!("{}{field}", self.path);
        let path = if path.is_empty() { "the file" } else { &path };
        let problem = match value {
            None | Some(Value::Null) => format!("{path} is missing, expected {expected}"),
            Some(value) => format!("{path} is {}, expected {expected}", shortened(value)),
        };
        self.problems.0.push(problem);
    }
}

/// Values may be whole instance types.
fn shortened(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A field whatever the case of its first letter: both are found in files.
fn field<'a>(of: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    of.iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .filter(|value| !value.is_null())
}

fn instance_type(place: &mut Place<'_>, entry: &Value) -> Option<InstanceType> {
    let Some(entry) = entry.as_object() else {
        place.expected("", Some(entry), "an instance type");
        return None;
    };
    let name = text(place, entry, "name")?;
    let offerings = offerings(place, field(entry, "offerings"));
    let mut requirements = requirements(&mut place.below(".requirements"), field(entry, "requirements"));
    if requirements.get(labels::INSTANCE_TYPE).is_none() {
        requirements.add(Requirement::one_of(labels::INSTANCE_TYPE, [name.as_str()]));
    } else if !requirements.allows(labels::INSTANCE_TYPE, &name) {
        let problem = format!(
            "{}.requirements exclude the type's own name {name:?}, expected {} to allow it",
            place.path,
            labels::INSTANCE_TYPE
        );
        place.problems.0.push(problem);
    }
    described(place, entry, &mut requirements);
    sold(&mut requirements, &offerings);
    let older = field(entry, "resources");
    let capacity_field = if older.is_some() {
        ".resources"
    } else {
        ".capacity"
    };
    let mut capacity = resources(
        &mut place.below(capacity_field),
        older.or_else(|| field(entry, "capacity")),
    )?;
    if older.is_some() && capacity.get(PODS).is_zero() {
        capacity.set(PODS, Quantity::from_units(DEFAULT_PODS));
    }
    for resource in [CPU, MEMORY, PODS] {
        if capacity.get(resource) <= Quantity::ZERO {
            place.expected(
                &format!("{capacity_field}.{resource}"),
                None,
                "an amount above zero",
            );
        }
    }
    let overhead = match field(entry, "allocatable") {
        None => default_overhead(),
        allocatable => overhead(place, &capacity, allocatable)?,
    };
    Some(InstanceType {
        name,
        requirements,
        capacity,
        overhead,
        offerings,
    })
}

/// What capacity has beyond allocatable.
fn overhead(
    place: &mut Place<'_>,
    capacity: &ResourceList,
    allocatable: Option<&Value>,
) -> Option<ResourceList> {
    let mut place = place.below(".allocatable");
    let allocatable = resources(&mut place, allocatable)?;
    for (resource, amount) in allocatable.iter() {
        if amount > capacity.get(resource) {
            let problem = format!(
                "{}.{resource} is {amount}, expected at most the capacity of {}",
                place.path,
                capacity.get(resource)
            );
            place.problems.0.push(problem);
        }
    }
    Some(capacity.saturating_sub(&allocatable))
}

fn text(place: &mut Place<'_>, of: &Map<String, Value>, name: &str) -> Option<String> {
    let value = field(of, name);
    let text = value.and_then(Value::as_str).filter(|text| !text.is_empty());
    if text.is_none() {
        place.expected(&format!(".{name}"), value, "a text that is not empty");
    }
    text.map(str::to_owned)
}

/// Architecture and operating systems, which the older shape has as fields of their own.
fn described(place: &mut Place<'_>, entry: &Map<String, Value>, requirements: &mut Requirements) {
    if field(entry, "architecture").is_some()
        && let Some(architecture) = text(place, entry, "architecture")
    {
        requirements.add(Requirement::one_of(labels::ARCH, [architecture.as_str()]));
    }
    if let Some(systems) = field(entry, "operatingSystems") {
        let named: Option<Vec<&str>> = systems
            .as_array()
            .and_then(|systems| systems.iter().map(Value::as_str).collect());
        match named {
            Some(named) if !named.is_empty() => requirements.add(Requirement::one_of(labels::OS, named)),
            _ => place.expected(".operatingSystems", Some(systems), "an array of names"),
        }
    }
}

/// The zones and capacity types of the offerings, where the requirements do not say.
fn sold(requirements: &mut Requirements, offerings: &[Offering]) {
    if requirements.get(labels::ZONE).is_none() {
        let zones: BTreeSet<&str> = offerings.iter().map(|offering| offering.zone.as_str()).collect();
        requirements.add(Requirement::one_of(labels::ZONE, zones));
    }
    if requirements.get(labels::CAPACITY_TYPE).is_none() {
        let types: BTreeSet<&str> = offerings
            .iter()
            .map(|offering| offering.capacity_type.as_str())
            .collect();
        requirements.add(Requirement::one_of(labels::CAPACITY_TYPE, types));
    }
}

fn resources(place: &mut Place<'_>, value: Option<&Value>) -> Option<ResourceList> {
    let Some(amounts) = value.and_then(Value::as_object) else {
        place.expected("", value, "amounts by resource");
        return None;
    };
    let mut list = ResourceList::default();
    for (resource, amount) in amounts {
        let text = match amount {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        match text.parse::<Quantity>() {
            Ok(amount) if amount >= Quantity::ZERO => list.set(resource, amount),
            _ => place.expected(
                &format!(".{resource}"),
                Some(amount),
                "a quantity that is not negative",
            ),
        }
    }
    Some(list)
}

fn requirements(place: &mut Place<'_>, value: Option<&Value>) -> Requirements {
    let entries = match value {
        None => &Vec::new(),
        Some(Value::Array(entries)) => entries,
        other => {
            place.expected("", other, "an array of requirements");
            return Requirements::new();
        }
    };
    let mut read = Requirements::new();
    for (index, entry) in entries.iter().enumerate() {
        let mut place = place.below(&format!("[{index}]"));
        match requirement(entry) {
            Ok(requirements) => read.extend(&requirements),
            Err(reason) => place.expected("", Some(entry), &format!("{{key, operator, values}} ({reason})")),
        }
    }
    read
}

fn requirement(entry: &Value) -> Result<Requirements, String> {
    let lower: BTreeMap<String, Value> = entry
        .as_object()
        .ok_or("not an object")?
        .iter()
        .map(|(key, value)| (key.to_lowercase(), value.clone()))
        .collect();
    let string = |key: &str| lower.get(key).and_then(Value::as_str);
    let key = string("key").ok_or("no key")?;
    let operator = string("operator").ok_or("no operator")?;
    let operator = Operator::parse(operator).ok_or_else(|| format!("unknown operator {operator:?}"))?;
    let values = match lower.get("values") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(values)) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned).ok_or("a value is no text"))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err("values are no array".to_owned()),
    };
    Requirements::from_specs(&[RequirementSpec::new(key, operator, values)])
        .map_err(|error| error.to_string())
}

fn offerings(place: &mut Place<'_>, value: Option<&Value>) -> Vec<Offering> {
    let Some(entries) = value
        .and_then(Value::as_array)
        .filter(|entries| !entries.is_empty())
    else {
        place.expected(".offerings", value, "an array of at least one offering");
        return Vec::new();
    };
    let mut offerings = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        offerings.extend(offering(&mut place.below(&format!(".offerings[{index}]")), entry));
    }
    offerings
}

fn offering(place: &mut Place<'_>, entry: &Value) -> Option<Offering> {
    let Some(entry) = entry.as_object() else {
        place.expected("", Some(entry), "an offering");
        return None;
    };
    let price = field(entry, "price");
    let amount = price
        .and_then(Value::as_f64)
        .filter(|price| price.is_finite() && *price >= 0.0);
    if amount.is_none() {
        place.expected(".price", price, "a number that is not negative");
    }
    let available = field(entry, "available");
    if available.is_some_and(|available| !available.is_boolean()) {
        place.expected(".available", available, "true or false");
    }
    let of = requirements(&mut place.below(".requirements"), field(entry, "requirements"));
    let pinned = of.single_values();
    let mut single = |key: &str, expected: &str| {
        let value = pinned.get(key).cloned();
        if value.is_none() {
            place.expected(".requirements", None, &format!("{key} In {expected}"));
        }
        value
    };
    let zone = single(labels::ZONE, "one zone");
    let bought = single(labels::CAPACITY_TYPE, "one of on-demand, spot, reserved");
    let bought = bought.and_then(|bought| match bought.parse::<CapacityType>() {
        Ok(capacity_type) => Some(capacity_type),
        Err(error) => {
            let problem = format!("{}.requirements: {error}", place.path);
            place.problems.0.push(problem);
            None
        }
    });
    Some(Offering {
        zone: zone?,
        capacity_type: bought?,
        price: amount?,
        available: available.and_then(Value::as_bool).unwrap_or(true),
        reservation_id: pinned.get(labels::CAPACITY_RESERVATION_ID).cloned(),
        reservation_capacity: None,
        unavailable_since: None,
    })
}
