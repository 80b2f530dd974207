//! Pods as the checker sees them, out of plain JSON.

use std::{collections::BTreeMap, rc::Rc};

use serde_json::Value;

use super::{
    labels::{Expression, Labels, Selector},
    quantity::{Amounts, add, amounts, greatest, one},
};

/// A pod, or a daemon's template.
#[derive(Debug)]
pub(crate) struct Pod {
    pub key: String,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    /// Kind and name of the object that made it.
    pub owner: Option<(String, String)>,
    /// Where its volumes are: alternatives; none for anywhere.
    pub places: Vec<Vec<Expression>>,
    /// Whether it says itself how it is to be spread.
    pub has_spreads: bool,
    /// The node that it is on, in the input.
    pub node: Option<String>,
    pub is_done: bool,
    pub is_going: bool,
    pub is_daemon: bool,
    /// Whether a plan has nothing to say of it.
    pub is_ignored: bool,
    pub rules: Rc<Rules>,
}

/// What a pod asks for; shared by pods that ask for the same.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub requests: Amounts,
    pub selector: Vec<Expression>,
    /// Alternatives of the required node affinity.
    pub terms: Vec<Vec<Expression>>,
    pub tolerations: Vec<Value>,
    pub host_ports: Vec<HostPort>,
    pub spreads: Vec<Spread>,
    pub affinity: Vec<Term>,
    pub anti_affinity: Vec<Term>,
    /// Whether it prefers some nodes or neighbours, or would rather be spread.
    pub has_preferences: bool,
    /// Whether it has volumes that this checker knows nothing of.
    pub has_claims: bool,
}

/// Whether what a pod asks of a label leaves it a domain: the least filled one is looked for, and company missed, only
/// among those.
pub(crate) fn permits(asked: &[Expression], key: &str, domain: &str) -> bool {
    let of_key = Expression::is(key, domain).key;
    asked
        .iter()
        .filter(|expression| expression.key == of_key)
        .all(|expression| expression.allows(Some(domain)))
}

/// A port on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub port: i64,
    pub protocol: String,
    pub ip: String,
}

impl HostPort {
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let any = |ip: &str| ip == "0.0.0.0" || ip == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// A hard spread constraint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spread {
    pub key: String,
    pub max_skew: i64,
    pub min_domains: Option<i64>,
    pub selector: Option<Selector>,
    pub honors_affinity: bool,
    pub honors_taints: bool,
}

/// A required term of pod affinity or anti-affinity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Term {
    pub key: String,
    pub selector: Option<Selector>,
    pub namespaces: Vec<String>,
    pub namespace_selector: Option<Selector>,
}

impl Term {
    pub(crate) fn means(&self, pod: &Pod, namespaces: &BTreeMap<String, BTreeMap<String, String>>) -> bool {
        let none = BTreeMap::new();
        let of_namespace = namespaces.get(&pod.namespace).unwrap_or(&none);
        let in_namespace = self.namespaces.contains(&pod.namespace)
            || self
                .namespace_selector
                .as_ref()
                .is_some_and(|selector| selector.selects(of_namespace));
        in_namespace
            && self
                .selector
                .as_ref()
                .is_some_and(|selector| selector.selects(&pod.labels))
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn labels(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), text(value))).collect()
}

impl Pod {
    /// `shared` holds what pods ask for, by its text.
    pub(crate) fn read(pod: &Value, shared: &mut BTreeMap<String, Rc<Rules>>) -> Self {
        let metadata = &pod["metadata"];
        let namespace = metadata["namespace"].as_str().unwrap_or("default").to_owned();
        let owners: Vec<&str> = list(&metadata["ownerReferences"])
            .filter_map(|owner| owner["kind"].as_str())
            .collect();
        let labels = labels(&metadata["labels"]);
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        let is_done = phase == "Succeeded" || phase == "Failed";
        let is_going = !metadata["deletionTimestamp"].is_null();
        let is_gated = list(&pod["spec"]["schedulingGates"]).next().is_some();
        let is_daemon = owners.contains(&"DaemonSet");
        let is_static =
            owners.contains(&"Node") || !metadata["annotations"]["kubernetes.io/config.mirror"].is_null();
        Self {
            key: format!("{namespace}/{}", text(&metadata["name"])),
            node: pod["spec"]["nodeName"]
                .as_str()
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
            is_done,
            is_going,
            is_daemon,
            is_ignored: is_done || is_going || is_gated || is_daemon || is_static,
            owner: list(&metadata["ownerReferences"])
                .next()
                .map(|owner| (text(&owner["kind"]), text(&owner["name"]))),
            places: Vec::new(),
            has_spreads: list(&pod["spec"]["topologySpreadConstraints"]).next().is_some(),
            rules: rules(&pod["spec"], &namespace, &labels, shared),
            labels,
            namespace,
        }
    }

    /// What it asks of labels by each alternative of its required node affinity and its volumes that may hold on a node: a
    /// pod asks for one of them at a time.
    pub(crate) fn alternatives(&self, node: &Labels) -> Vec<Vec<Expression>> {
        let none = [Vec::new()];
        let or_none = |all: &'_ Vec<Vec<Expression>>| {
            if all.is_empty() {
                none.to_vec()
            } else {
                all.clone()
            }
        };
        let mut found = Vec::new();
        for term in or_none(&self.rules.terms).iter().filter(|term| node.may(term)) {
            for place in or_none(&self.places).iter().filter(|place| node.may(place)) {
                found.push([self.rules.selector.as_slice(), term, place].concat());
            }
        }
        found
    }

    pub(crate) fn is_active(&self) -> bool {
        !self.is_done && !self.is_going
    }
}

/// What a spec asks for.
pub(crate) fn rules(
    spec: &Value,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    shared: &mut BTreeMap<String, Rc<Rules>>,
) -> Rc<Rules> {
    let mut parts: Vec<String> = [
        "nodeSelector",
        "affinity",
        "tolerations",
        "topologySpreadConstraints",
        "overhead",
        "resources",
        "volumes",
    ]
    .iter()
    .map(|part| spec[*part].to_string())
    .collect();
    for list_name in ["containers", "initContainers"] {
        for container in list(&spec[list_name]) {
            parts.push(format!(
                "{list_name}{}{}{}",
                container["resources"], container["ports"], container["restartPolicy"]
            ));
        }
    }
    // Keys of matchLabelKeys take their values from the pod.
    if parts
        .iter()
        .any(|part| part.to_lowercase().contains("matchlabelkeys"))
    {
        parts.push(format!("{labels:?}"));
    }
    parts.push(namespace.to_owned());
    let rules = shared
        .entry(parts.join("|"))
        .or_insert_with(|| Rc::new(read_rules(spec, namespace, labels)));
    Rc::clone(rules)
}

fn read_rules(spec: &Value, namespace: &str, labels: &BTreeMap<String, String>) -> Rules {
    let affinity = &spec["affinity"];
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = list(&affinity["nodeAffinity"][required]["nodeSelectorTerms"]);
    let pod_terms = |kind: &str| -> Vec<Term> {
        list(&affinity[kind][required])
            .map(|term| read_term(term, namespace, labels))
            .collect()
    };
    let selector = spec["nodeSelector"].as_object().into_iter().flatten();
    let hard = |spread: &&Value| spread["whenUnsatisfiable"].as_str() != Some("ScheduleAnyway");
    Rules {
        requests: requests(spec),
        selector: selector
            .map(|(key, value)| Expression::is(key, &text(value)))
            .collect(),
        terms: terms
            .map(|term| Expression::read_all(&term["matchExpressions"]))
            .collect(),
        tolerations: list(&spec["tolerations"]).cloned().collect(),
        host_ports: host_ports(spec),
        spreads: list(&spec["topologySpreadConstraints"])
            .filter(hard)
            .map(|spread| read_spread(spread, labels))
            .collect(),
        affinity: pod_terms("podAffinity"),
        anti_affinity: pod_terms("podAntiAffinity"),
        has_preferences: affinity
            .to_string()
            .contains("preferredDuringSchedulingIgnoredDuringExecution")
            || list(&spec["topologySpreadConstraints"]).any(|spread| !hard(&spread)),
        has_claims: list(&spec["volumes"])
            .any(|volume| !volume["persistentVolumeClaim"].is_null() || !volume["ephemeral"].is_null())
            || list(&spec["resourceClaims"]).next().is_some(),
    }
}

pub(crate) fn read_spread(spread: &Value, labels: &BTreeMap<String, String>) -> Spread {
    Spread {
        key: text(&spread["topologyKey"]),
        max_skew: spread["maxSkew"].as_i64().unwrap_or(1),
        min_domains: spread["minDomains"].as_i64(),
        selector: with_own(
            Selector::read(&spread["labelSelector"]),
            &spread["matchLabelKeys"],
            "In",
            labels,
        ),
        honors_affinity: spread["nodeAffinityPolicy"].as_str() != Some("Ignore"),
        honors_taints: spread["nodeTaintsPolicy"].as_str() == Some("Honor"),
    }
}

fn read_term(term: &Value, namespace: &str, labels: &BTreeMap<String, String>) -> Term {
    let mut namespaces: Vec<String> = list(&term["namespaces"]).map(text).collect();
    let namespace_selector = Selector::read(&term["namespaceSelector"]);
    if namespaces.is_empty() && namespace_selector.is_none() {
        namespaces.push(namespace.to_owned());
    }
    let selector = with_own(
        Selector::read(&term["labelSelector"]),
        &term["matchLabelKeys"],
        "In",
        labels,
    );
    Term {
        key: text(&term["topologyKey"]),
        selector: with_own(selector, &term["mismatchLabelKeys"], "NotIn", labels),
        namespaces,
        namespace_selector,
    }
}

/// A selector that also asks for (or refuses) the pod's own values of some keys.
fn with_own(
    selector: Option<Selector>,
    keys: &Value,
    operator: &str,
    labels: &BTreeMap<String, String>,
) -> Option<Selector> {
    let own = list(keys).filter_map(|key| {
        let key = key.as_str()?;
        Some(Expression {
            key: key.to_owned(),
            operator: operator.to_owned(),
            values: vec![labels.get(key)?.clone()],
        })
    });
    selector.map(|selector| selector.with(own))
}

fn host_ports(spec: &Value) -> Vec<HostPort> {
    let sidecars = list(&spec["initContainers"]).filter(|container| container["restartPolicy"] == "Always");
    let ports = list(&spec["containers"])
        .chain(sidecars)
        .flat_map(|container| list(&container["ports"]));
    ports
        .filter_map(|port| {
            Some(HostPort {
                port: port["hostPort"].as_i64().filter(|port| *port != 0)?,
                protocol: port["protocol"].as_str().unwrap_or("TCP").to_owned(),
                ip: port["hostIP"]
                    .as_str()
                    .filter(|ip| !ip.is_empty())
                    .unwrap_or("0.0.0.0")
                    .to_owned(),
            })
        })
        .collect()
}

/// What the scheduler counts: the sum of what runs, or the most that an init step needs.
fn requests(spec: &Value) -> Amounts {
    let of = |resources: &Value| {
        let mut asked = amounts(&resources["limits"]);
        asked.extend(amounts(&resources["requests"]));
        asked
    };
    let mut total = Amounts::new();
    for container in list(&spec["containers"]) {
        add(&mut total, &of(&container["resources"]));
    }
    let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
    for container in list(&spec["initContainers"]) {
        let own = of(&container["resources"]);
        let mut now = sidecars.clone();
        add(&mut now, &own);
        greatest(&mut most, &now);
        if container["restartPolicy"] == "Always" {
            sidecars = now;
        }
    }
    add(&mut total, &sidecars);
    greatest(&mut total, &most);
    total.extend(of(&spec["resources"]));
    add(&mut total, &amounts(&spec["overhead"]));
    total.insert("pods".to_owned(), one());
    total
}

/// Whether these tolerations let a pod stand with these taints.
pub(crate) fn tolerates(tolerations: &[Value], taints: &[Value]) -> bool {
    let hard = taints
        .iter()
        .filter(|taint| taint["effect"] == "NoSchedule" || taint["effect"] == "NoExecute");
    hard.into_iter()
        .all(|taint| tolerations.iter().any(|toleration| tolerated(toleration, taint)))
}

fn tolerated(toleration: &Value, taint: &Value) -> bool {
    let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (key, effect) = (of(&toleration["key"]), of(&toleration["effect"]));
    let exists = toleration["operator"] == "Exists";
    (effect.is_empty() || effect == of(&taint["effect"]))
        && (key == of(&taint["key"]) || key.is_empty() && exists)
        && (exists || of(&toleration["value"]) == of(&taint["value"]))
}
