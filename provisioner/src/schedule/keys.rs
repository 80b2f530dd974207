//! The domains of a label: its values, numbered, and where nodes and types stand in them.

use std::{collections::BTreeSet, sync::Arc};

use super::{World, bits::Bits, template::Template};
use crate::{Requirements, karpenter::labels};

/// So many domains have a set of nodes each; labels with more, such as host names, are looked up node by node.
const NARROW: usize = 64;

/// One label over a world.
#[derive(Clone, Debug)]
pub(super) struct KeyIndex {
    pub key: String,
    /// Domains by number, in order of their names.
    names: Vec<String>,
    /// Those that a node has or a pool can buy in, from the first.
    pub known_of_nodes: Vec<Option<usize>>,
    pub known_of_templates: Vec<Bits>,
    /// By rank of the node: the domains that it is or may be in.
    pub of_node: Vec<Bits>,
    /// By domain, ranks of the nodes that are or may be in it; empty where there are too many domains.
    pub nodes_in: Vec<Bits>,
    /// The same where there are too many.
    wide: Vec<Vec<usize>>,
    sources: Vec<Source>,
}

/// How to tell the domains that some types of a template can be bought in.
#[derive(Clone, Debug)]
enum Source {
    /// By cell of the template.
    Cells(Vec<Option<usize>>),
    Values(Vec<(usize, Bits)>),
}

impl KeyIndex {
    pub(super) fn new(world: &World, ranks: &[usize], templates: &[Template], key: &str) -> Self {
        let finite = |requirements: &Requirements| requirements.get(key).and_then(|r| r.finite()).cloned();
        let of_nodes: Vec<BTreeSet<String>> = ranks
            .iter()
            .map(|&node| finite(&world.nodes[node].requirements).unwrap_or_default())
            .collect();
        let buyable: Vec<BTreeSet<String>> = if key == labels::HOSTNAME {
            vec![BTreeSet::new(); templates.len()]
        } else {
            templates.iter().map(|template| buyable(template, key)).collect()
        };
        let names: BTreeSet<&String> = of_nodes.iter().chain(&buyable).flatten().collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let number = |name: &str| names.binary_search_by(|other| other.as_str().cmp(name)).ok();
        let numbers = |all: &BTreeSet<String>| all.iter().filter_map(|name| number(name)).collect::<Bits>();
        let of_node: Vec<Bits> = of_nodes.iter().map(numbers).collect();
        let (mut nodes_in, mut wide) = (Vec::new(), Vec::new());
        if names.len() <= NARROW {
            nodes_in = vec![Bits::new(); names.len()];
        } else {
            wide = vec![Vec::new(); names.len()];
        }
        for (rank, domains) in of_node.iter().enumerate() {
            for domain in domains.iter() {
                if names.len() <= NARROW {
                    nodes_in[domain].insert(rank);
                } else {
                    wide[domain].push(rank);
                }
            }
        }
        let sources = templates.iter().map(|template| match key {
            labels::ZONE => Source::Cells(template.cells.iter().map(|c| number(&c.offering.zone)).collect()),
            labels::CAPACITY_TYPE => {
                let word = |cell: &super::template::Cell| number(cell.offering.capacity_type.as_str());
                Source::Cells(template.cells.iter().map(word).collect())
            }
            _ => {
                let values = template.values(key).into_iter();
                Source::Values(
                    values
                        .filter_map(|(value, types)| Some((number(value)?, types)))
                        .collect(),
                )
            }
        });
        Self {
            key: key.to_owned(),
            known_of_nodes: of_node.iter().map(Bits::single).collect(),
            known_of_templates: buyable.iter().map(numbers).collect(),
            nodes_in,
            wide,
            sources: sources.collect(),
            of_node,
            names,
        }
    }

    /// Calls `each` with the ranks of the nodes that are or may be in a domain.
    pub(super) fn each_node_in(&self, domain: usize, mut each: impl FnMut(usize)) {
        match (self.nodes_in.get(domain), self.wide.get(domain)) {
            (Some(nodes), _) => nodes.iter().for_each(each),
            (None, Some(nodes)) => nodes.iter().for_each(|&rank| each(rank)),
            (None, None) => {}
        }
    }

    /// How many domains there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name(&self, domain: usize) -> &str {
        &self.names[domain]
    }
}

/// The domains that a template can be bought in.
fn buyable(template: &Template, key: &str) -> BTreeSet<String> {
    let of_cells = |word: &dyn Fn(&crate::Offering) -> String| {
        template
            .allowed_cells(&template.requirements)
            .iter()
            .map(|cell| word(&template.cells[cell].offering))
            .collect()
    };
    let mut domains: BTreeSet<String> = match key {
        labels::ZONE => of_cells(&|offering| offering.zone.clone()),
        labels::CAPACITY_TYPE => of_cells(&|offering| offering.capacity_type.to_string()),
        _ => template.values(key).into_keys().map(str::to_owned).collect(),
    };
    if domains.is_empty() {
        let of_pool = template.requirements.get(key).and_then(|r| r.finite());
        domains.extend(of_pool.into_iter().flatten().cloned());
    }
    domains.retain(|domain| template.requirements.allows(key, domain));
    domains
}

/// One label in a question: the world's domains, then those that only its pods name.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub index: Arc<KeyIndex>,
    extra: Vec<String>,
}

impl Key {
    pub(super) fn new(index: Arc<KeyIndex>) -> Self {
        Self {
            index,
            extra: Vec::new(),
        }
    }

    pub(super) fn key(&self) -> &str {
        &self.index.key
    }

    /// How many domains.
    pub(super) fn len(&self) -> usize {
        self.index.names.len() + self.extra.len()
    }

    pub(super) fn name(&self, domain: usize) -> &str {
        let of_world = &self.index.names;
        of_world
            .get(domain)
            .unwrap_or_else(|| &self.extra[domain - of_world.len()])
    }

    /// Numbers the domains that requirements name.
    pub(super) fn note(&mut self, requirements: &Requirements) {
        let named = requirements.get(&self.index.key).and_then(|r| r.finite());
        for name in named.into_iter().flatten() {
            if self.index.names.binary_search(name).is_err() && !self.extra.contains(name) {
                self.extra.push(name.clone());
            }
        }
    }

    /// The domains that requirements allow.
    pub(super) fn allowed(&self, requirements: &Requirements) -> Bits {
        match requirements.get(self.key()) {
            None => Bits::below(self.len()),
            Some(requirement) => (0..self.len())
                .filter(|&domain| requirement.has(self.name(domain)))
                .collect(),
        }
    }

    /// The domains that some types of a template can be bought in.
    pub(super) fn of_types(
        &self,
        template: usize,
        cells: &[super::template::Cell],
        allowed_cells: &Bits,
        options: &Bits,
    ) -> Bits {
        match &self.index.sources[template] {
            Source::Cells(domains) => {
                let mut found = Bits::new();
                for cell in allowed_cells.iter() {
                    if let Some(domain) = domains[cell]
                        && !found.has(domain)
                        && cells[cell].types.meets(options)
                    {
                        found.insert(domain);
                    }
                }
                found
            }
            Source::Values(values) => values
                .iter()
                .filter(|(_, types)| types.meets(options))
                .map(|(domain, _)| *domain)
                .collect(),
        }
    }
}
