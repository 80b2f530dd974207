//! What volumes ask of nodes: out of claims, volumes and storage classes, where a pod may be, what is attached for it, and
//! why it cannot be planned for; out of CSINodes, how many volumes a node takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{
        PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeSpec, Pod,
        TopologySelectorTerm, Volume,
    },
    storage::v1::{CSINode, StorageClass},
};
use kube::{Resource as _, ResourceExt as _};

use crate::{Requirement, Requirements, karpenter::labels, schedule::PodFacts};

/// So many alternatives of a pod's volumes are looked at.
const MOST_ALTERNATIVES: usize = 128;

/// Annotations of claims and classes.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// Storage as the API has it. Whoever applies objects to it learns whether they are news.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    claims: BTreeMap<(String, String), Arc<PersistentVolumeClaim>>,
    volumes: BTreeMap<String, Arc<PersistentVolume>>,
    classes: BTreeMap<String, Arc<StorageClass>>,
    limits: BTreeMap<String, BTreeMap<String, u32>>,
}

/// An object of [`Storage`].
#[derive(Clone, Debug)]
pub enum StorageObject {
    /// A claim.
    Claim(Arc<PersistentVolumeClaim>),
    /// A volume.
    Volume(Arc<PersistentVolume>),
    /// A class.
    Class(Arc<StorageClass>),
    /// What drivers say of a node.
    Node(Arc<CSINode>),
}

/// What one volume of a pod comes to.
struct Found {
    /// The CSI driver that attaches it, if one does.
    driver: Option<String>,
    /// Where its pod may be: alternatives; empty for anywhere.
    places: Vec<Requirements>,
}

impl Storage {
    /// Takes over an object; says whether anything is different now.
    pub fn apply(&mut self, object: StorageObject) -> bool {
        fn replace<K: Ord, V: PartialEq>(all: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
            let same = all.get(&key) == Some(&value);
            all.insert(key, value);
            !same
        }
        match object {
            StorageObject::Claim(claim) => replace(&mut self.claims, key(&claim), claim),
            StorageObject::Volume(volume) => replace(&mut self.volumes, volume.name_any(), volume),
            StorageObject::Class(class) => replace(&mut self.classes, class.name_any(), class),
            StorageObject::Node(node) => replace(&mut self.limits, node.name_any(), limits(&node)),
        }
    }

    /// Forgets an object; says whether it was known.
    pub fn delete(&mut self, object: &StorageObject) -> bool {
        match object {
            StorageObject::Claim(claim) => self.claims.remove(&key(claim)).is_some(),
            StorageObject::Volume(volume) => self.volumes.remove(&volume.name_any()).is_some(),
            StorageObject::Class(class) => self.classes.remove(&class.name_any()).is_some(),
            StorageObject::Node(node) => self.limits.remove(&node.name_any()).is_some(),
        }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.volumes.is_empty() && self.classes.is_empty() && self.limits.is_empty()
    }

    /// How many volumes a node takes, by CSI driver.
    #[must_use]
    pub fn limits(&self, node: &str) -> BTreeMap<String, u32> {
        self.limits.get(node).cloned().unwrap_or_default()
    }

    /// The facts of a pod with what its volumes ask for.
    #[must_use]
    pub fn resolve(&self, pod: &Pod, facts: &PodFacts) -> PodFacts {
        let mut resolved = facts.clone();
        let mut problem = None;
        let mut alternatives = vec![Requirements::new()];
        let mut attachments: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes {
            let Some((name, template)) = claim_of(pod, volume) else {
                continue;
            };
            match self.look_up(&facts.key.namespace, &name, template) {
                Ok(found) => {
                    if let Some(driver) = found.driver {
                        let name = format!("{}/{name}", facts.key.namespace);
                        attachments.entry(driver).or_default().insert(name);
                    }
                    if !found.places.is_empty() {
                        alternatives = product(&alternatives, &found.places);
                    }
                }
                Err(wrong) => problem = problem.or(Some(wrong)),
            }
        }
        if alternatives.is_empty() {
            problem =
                problem.or_else(|| Some("its volumes are in places that exclude each other".to_owned()));
            alternatives.push(Requirements::new());
        }
        resolved.attachments = attachments;
        resolved.problem = resolved.problem.or(problem);
        resolved.with_volumes(alternatives)
    }

    fn look_up(
        &self,
        namespace: &str,
        name: &str,
        template: Option<&PersistentVolumeClaimSpec>,
    ) -> Result<Found, String> {
        let label = || format!("persistentvolumeclaim {name:?}");
        let claim = self.claims.get(&(namespace.to_owned(), name.to_owned()));
        let (Some(spec), is_made) = (match claim {
            Some(claim) => (claim.spec.as_ref(), true),
            None => (template, false),
        }) else {
            return Err(format!("{} not found", label()));
        };
        if let Some(claim) = claim {
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(format!("{} is being deleted", label()));
            }
            let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
            if phase == Some("Lost") {
                return Err(format!("{} lost its persistentvolume", label()));
            }
            if let Some(volume) = spec.volume_name.as_deref().filter(|name| !name.is_empty()) {
                if !claim.annotations().contains_key(BIND_COMPLETED) {
                    return Err(format!(
                        "{} is bound to {volume:?} without the annotation {BIND_COMPLETED:?}",
                        label()
                    ));
                }
                return self.bound(volume);
            }
        }
        let class = self.class(spec.storage_class_name.as_deref());
        let class = class.map_err(|wrong| format!("unbound {}: {wrong}", label()))?;
        if is_made && class.volume_binding_mode.as_deref() != Some("WaitForFirstConsumer") {
            return Err(format!("unbound {} uses Immediate binding", label()));
        }
        Ok(Found {
            driver: Some(migrated(&class.provisioner).to_owned()),
            places: class.allowed_topologies.iter().flatten().map(allowed).collect(),
        })
    }

    fn bound(&self, name: &str) -> Result<Found, String> {
        let volume = self.volumes.get(name);
        let volume = volume.ok_or_else(|| format!("persistentvolume {name:?} not found"))?;
        if volume.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolume {name:?} is being deleted"));
        }
        let Some(spec) = &volume.spec else {
            return Err(format!("persistentvolume {name:?} has no spec"));
        };
        let required = spec
            .node_affinity
            .as_ref()
            .and_then(|affinity| affinity.required.as_ref());
        let mut places = Vec::new();
        for term in required.iter().flat_map(|required| &required.node_selector_terms) {
            let mut place = Requirements::from_term(term)
                .map_err(|wrong| format!("persistentvolume {name:?}: {wrong}"))?;
            // The host that has the data will not be there any more, and a new one has another name.
            if spec.local.is_some() || spec.host_path.is_some() {
                place.remove(labels::HOSTNAME);
            }
            places.push(place);
        }
        Ok(Found {
            driver: driver(spec),
            places,
        })
    }

    /// The class of this name, or the newest default one.
    fn class(&self, name: Option<&str>) -> Result<&StorageClass, String> {
        let Some(name) = name else {
            let is_default = |class: &&Arc<StorageClass>| {
                class.annotations().get(IS_DEFAULT).map(String::as_str) == Some("true")
            };
            let made =
                |class: &&Arc<StorageClass>| class.meta().creation_timestamp.clone().map(|time| time.0);
            let newest = self.classes.values().filter(is_default).max_by_key(made);
            return newest
                .map(Arc::as_ref)
                .ok_or_else(|| "it names no storage class, and there is no default one".to_owned());
        };
        let class = self.classes.get(name).filter(|_| !name.is_empty());
        class
            .map(Arc::as_ref)
            .ok_or_else(|| format!("storageclass {name:?} not found"))
    }
}

fn key(claim: &PersistentVolumeClaim) -> (String, String) {
    (claim.namespace().unwrap_or_default(), claim.name_any())
}

fn limits(node: &CSINode) -> BTreeMap<String, u32> {
    let drivers = node.spec.drivers.iter().filter_map(|driver| {
        let count = driver.allocatable.as_ref()?.count?;
        Some((driver.name.clone(), u32::try_from(count).ok()?))
    });
    drivers.collect()
}

/// The name of a volume's claim, and what it will be made from where it is not there yet.
fn claim_of<'a>(pod: &Pod, volume: &'a Volume) -> Option<(String, Option<&'a PersistentVolumeClaimSpec>)> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some((claim.claim_name.clone(), None));
    }
    let template = volume.ephemeral.as_ref()?.volume_claim_template.as_ref();
    let name = format!("{}-{}", pod.name_any(), volume.name);
    Some((name, template.map(|template| &template.spec)))
}

fn allowed(term: &TopologySelectorTerm) -> Requirements {
    let expressions = term.match_label_expressions.iter().flatten();
    expressions
        .map(|one| Requirement::one_of(&one.key, one.values.iter().map(String::as_str)))
        .collect()
}

/// Every combination that can be.
fn product(some: &[Requirements], others: &[Requirements]) -> Vec<Requirements> {
    let mut both: Vec<Requirements> = Vec::new();
    for one in some {
        for other in others.iter().filter(|other| one.intersects(other).is_ok()) {
            let combined = one.intersection(other);
            if both.len() < MOST_ALTERNATIVES && !both.contains(&combined) {
                both.push(combined);
            }
        }
    }
    both
}

/// The driver that attaches what a provisioner inside of Kubernetes once did.
fn migrated(provisioner: &str) -> &str {
    match provisioner {
        "kubernetes.io/aws-ebs" => "ebs.csi.aws.com",
        "kubernetes.io/gce-pd" => "pd.csi.storage.gke.io",
        "kubernetes.io/azure-disk" => "disk.csi.azure.com",
        "kubernetes.io/azure-file" => "file.csi.azure.com",
        "kubernetes.io/cinder" => "cinder.csi.openstack.org",
        "kubernetes.io/vsphere-volume" => "csi.vsphere.vmware.com",
        "kubernetes.io/portworx-volume" => "pxd.portworx.com",
        other => other,
    }
}

fn driver(spec: &PersistentVolumeSpec) -> Option<String> {
    if let Some(csi) = &spec.csi {
        return Some(csi.driver.clone());
    }
    let in_tree = [
        (spec.aws_elastic_block_store.is_some(), "kubernetes.io/aws-ebs"),
        (spec.gce_persistent_disk.is_some(), "kubernetes.io/gce-pd"),
        (spec.azure_disk.is_some(), "kubernetes.io/azure-disk"),
        (spec.azure_file.is_some(), "kubernetes.io/azure-file"),
        (spec.cinder.is_some(), "kubernetes.io/cinder"),
        (spec.vsphere_volume.is_some(), "kubernetes.io/vsphere-volume"),
        (spec.portworx_volume.is_some(), "kubernetes.io/portworx-volume"),
    ];
    let found = in_tree.into_iter().find(|(is_it, _)| *is_it);
    found.map(|(_, provisioner)| migrated(provisioner).to_owned())
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
