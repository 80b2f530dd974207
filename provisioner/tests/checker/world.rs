//! The final placement: nodes that are there and planned ones, each with its labels, taints and pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use serde_json::Value;

use super::{
    Findings, Given,
    labels::{Expression, Labels, Selector},
    pods::{HostPort, Pod, Rules, Spread, labels, read_spread, rules, tolerates},
    quantity::{Amounts, add, amounts, difference, greatest, lacking},
};

pub(crate) const NODE_POOL: &str = "karpenter.sh/nodepool";
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";
const RESERVATION: &str = "karpenter.k8s.aws/capacity-reservation-id";
const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";

/// A place for pods.
#[derive(Debug)]
pub(crate) struct Site {
    pub name: String,
    pub pool: Option<String>,
    pub labels: Labels,
    pub taints: Vec<Value>,
    pub capacity: Amounts,
    /// What is left for new pods: daemons and pods that are there taken off.
    pub left: Amounts,
    pub ports: Vec<HostPort>,
    /// Indexes of pods that were there.
    pub old: Vec<usize>,
    /// Indexes of pods that the plan puts there.
    pub new: Vec<usize>,
    pub is_deleting: bool,
    /// The plan's word on it, for one that is to be bought.
    pub planned: Option<Value>,
}

/// A pool.
#[derive(Debug)]
pub(crate) struct Pool {
    pub name: String,
    pub expressions: Vec<Expression>,
    /// Keys of which so many values must stay open.
    pub min_values: BTreeMap<String, usize>,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Value>,
    pub limits: Amounts,
    pub is_limited: bool,
}

/// An instance type.
#[derive(Debug)]
pub(crate) struct Type {
    pub name: String,
    pub expressions: Vec<Expression>,
    pub capacity: Amounts,
    pub allocatable: Amounts,
    pub offerings: Vec<Offering>,
}

/// An offering.
#[derive(Debug)]
pub(crate) struct Offering {
    pub price: f64,
    pub available: bool,
    /// The reservation that it draws on, and how many that has.
    pub reservation: Option<(String, u64)>,
    pub expressions: Vec<Expression>,
}

/// A daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub rules: Rc<Rules>,
}

/// Everything, read.
#[derive(Debug)]
pub(crate) struct World {
    pub pods: Vec<Pod>,
    pub sites: Vec<Site>,
    pub pools: BTreeMap<String, Pool>,
    pub types: BTreeMap<String, Type>,
    pub daemons: Vec<Daemon>,
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub unschedulable: Vec<usize>,
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Pool {
    fn read(pool: &Value) -> Self {
        let template = &pool["spec"]["template"];
        let name = text(&pool["metadata"]["name"]);
        let mut of_template = labels(&template["metadata"]["labels"]);
        of_template.insert(NODE_POOL.to_owned(), name.clone());
        let class = &template["spec"]["nodeClassRef"];
        if class.is_object() {
            let key = format!(
                "{}/{}",
                text(&class["group"]),
                text(&class["kind"]).to_lowercase()
            );
            of_template.insert(key, text(&class["name"]));
        }
        let requirements = &template["spec"]["requirements"];
        let min_values = list(requirements).filter_map(|requirement| {
            let least = requirement["minValues"].as_u64()?;
            Some((text(&requirement["key"]), usize::try_from(least).ok()?))
        });
        Self {
            expressions: Expression::read_all(requirements),
            min_values: min_values.collect(),
            labels: of_template,
            taints: list(&template["spec"]["taints"]).cloned().collect(),
            limits: amounts(&pool["spec"]["limits"]),
            is_limited: pool["spec"]["limits"]
                .as_object()
                .is_some_and(|limits| !limits.is_empty()),
            name,
        }
    }
}

fn reservation(offering: &Value) -> Option<(String, u64)> {
    let id = list(&offering["requirements"]).find(|one| one["key"] == RESERVATION)?;
    Some((text(&id["values"][0]), offering["reservationCapacity"].as_u64()?))
}

impl Type {
    fn read(it: &Value) -> Self {
        let offerings = list(&it["offerings"]).map(|offering| Offering {
            price: offering["price"].as_f64().unwrap_or(f64::NAN),
            available: offering["available"].as_bool().unwrap_or(true),
            reservation: reservation(offering),
            expressions: Expression::read_all(&offering["requirements"]),
        });
        let capacity = amounts(&it["capacity"]);
        Self {
            name: text(&it["name"]),
            expressions: Expression::read_all(&it["requirements"]),
            allocatable: if it["allocatable"].is_null() {
                capacity.clone()
            } else {
                amounts(&it["allocatable"])
            },
            capacity,
            offerings: offerings.collect(),
        }
    }
}

/// The labels of a node of this pool and type, bought by this offering; `None` if there can be none.
pub(crate) fn node_labels(pool: &Pool, it: &Type, offering: &[Expression], name: &str) -> Option<Labels> {
    let mut labels = Labels::fixed(pool.labels.clone());
    labels.fixed.insert(HOSTNAME.to_owned(), name.to_owned());
    let named = Expression::is("node.kubernetes.io/instance-type", &it.name);
    let mut by_key: BTreeMap<&str, Vec<&Expression>> = BTreeMap::new();
    let all = pool.expressions.iter().chain(&it.expressions).chain(offering);
    for expression in all.chain([&named]) {
        by_key.entry(&expression.key).or_default().push(expression);
    }
    for (key, expressions) in by_key {
        if let Some(value) = labels.fixed.get(key) {
            if !expressions
                .iter()
                .all(|expression| expression.allows(Some(value)))
            {
                return None;
            }
            continue;
        }
        let finite = expressions.iter().find(|expression| expression.operator == "In");
        let values: BTreeSet<&String> = finite
            .into_iter()
            .flat_map(|expression| &expression.values)
            .collect();
        let values: Vec<&&String> = values
            .iter()
            .filter(|value| {
                expressions
                    .iter()
                    .all(|expression| expression.allows(Some(value)))
            })
            .collect();
        if finite.is_some() && values.is_empty() {
            return None;
        }
        if let [value] = values[..] {
            labels.fixed.insert(key.to_owned(), (*value).clone());
        } else if expressions
            .iter()
            .all(|expression| expression.operator == "DoesNotExist")
        {
            // No node of these carries it.
        } else {
            labels
                .open
                .insert(key.to_owned(), expressions.into_iter().cloned().collect());
        }
    }
    Some(labels)
}

/// Gives a pod the default spreads of the scheduler's configuration, if it has none of its own and belongs to something.
fn default_spreads(given: &Given, pod: &mut Pod) {
    let of_kind = |kind: &'static str| {
        given
            .surroundings
            .iter()
            .filter(move |object| object["kind"] == kind)
    };
    let arguments = of_kind("KubeSchedulerConfiguration")
        .flat_map(|object| list(&object["profiles"]))
        .flat_map(|profile| list(&profile["pluginConfig"]));
    let defaults: Vec<&Value> = arguments
        .flat_map(|plugin| list(&plugin["args"]["defaultConstraints"]))
        .collect();
    if pod.has_spreads || defaults.is_empty() {
        return;
    }
    let in_namespace =
        |object: &&Value| object["metadata"]["namespace"].as_str().unwrap_or("default") == pod.namespace;
    let services = of_kind("Service").filter(in_namespace).filter_map(|service| {
        let labels = serde_json::json!({ "matchLabels": service["spec"]["selector"] });
        Selector::read(&labels).filter(|selector| selector.selects(&pod.labels))
    });
    let owners = ["ReplicaSet", "StatefulSet"].into_iter().flat_map(of_kind);
    let owners = owners.filter(in_namespace).filter_map(|object| {
        let (kind, name) = pod.owner.as_ref()?;
        let is_it = object["kind"] == kind.as_str() && object["metadata"]["name"] == name.as_str();
        Selector::read(&object["spec"]["selector"]).filter(|_| is_it)
    });
    let together: Option<Selector> = services.chain(owners).reduce(Selector::both);
    let Some(selector) = together else {
        return;
    };
    let mut rules = pod.rules.as_ref().clone();
    for spread in defaults {
        if spread["whenUnsatisfiable"] == "ScheduleAnyway" {
            rules.has_preferences = true;
        } else {
            rules.spreads.push(Spread {
                selector: Some(selector.clone()),
                ..read_spread(spread, &pod.labels)
            });
        }
    }
    pod.rules = Rc::new(rules);
}

impl World {
    pub(crate) fn read(given: &Given, plan: &Value, findings: &mut Findings) -> Self {
        let mut shared = BTreeMap::new();
        let mut pods: Vec<Pod> = given.pods.iter().map(|pod| Pod::read(pod, &mut shared)).collect();
        for (pod, object) in pods.iter_mut().zip(&given.pods) {
            default_spreads(given, pod);
            pod.places = super::volumes::places(given, pod, &object["spec"]);
        }
        let daemons = given.daemon_sets.iter().map(|set| {
            let namespace = set["metadata"]["namespace"].as_str().unwrap_or("default");
            let template = &set["spec"]["template"];
            Daemon {
                rules: rules(
                    &template["spec"],
                    namespace,
                    &labels(&template["metadata"]["labels"]),
                    &mut shared,
                ),
            }
        });
        let daemons: Vec<Daemon> = daemons.collect();
        let pools = given
            .node_pools
            .iter()
            .map(Pool::read)
            .map(|pool| (pool.name.clone(), pool))
            .collect();
        let types = given
            .instance_types
            .iter()
            .map(Type::read)
            .map(|it| (it.name.clone(), it))
            .collect();
        let namespaces = given.namespaces.iter().map(|namespace| {
            let metadata = &namespace["metadata"];
            (text(&metadata["name"]), labels(&metadata["labels"]))
        });
        let mut world = Self {
            pods,
            sites: Vec::new(),
            pools,
            types,
            daemons,
            namespaces: namespaces.collect(),
            unschedulable: Vec::new(),
        };
        let index: BTreeMap<String, usize> = world
            .pods
            .iter()
            .enumerate()
            .map(|(index, pod)| (pod.key.clone(), index))
            .collect();
        world.read_nodes(given, plan, &index, findings);
        for node in list(&plan["nodes"]) {
            if let Some(site) = world.planned(node, &index, findings) {
                world.sites.push(site);
            }
        }
        let names: BTreeSet<&str> = world.sites.iter().map(|site| site.name.as_str()).collect();
        if names.len() < world.sites.len() {
            findings.add("names", "two nodes have the same name");
        }
        let entries = list(&plan["unschedulable"]).filter_map(|entry| index.get(entry["pod"].as_str()?));
        world.unschedulable = entries.copied().collect();
        world
    }

    fn read_nodes(
        &mut self,
        given: &Given,
        plan: &Value,
        index: &BTreeMap<String, usize>,
        findings: &mut Findings,
    ) {
        let mut takes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for entry in list(&plan["existing"]) {
            let pods = list(&entry["pods"]).filter_map(|pod| index.get(pod.as_str()?).copied());
            takes
                .entry(entry["node"].as_str().unwrap_or_default())
                .or_default()
                .extend(pods);
        }
        for node in &given.nodes {
            let name = text(&node["metadata"]["name"]);
            let mut of_node = labels(&node["metadata"]["labels"]);
            of_node.entry(HOSTNAME.to_owned()).or_insert_with(|| name.clone());
            let mut taints: Vec<Value> = list(&node["spec"]["taints"]).cloned().collect();
            if node["spec"]["unschedulable"] == true {
                taints.push(
                    serde_json::json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}),
                );
            }
            let on_it = |pod: &&(usize, &Pod)| pod.1.node.as_deref() == Some(&name) && !pod.1.is_done;
            let old: Vec<usize> = self
                .pods
                .iter()
                .enumerate()
                .filter(|pod| on_it(&pod))
                .map(|(at, _)| at)
                .collect();
            let mut site = Site {
                pool: of_node.get(NODE_POOL).cloned(),
                labels: Labels::fixed(of_node),
                capacity: amounts(&node["status"]["capacity"]),
                left: amounts(&node["status"]["allocatable"]),
                ports: old
                    .iter()
                    .flat_map(|&pod| self.pods[pod].rules.host_ports.clone())
                    .collect(),
                is_deleting: !node["metadata"]["deletionTimestamp"].is_null()
                    || taints
                        .iter()
                        .any(|taint| taint["key"] == "karpenter.sh/disrupted"),
                new: takes.remove(name.as_str()).unwrap_or_default(),
                old,
                taints,
                planned: None,
                name,
            };
            let (mut present, mut expected) = (Amounts::new(), Amounts::new());
            for &pod in &site.old {
                let pod = &self.pods[pod];
                site.left = difference(&site.left, &pod.rules.requests);
                if pod.is_daemon {
                    add(&mut present, &pod.rules.requests);
                }
            }
            for daemon in self.daemons_on(&site.labels, &site.taints) {
                add(&mut expected, &daemon.rules.requests);
            }
            let mut missing = difference(&expected, &present);
            let none = missing.keys().map(|name| (name.clone(), 0)).collect();
            greatest(&mut missing, &none);
            site.left = difference(&site.left, &missing);
            self.sites.push(site);
        }
        for (name, pods) in takes.into_iter().filter(|(_, pods)| !pods.is_empty()) {
            findings.add(
                "nodes",
                format!("{name} takes {} pods and is not there", pods.len()),
            );
        }
    }

    /// The daemons that surely run on a node.
    pub(crate) fn daemons_on<'a>(
        &'a self,
        labels: &'a Labels,
        taints: &'a [Value],
    ) -> impl Iterator<Item = &'a Daemon> {
        self.daemons.iter().filter(move |daemon| {
            let rules = &daemon.rules;
            tolerates(&rules.tolerations, taints)
                && labels.surely(&rules.selector)
                && (rules.terms.is_empty() || rules.terms.iter().any(|term| labels.surely(term)))
        })
    }

    fn planned(
        &self,
        node: &Value,
        index: &BTreeMap<String, usize>,
        findings: &mut Findings,
    ) -> Option<Site> {
        let name = text(&node["name"]);
        let (pool_name, type_name) = (text(&node["nodePool"]), text(&node["instanceType"]));
        let (zone, capacity_type) = (text(&node["zone"]), text(&node["capacityType"]));
        let Some(pool) = self.pools.get(&pool_name) else {
            findings.add("pool", format!("{name}: there is no pool {pool_name:?}"));
            return None;
        };
        let Some(it) = self.types.get(&type_name) else {
            findings.add("type", format!("{name}: there is no type {type_name:?}"));
            return None;
        };
        let bought = [
            Expression::is(ZONE, &zone),
            Expression::is(CAPACITY_TYPE, &capacity_type),
        ];
        // Of several reservations the one of this type there.
        let drawn = it.offerings.iter().find(|offering| {
            let price = node["pricePerHour"].as_f64().unwrap_or(f64::NAN);
            let is_here = bought.iter().all(|bought| offering.expressions.contains(bought));
            is_here && (offering.price - price).abs() < 1e-9
        });
        let reservation = drawn.and_then(|offering| offering.reservation.as_ref());
        let reservation = reservation.map(|(id, _)| Expression::is(RESERVATION, id));
        let bought: Vec<Expression> = bought.into_iter().chain(reservation).collect();
        let Some(mut labels) = node_labels(pool, it, &bought, &name) else {
            findings.add(
                "pool",
                format!("{name}: {pool_name} may not buy {type_name} {capacity_type} in {zone}"),
            );
            return None;
        };
        for (key, value) in super::pods::labels(&node["labels"]) {
            match labels.narrowed(&[Expression::is(&key, &value)]) {
                Some(_) => drop((labels.open.remove(&key), labels.fixed.insert(key, value))),
                None => findings.add("labels", format!("{name} can have no label {key}={value}")),
            }
        }
        let mut left = it.allocatable.clone();
        let mut ports = Vec::new();
        for daemon in self.daemons_on(&labels, &pool.taints) {
            left = difference(&left, &daemon.rules.requests);
            ports.extend(daemon.rules.host_ports.clone());
        }
        let pods = list(&node["pods"]).filter_map(|pod| index.get(pod.as_str()?).copied());
        Some(Site {
            pool: Some(pool_name),
            taints: pool.taints.clone(),
            capacity: it.capacity.clone(),
            left,
            ports,
            old: Vec::new(),
            new: pods.collect(),
            is_deleting: false,
            planned: Some(node.clone()),
            labels,
            name,
        })
    }

    /// Pods that could have a node of their own at any time and were turned down.
    pub(crate) fn needlessly_unschedulable(&self, findings: &mut Findings) {
        let prefers_away = |taint: &Value| taint["effect"] == "PreferNoSchedule";
        let has_preferred_taints = self
            .pools
            .values()
            .any(|pool| pool.taints.iter().any(prefers_away));
        // Where there are reservations, pods wait for them.
        let mut offerings = self.types.values().flat_map(|it| &it.offerings);
        if offerings.any(|offering| offering.reservation.is_some()) {
            return;
        }
        for &at in &self.unschedulable {
            let pod = &self.pods[at];
            let rules = &pod.rules;
            let kept_away = self.pods.iter().any(|other| {
                other
                    .rules
                    .anti_affinity
                    .iter()
                    .any(|term| term.means(pod, &self.namespaces))
            });
            let is_simple = rules.spreads.is_empty()
                && rules.affinity.is_empty()
                && rules.anti_affinity.is_empty()
                && !rules.has_claims
                // Alternatives are given up before wishes are, as Karpenter does it; the last one may be the wrong one.
                && !((rules.has_preferences || has_preferred_taints) && rules.terms.len() > 1)
                && rules
                    .selector
                    .iter()
                    .chain(rules.terms.iter().flatten())
                    .all(|e| e.key != HOSTNAME);
            if kept_away || !is_simple {
                continue;
            }
            if let Some((pool, it)) = self.node_of_its_own(rules) {
                findings.add(
                    "needless",
                    format!("{} has no place and would fit on {it} of {pool}", pod.key),
                );
            }
        }
    }

    fn node_of_its_own(&self, rules: &Rules) -> Option<(&str, &str)> {
        let pools = self.pools.values().filter(|pool| {
            !pool.is_limited && pool.min_values.is_empty() && tolerates(&rules.tolerations, &pool.taints)
        });
        for pool in pools {
            let is_declared = |e: &Expression| {
                let of_pool =
                    pool.labels.contains_key(&e.key) || pool.expressions.iter().any(|own| own.key == e.key);
                of_pool || e.key.contains("kubernetes.io/") || e.key.contains("karpenter.")
            };
            // A label that only types declare is nobody's to ask for.
            if !rules
                .selector
                .iter()
                .chain(rules.terms.iter().flatten())
                .all(is_declared)
            {
                continue;
            }
            for it in self.types.values() {
                for offering in it.offerings.iter().filter(|offering| offering.available) {
                    let Some(labels) = node_labels(pool, it, &offering.expressions, "") else {
                        continue;
                    };
                    let terms_hold = |labels: &Labels| {
                        rules.terms.is_empty() || rules.terms.iter().any(|term| labels.may(term))
                    };
                    if !labels
                        .narrowed(&rules.selector)
                        .is_some_and(|labels| terms_hold(&labels))
                    {
                        continue;
                    }
                    let (mut asked, mut free) = (rules.requests.clone(), true);
                    // Whatever daemon might run there.
                    for daemon in self
                        .daemons
                        .iter()
                        .filter(|daemon| tolerates(&daemon.rules.tolerations, &pool.taints))
                    {
                        add(&mut asked, &daemon.rules.requests);
                        free &= !daemon
                            .rules
                            .host_ports
                            .iter()
                            .any(|taken| rules.host_ports.iter().any(|port| port.conflicts(taken)));
                    }
                    if free && lacking(&asked, &it.allocatable).is_none() {
                        return Some((&pool.name, &it.name));
                    }
                }
            }
        }
        None
    }
}
