//! Volumes: where their pods may be, and how many a node takes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Findings, Given,
    labels::Expression,
    pods::Pod,
    world::{HOSTNAME, World},
};

/// What one volume comes to.
struct Volume {
    driver: Option<String>,
    /// Alternatives; none for anywhere.
    places: Vec<Vec<Expression>>,
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(crate) fn check(world: &World, given: &Given, findings: &mut Findings) {
    if given.surroundings.is_empty() {
        return;
    }
    let specs: BTreeMap<String, &Value> = given.pods.iter().map(|pod| (key_of(pod), &pod["spec"])).collect();
    for site in &world.sites {
        for &pod in &site.new {
            let pod = &world.pods[pod];
            for (name, volume) in volumes(given, pod, specs[&pod.key]) {
                match volume {
                    None => findings.add("volumes", format!("{} waits for {name} and has a place", pod.key)),
                    Some(volume) => {
                        let mut places = volume.places.iter();
                        if !volume.places.is_empty() && !places.any(|place| site.labels.may(place)) {
                            findings.add(
                                "volumes",
                                format!("{name} of {} is not at {}", pod.key, site.name),
                            );
                        }
                    }
                }
            }
        }
        let limits = given
            .surroundings
            .iter()
            .filter(|object| object["kind"] == "CSINode" && object["metadata"]["name"] == site.name.as_str());
        let limits = limits.flat_map(|object| list(&object["spec"]["drivers"]));
        for driver in limits.filter(|_| !site.new.is_empty()) {
            let Some(limit) = driver["allocatable"]["count"].as_u64() else {
                continue;
            };
            let mut attached: BTreeSet<String> = BTreeSet::new();
            for &pod in site.old.iter().chain(&site.new) {
                let pod = &world.pods[pod];
                for (name, volume) in volumes(given, pod, specs[&pod.key]) {
                    let by = volume.and_then(|volume| volume.driver);
                    if by.as_deref() == driver["name"].as_str() && !pod.is_done {
                        attached.insert(format!("{}/{name}", pod.namespace));
                    }
                }
            }
            // What was too much before is nobody's fault who brings none.
            let brings = |pod: &&usize| {
                let pod = &world.pods[**pod];
                let mut found = volumes(given, pod, specs[&pod.key]).into_iter();
                found.any(|(_, volume)| {
                    volume.and_then(|volume| volume.driver).as_deref() == driver["name"].as_str()
                })
            };
            if attached.len() as u64 > limit && site.new.iter().any(|pod| brings(&pod)) {
                let message = format!("{} takes {limit} volumes and gets {attached:?}", site.name);
                findings.add("volumes", message);
            }
        }
    }
}

/// Where a pod may be for its volumes: every combination.
pub(crate) fn places(given: &Given, pod: &Pod, spec: &Value) -> Vec<Vec<Expression>> {
    let mut places: Vec<Vec<Expression>> = Vec::new();
    for (_, volume) in volumes(given, pod, spec) {
        let of_volume = volume.map(|volume| volume.places).unwrap_or_default();
        if places.is_empty() {
            places = of_volume;
        } else if !of_volume.is_empty() {
            let both = places.iter().flat_map(|one| {
                of_volume
                    .iter()
                    .map(move |other| [one.as_slice(), other].concat())
            });
            places = both.collect();
        }
    }
    places
}

fn key_of(object: &Value) -> String {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    format!("{namespace}/{}", metadata["name"].as_str().unwrap_or_default())
}

/// A pod's volumes that have claims, by the name of the claim; `None` for one that cannot be had.
fn volumes(given: &Given, pod: &Pod, spec: &Value) -> Vec<(String, Option<Volume>)> {
    let name = pod.key.split('/').next_back().unwrap_or_default();
    let claims = list(&spec["volumes"]).filter_map(|volume| {
        if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
            return Some((claim.to_owned(), &Value::Null));
        }
        let template = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
        let claim = format!("{name}-{}", volume["name"].as_str().unwrap_or_default());
        (!volume["ephemeral"].is_null()).then_some((claim, template))
    });
    claims
        .map(|(claim, template)| {
            let volume = volume(given, &format!("{}/{claim}", pod.namespace), template);
            (claim, volume)
        })
        .collect()
}

fn volume(given: &Given, key: &str, template: &Value) -> Option<Volume> {
    let find = |kind: &str, name: &str| {
        let mut of_kind = given.surroundings.iter().filter(|object| object["kind"] == kind);
        of_kind.find(|object| object["metadata"]["name"] == name)
    };
    let claim = given
        .surroundings
        .iter()
        .find(|object| object["kind"] == "PersistentVolumeClaim" && key_of(object) == key);
    let spec = claim.map_or(template, |claim| &claim["spec"]);
    if let Some(claim) = claim
        && (!claim["metadata"]["deletionTimestamp"].is_null() || claim["status"]["phase"] == "Lost")
    {
        return None;
    }
    if let Some(name) = spec["volumeName"].as_str() {
        let volume = find("PersistentVolume", name)?;
        let terms = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
        let is_local = !volume["spec"]["local"].is_null();
        let places = list(terms).map(|term| {
            let mut place = Expression::read_all(&term["matchExpressions"]);
            place.retain(|expression| !(is_local && expression.key == HOSTNAME));
            place
        });
        return Some(Volume {
            driver: volume["spec"]["csi"]["driver"].as_str().map(str::to_owned),
            places: places.collect(),
        });
    }
    let class = find("StorageClass", spec["storageClassName"].as_str()?)?;
    if claim.is_some() && class["volumeBindingMode"] != "WaitForFirstConsumer" {
        return None;
    }
    let place = |term: &Value| -> Vec<Expression> {
        let one = |expression: &Value| {
            let mut expression = expression.clone();
            expression["operator"] = Value::from("In");
            Expression::read(&expression)
        };
        list(&term["matchLabelExpressions"]).map(one).collect()
    };
    Some(Volume {
        driver: class["provisioner"].as_str().map(str::to_owned),
        places: list(&class["allowedTopologies"]).map(place).collect(),
    })
}
