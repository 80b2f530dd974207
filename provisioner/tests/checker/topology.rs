//! Spread, affinity and anti-affinity over the final placement.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Findings,
    labels::Selector,
    pods::{Pod, Rules, Spread, Term, tolerates},
    world::{Site, World},
};

/// Where every pod is: indexes of pod and site.
type Placement = Vec<(usize, usize)>;

pub(crate) fn check(world: &World, findings: &mut Findings) {
    let mut placement: Placement = Vec::new();
    for (at, site) in world.sites.iter().enumerate() {
        let pods = site.old.iter().chain(&site.new);
        placement.extend(
            pods.filter(|&&pod| world.pods[pod].is_active())
                .map(|&pod| (pod, at)),
        );
    }
    spreads(world, &placement, findings);
    affinity(world, &placement, findings);
    anti_affinity(world, &placement, findings);
}

/// Pods that spread in the same way over the same nodes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Group<'a> {
    namespace: &'a str,
    spread: &'a Spread,
    /// What makes the nodes the same, as text.
    nodes: String,
}

fn spreads(world: &World, placement: &Placement, findings: &mut Findings) {
    let mut groups: BTreeMap<Group<'_>, Vec<(usize, usize)>> = BTreeMap::new();
    for (at, site) in world.sites.iter().enumerate() {
        for &pod in &site.new {
            let Pod { namespace, rules, .. } = &world.pods[pod];
            for spread in &rules.spreads {
                let keys: Vec<&str> = rules.spreads.iter().map(|spread| spread.key.as_str()).collect();
                let nodes = format!(
                    "{:?}{:?}{:?}{keys:?}",
                    rules.selector, rules.terms, rules.tolerations
                );
                groups
                    .entry(Group {
                        namespace,
                        spread,
                        nodes,
                    })
                    .or_default()
                    .push((pod, at));
            }
        }
    }
    let mut counts: BTreeMap<(&str, &Option<Selector>), BTreeMap<usize, i64>> = BTreeMap::new();
    for (group, carriers) in &groups {
        let counts = counts
            .entry((group.namespace, &group.spread.selector))
            .or_insert_with(|| {
                let mut counts = BTreeMap::new();
                for &(pod, site) in placement {
                    let pod = &world.pods[pod];
                    if pod.namespace == group.namespace && selects(&group.spread.selector, pod) {
                        *counts.entry(site).or_default() += 1;
                    }
                }
                counts
            });
        spread(world, group, carriers, counts, findings);
    }
}

fn selects(selector: &Option<Selector>, pod: &Pod) -> bool {
    selector
        .as_ref()
        .is_some_and(|selector| selector.selects(&pod.labels))
}

fn spread(
    world: &World,
    group: &Group<'_>,
    carriers: &[(usize, usize)],
    counts: &BTreeMap<usize, i64>,
    findings: &mut Findings,
) {
    let Spread {
        key,
        max_skew,
        min_domains,
        ..
    } = group.spread;
    let rules = &world.pods[carriers[0].0].rules;
    if world.sites.iter().any(|site| site.labels.is_open(key)) {
        findings.undecided += 1;
        return;
    }
    let mut domains: BTreeMap<&str, i64> = BTreeMap::new();
    for (at, site) in world
        .sites
        .iter()
        .enumerate()
        .filter(|(_, site)| counts_for(site, rules, group.spread))
    {
        if let Some(domain) = site.labels.get(key) {
            *domains.entry(domain).or_default() += counts.get(&at).copied().unwrap_or(0);
        }
    }
    let too_few =
        min_domains.is_some_and(|least| i64::try_from(domains.len()).is_ok_and(|count| count < least));
    let least = if too_few {
        0
    } else {
        domains.values().copied().min().unwrap_or(0)
    };
    // New pods that count in a domain and do not spread: they may have come last.
    let of_group: BTreeSet<usize> = carriers.iter().map(|(pod, _)| *pod).collect();
    let mut late: BTreeMap<&str, i64> = BTreeMap::new();
    for site in &world.sites {
        let Some(domain) = site.labels.get(key) else {
            continue;
        };
        let others = site
            .new
            .iter()
            .filter(|pod| !of_group.contains(pod))
            .map(|&pod| &world.pods[pod]);
        let count = others
            .filter(|pod| pod.namespace == group.namespace && selects(&group.spread.selector, pod))
            .count();
        *late.entry(domain).or_default() += i64::try_from(count).unwrap_or(0);
    }
    let mut told = BTreeSet::new();
    for &(pod, at) in carriers {
        let pod = &world.pods[pod];
        let Some(domain) = world.sites[at].labels.get(key) else {
            findings.add(
                "spread",
                format!(
                    "{} spreads over {key}, which {} has not",
                    pod.key, world.sites[at].name
                ),
            );
            continue;
        };
        let count = domains.get(domain).copied().unwrap_or(0);
        if count - least > *max_skew && told.insert(domain) {
            let at_least = count - late.get(domain).copied().unwrap_or(0);
            let rule = if at_least - least > *max_skew {
                "spread"
            } else {
                "spread-as-it-stands"
            };
            let message = format!(
                "{} is in {domain} with {count} like it, {least} where there are fewest of {domains:?}, at most {max_skew} more may be",
                pod.key
            );
            findings.add(rule, message);
        }
    }
}

/// Whether a node counts for a spread of such pods.
fn counts_for(site: &Site, rules: &Rules, spread: &Spread) -> bool {
    let has_keys = rules
        .spreads
        .iter()
        .all(|spread| site.labels.get(&spread.key).is_some());
    let suits = !spread.honors_affinity
        || site.labels.may(&rules.selector)
            && (rules.terms.is_empty() || rules.terms.iter().any(|term| site.labels.may(term)));
    let lets_in = !spread.honors_taints || tolerates(&rules.tolerations, &site.taints);
    has_keys && suits && lets_in && !site.is_deleting
}

/// What a term finds in a domain.
#[derive(Default)]
struct Domain {
    old: usize,
    new: usize,
    /// New pods that are meant and do not ask for it themselves.
    ground: usize,
}

fn affinity(world: &World, placement: &Placement, findings: &mut Findings) {
    let mut carriers: BTreeMap<&Term, Vec<(usize, usize)>> = BTreeMap::new();
    for (at, site) in world.sites.iter().enumerate() {
        for &pod in &site.new {
            for term in &world.pods[pod].rules.affinity {
                carriers.entry(term).or_default().push((pod, at));
            }
        }
    }
    for (term, carriers) in carriers {
        if world.sites.iter().any(|site| site.labels.is_open(&term.key)) {
            findings.undecided += 1;
            continue;
        }
        let asking: BTreeSet<usize> = carriers.iter().map(|(pod, _)| *pod).collect();
        let mut domains: BTreeMap<&str, Domain> = BTreeMap::new();
        for &(pod, at) in placement {
            let site = &world.sites[at];
            if let Some(domain) = site
                .labels
                .get(&term.key)
                .filter(|_| term.means(&world.pods[pod], &world.namespaces))
            {
                let domain = domains.entry(domain).or_default();
                let is_old = world.pods[pod].node.is_some();
                *if is_old { &mut domain.old } else { &mut domain.new } += 1;
                domain.ground += usize::from(!is_old && !asking.contains(&pod));
            }
        }
        let any_old = domains.values().any(|domain| domain.old > 0);
        let mut groundless: BTreeSet<&str> = BTreeSet::new();
        for (pod, at) in carriers {
            let (pod, site) = (&world.pods[pod], &world.sites[at]);
            let Some(name) = site.labels.get(&term.key) else {
                findings.add(
                    "affinity",
                    format!(
                        "{} wants company by {}, which {} has not",
                        pod.key, term.key, site.name
                    ),
                );
                continue;
            };
            let domain = domains.get(name);
            let found = domain.map_or(0, |domain| domain.old + domain.new);
            let is_meant = term.means(pod, &world.namespaces);
            if found == 0 {
                findings.add("affinity", format!("{} finds nobody in {name}", pod.key));
            } else if is_meant
                && domain.is_some_and(|domain| domain.old + domain.ground == 0)
                && groundless.insert(name)
                && (any_old || groundless.len() > 1)
            {
                findings.add(
                    "affinity",
                    format!(
                        "{} could not be the first in {name}: there are others elsewhere",
                        pod.key
                    ),
                );
            }
        }
    }
}

fn anti_affinity(world: &World, placement: &Placement, findings: &mut Findings) {
    let mut carriers: BTreeMap<&Term, Vec<(usize, usize)>> = BTreeMap::new();
    for &(pod, at) in placement {
        for term in &world.pods[pod].rules.anti_affinity {
            carriers.entry(term).or_default().push((pod, at));
        }
    }
    for (term, carriers) in carriers {
        let mut open = false;
        let mut meant: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for &(pod, at) in placement {
            let labels = &world.sites[at].labels;
            open |= labels.is_open(&term.key);
            if let Some(domain) = labels
                .get(&term.key)
                .filter(|_| term.means(&world.pods[pod], &world.namespaces))
            {
                meant.entry(domain).or_default().push(pod);
            }
        }
        findings.undecided += usize::from(open);
        for (pod, at) in carriers {
            let Some(domain) = world.sites[at].labels.get(&term.key) else {
                continue;
            };
            let is_old = |pod: usize| world.pods[pod].node.is_some();
            let others = meant.get(domain).into_iter().flatten();
            let mut others = others.filter(|&&other| other != pod && !(is_old(pod) && is_old(other)));
            if let Some(&other) = others.next() {
                let (pod, other) = (&world.pods[pod].key, &world.pods[other].key);
                findings.add(
                    "anti-affinity",
                    format!("{pod} and {other} are both in {domain} of {}", term.key),
                );
            }
        }
    }
}
