//! Instance types as they stand in files: `{name, requirements[], capacity, allocatable, offerings[{price, available,
//! requirements[]}]}`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    amounts::Amounts,
    document::{Document, Problem},
    pods::list,
};
use crate::{
    CapacityType, Catalog, InstanceType, Offering, Requirement, Requirements,
    karpenter::{RequirementSpec, labels},
    resources,
};

const KIND: &str = "InstanceType";

#[derive(Deserialize)]
struct TypeSpec {
    name: String,
    #[serde(default)]
    requirements: Vec<RequirementSpec>,
    #[serde(default)]
    offerings: Vec<OfferingSpec>,
}

#[derive(Deserialize)]
struct OfferingSpec {
    price: f64,
    #[serde(default = "yes")]
    available: bool,
    #[serde(default)]
    requirements: Vec<RequirementSpec>,
    #[serde(default, rename = "reservationCapacity")]
    reservation_capacity: Option<u32>,
}

fn yes() -> bool {
    true
}

/// A catalogue of the types in these documents. An offering for several zones or capacity types is one for each.
///
/// # Errors
/// Everything that is wrong with them.
pub fn catalog(documents: Vec<Document>) -> Result<Catalog, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut instance_types = Vec::with_capacity(documents.len());
    for mut document in documents {
        let Some(read) = instance_type(&mut document, &mut problems) else {
            continue;
        };
        let place = format!("{}:{}", document.file, document.number);
        if let Some(first) = names.get(&read.name) {
            let message = format!(
                "is {:?}, which {first} has, expected a name of its own",
                read.name
            );
            problems.push(document.problem(KIND, "name", message));
            continue;
        }
        names.insert(read.name.clone(), place);
        instance_types.push(Arc::new(read));
    }
    if problems.is_empty() {
        Ok(Catalog {
            version: 1,
            instance_types,
        })
    } else {
        Err(problems)
    }
}

fn instance_type(document: &mut Document, problems: &mut Vec<Problem>) -> Option<InstanceType> {
    let before = problems.len();
    let mut object = std::mem::take(&mut document.object);
    document.object = serde_json::json!({ "name": object["name"] });
    let mut amounts = Amounts {
        document: &*document,
        kind: KIND,
        problems,
    };
    let capacity = resources_of(&mut amounts, "capacity", &mut object);
    let allocatable = if object["allocatable"].is_null() {
        capacity.clone()
    } else {
        resources_of(&mut amounts, "allocatable", &mut object)
    };
    amounts.contradiction(
        "allocatable",
        (&allocatable, "allocatable"),
        (&capacity, "capacity"),
    );
    document.object = object;
    if problems.len() > before {
        return None;
    }
    let spec: TypeSpec = document
        .typed(KIND)
        .map_err(|problem| problems.push(problem))
        .ok()?;
    if spec.name.is_empty() {
        problems.push(document.problem(KIND, "name", "is \"\", expected a name"));
    }
    let mut requirements = Requirements::from_specs(&spec.requirements)
        .map_err(|error| problems.push(document.problem(KIND, "requirements", error.to_string())))
        .unwrap_or_default();
    requirements.add(Requirement::one_of(labels::INSTANCE_TYPE, [spec.name.as_str()]));
    let offerings = offerings(document, &spec, &requirements, problems);
    let (capacity, allocatable) = (list(&capacity), list(&allocatable));
    (problems.len() == before).then(|| InstanceType {
        overhead: capacity
            .iter()
            .map(|(name, amount)| (name.to_owned(), amount - allocatable.get(name)))
            .filter(|(_, overhead)| !overhead.is_zero())
            .collect(),
        name: spec.name,
        requirements,
        capacity,
        offerings,
    })
}

fn resources_of(
    amounts: &mut Amounts<'_>,
    field: &str,
    object: &mut Value,
) -> Vec<(String, scaler_api::Quantity)> {
    let Some(map) = object.get_mut(field) else {
        amounts.problem(field, "is missing, expected amounts by resource");
        return Vec::new();
    };
    let read = amounts.map(field, map);
    for name in [resources::CPU, resources::MEMORY, resources::PODS] {
        let amount = read.iter().find(|(read, _)| read == name);
        let is_bad = map.get(name).is_some() && amount.is_none();
        if !is_bad && amount.is_none_or(|(_, amount)| amount.is_zero()) {
            let is = amount.map_or("missing", |_| "0");
            let message = format!("is {is}, expected more than zero: no pod would ever fit");
            amounts.problem(format!("{field}.{name}"), message);
        }
    }
    read
}

fn offerings(
    document: &Document,
    spec: &TypeSpec,
    of_type: &Requirements,
    problems: &mut Vec<Problem>,
) -> Vec<Offering> {
    let mut offerings: Vec<Offering> = Vec::with_capacity(spec.offerings.len());
    let mut seen = BTreeSet::new();
    for (index, offering) in spec.offerings.iter().enumerate() {
        let field = format!("offerings[{index}]");
        match expanded(offering, of_type) {
            Ok(expanded) => {
                for one in expanded {
                    let key = (one.zone.clone(), one.capacity_type, one.reservation_id.clone());
                    if seen.insert(key) {
                        offerings.push(one);
                    } else {
                        let message = format!(
                            "is a second one of {} in {}, expected each once",
                            one.capacity_type, one.zone
                        );
                        problems.push(document.problem(KIND, &field, message));
                    }
                }
            }
            Err((within, message)) => {
                problems.push(document.problem(KIND, format!("{field}.{within}"), message));
            }
        }
    }
    offerings
}

/// An offering for each zone and capacity type that it is for; an error names a field and what is wrong with it.
fn expanded(spec: &OfferingSpec, of_type: &Requirements) -> Result<Vec<Offering>, (&'static str, String)> {
    if !spec.price.is_finite() || spec.price < 0.0 {
        return Err(("price", format!("is {}, expected zero or more", spec.price)));
    }
    let wrong = |message: String| ("requirements", message);
    let own = Requirements::from_specs(&spec.requirements).map_err(|error| wrong(error.to_string()))?;
    for requirement in own.iter() {
        let key = requirement.key();
        let is_known = matches!(
            key,
            labels::ZONE | labels::CAPACITY_TYPE | labels::CAPACITY_RESERVATION_ID
        );
        // Whatever else it says must be what the type says, so that it changes nothing.
        if !is_known && of_type.get(key) != Some(requirement) {
            return Err(wrong(format!(
                "say {requirement}, expected {}, {} and {} only, or what the type says",
                labels::ZONE,
                labels::CAPACITY_TYPE,
                labels::CAPACITY_RESERVATION_ID
            )));
        }
    }
    let both = of_type.intersection(&own);
    let values = |key: &str| -> Vec<String> {
        let finite = both.get(key).and_then(Requirement::finite);
        finite.into_iter().flatten().cloned().collect()
    };
    let (zones, capacity_types) = (values(labels::ZONE), values(labels::CAPACITY_TYPE));
    for (key, values) in [(labels::ZONE, &zones), (labels::CAPACITY_TYPE, &capacity_types)] {
        if values.is_empty() {
            let says = both
                .get(key)
                .map_or_else(|| "nothing".to_owned(), ToString::to_string);
            return Err(wrong(format!(
                "say {says} of {key} together with the type's, expected at least one value"
            )));
        }
    }
    let reservations = own.get(labels::CAPACITY_RESERVATION_ID);
    let reservation_id = reservations.and_then(Requirement::single).map(str::to_owned);
    let mut offerings = Vec::new();
    for zone in &zones {
        for word in &capacity_types {
            let capacity_type: CapacityType = word
                .parse()
                .map_err(|error: crate::Error| wrong(error.to_string()))?;
            offerings.push(Offering {
                zone: zone.clone(),
                capacity_type,
                price: spec.price,
                available: spec.available,
                reservation_id: reservation_id.clone(),
                reservation_capacity: spec.reservation_capacity,
                unavailable_since: None,
            });
        }
    }
    Ok(offerings)
}
