//! Spread, affinity and anti-affinity over the final placement, as Karpenter and kube-scheduler mean them: a spread and
//! an affinity bind the pod that carries them at the moment when it is bound, so that a placement is right if its pods
//! can be bound one after the other, in some order, each by its own rules. What keeps pods apart binds both at any time.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Findings,
    labels::{Expression, Selector},
    pods::{Pod, Rules, Spread, Term, permits, tolerates},
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
                let places = &world.pods[pod].places;
                let nodes = format!(
                    "{:?}{:?}{:?}{places:?}",
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
    let least = |asked: &Vec<Expression>| {
        let permitted = domains.iter().filter(|(domain, _)| permits(asked, key, domain));
        let counts: Vec<i64> = permitted.map(|(_, count)| *count).collect();
        let too_few =
            min_domains.is_some_and(|least| i64::try_from(counts.len()).is_ok_and(|count| count < least));
        counts.into_iter().min().filter(|_| !too_few).unwrap_or(0)
    };
    // New pods that count in a domain and are not of this group: they may have come last.
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
        let alternatives = pod.alternatives(&world.sites[at].labels);
        let least = alternatives.iter().map(least).max().unwrap_or(0);
        let at_least = count - late.get(domain).copied().unwrap_or(0);
        if at_least - least > *max_skew && told.insert(domain) {
            let message = format!(
                "{} is in {domain} with {at_least} like it, {least} where there are fewest of {domains:?}, at most {max_skew} more may be",
                pod.key
            );
            findings.add("spread", message);
        }
    }
}

/// Whether a node counts for a spread of such pods: each of their spreads is a matter of its own, so that a node without
/// the label of another one counts, as it does in Karpenter and does not in kube-scheduler.
fn counts_for(site: &Site, rules: &Rules, spread: &Spread) -> bool {
    let suits = !spread.honors_affinity
        || site.labels.may(&rules.selector)
            && (rules.terms.is_empty() || rules.terms.iter().any(|term| site.labels.may(term)));
    let lets_in = !spread.honors_taints || tolerates(&rules.tolerations, &site.taints);
    suits && lets_in && !site.is_deleting
}

/// What a term finds in a domain.
#[derive(Default)]
struct Domain<'a> {
    /// Pods that were there.
    old: usize,
    new: usize,
    /// New pods that are meant and do not ask for it themselves.
    ground: usize,
    /// New pods that are meant and ask for it: any of them may be the first.
    starters: Vec<(&'a Pod, &'a Site)>,
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
        let mut domains: BTreeMap<&str, Domain<'_>> = BTreeMap::new();
        for &(at_pod, at) in placement {
            let (pod, site) = (&world.pods[at_pod], &world.sites[at]);
            let is_meant = term.means(pod, &world.namespaces);
            if let Some(domain) = site.labels.get(&term.key).filter(|_| is_meant) {
                let domain = domains.entry(domain).or_default();
                match (pod.node.is_some(), asking.contains(&at_pod)) {
                    (true, _) => domain.old += 1,
                    (false, true) => domain.starters.push((pod, site)),
                    (false, false) => domain.ground += 1,
                }
                domain.new += usize::from(pod.node.is_none());
            }
        }
        for (pod, at) in carriers {
            let (pod, site) = (&world.pods[pod], &world.sites[at]);
            let Some(name) = site.labels.get(&term.key) else {
                let message = format!(
                    "{} wants company by {}, which {} has not",
                    pod.key, term.key, site.name
                );
                findings.add("affinity", message);
                continue;
            };
            if domains
                .get(name)
                .is_none_or(|domain| domain.old + domain.new == 0)
            {
                findings.add("affinity", format!("{} finds nobody in {name}", pod.key));
            }
        }
        for name in without_start(&term.key, &domains) {
            let message = format!("nobody could be the first in {name}: there are others elsewhere");
            findings.add("affinity", message);
        }
    }
}

/// Domains in which no pod can have been the first: one may where no domain that it may go to has company yet. Of those
/// without ground, the one that can have started last is struck off, until none is left or none can have been the last.
fn without_start<'a>(key: &str, domains: &BTreeMap<&'a str, Domain<'_>>) -> Vec<&'a str> {
    let mut groundless: Vec<&str> = domains
        .iter()
        .filter(|(_, domain)| domain.old + domain.ground == 0)
        .map(|(name, _)| *name)
        .collect();
    let with_old: Vec<&str> = domains
        .iter()
        .filter(|(_, domain)| domain.old > 0)
        .map(|(name, _)| *name)
        .collect();
    let last = |groundless: &Vec<&str>| {
        groundless.iter().position(|name| {
            let others = || groundless.iter().chain(&with_old).filter(|other| *other != name);
            domains[name].starters.iter().any(|(pod, site)| {
                let alternatives = pod.alternatives(&site.labels);
                alternatives
                    .iter()
                    .any(|asked| !others().any(|other| permits(asked, key, other)))
            })
        })
    };
    while let Some(last) = last(&groundless) {
        groundless.remove(last);
    }
    groundless
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
