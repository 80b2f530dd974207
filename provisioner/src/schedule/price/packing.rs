//! Nodes with pods on them, exactly: what fits, and what the rules admit.

use super::{PatternNode, Problem};

/// The amounts of a [`Problem`], flat, and the rules by class.
#[derive(Debug)]
pub(super) struct Packing<'a> {
    pub problem: &'a Problem,
    resources: usize,
    requests: Vec<i64>,
    capacity: Vec<i64>,
    /// By class: rules that it brings.
    held: Vec<Vec<usize>>,
    /// By class: rules that count it.
    counted: Vec<Vec<usize>>,
}

/// A node being filled.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Node {
    pub column: usize,
    /// What is used of each resource.
    pub used: Vec<i64>,
    /// Class and number, ascending.
    pub pods: Vec<(usize, u32)>,
    /// By rule: pods that bring it.
    holders: Vec<u32>,
    /// By rule: pods that it counts.
    counted: Vec<u32>,
}

impl<'a> Packing<'a> {
    pub(super) fn new(problem: &'a Problem) -> Self {
        let classes = problem.classes.len();
        let resources = problem
            .classes
            .iter()
            .map(|class| class.requests.len())
            .max()
            .unwrap_or(0);
        let amounts = |amounts: &[i64]| -> Vec<i64> {
            (0..resources)
                .map(|resource| amounts.get(resource).copied().unwrap_or(0).max(0))
                .collect()
        };
        let mut held = vec![Vec::new(); classes];
        let mut counted = vec![Vec::new(); classes];
        for (rule, content) in problem.rules.iter().enumerate() {
            for (classes, by_class) in [(&content.holders, &mut held), (&content.counted, &mut counted)] {
                for &class in classes {
                    if let Some(rules) = by_class.get_mut(class).filter(|rules| !rules.contains(&rule)) {
                        rules.push(rule);
                    }
                }
            }
        }
        Self {
            requests: problem
                .classes
                .iter()
                .flat_map(|class| amounts(&class.requests))
                .collect(),
            capacity: problem
                .columns
                .iter()
                .flat_map(|column| amounts(&column.allocatable))
                .collect(),
            problem,
            resources,
            held,
            counted,
        }
    }

    pub(super) fn requests(&self, class: usize) -> &[i64] {
        &self.requests[class * self.resources..(class + 1) * self.resources]
    }

    pub(super) fn capacity(&self, column: usize) -> &[i64] {
        &self.capacity[column * self.resources..(column + 1) * self.resources]
    }

    pub(super) fn price(&self, column: usize) -> f64 {
        self.problem.columns[column].price.max(0.0)
    }

    /// An empty node.
    pub(super) fn open(&self, column: usize) -> Node {
        Node {
            column,
            used: vec![0; self.resources],
            pods: Vec::new(),
            holders: vec![0; self.problem.rules.len()],
            counted: vec![0; self.problem.rules.len()],
        }
    }

    /// How many more pods of a class the node takes, `most` at most.
    pub(super) fn room(&self, node: &Node, class: usize, most: u32) -> u32 {
        if !self.problem.classes[class].fits.contains(node.column) {
            return 0;
        }
        let mut fitting = i64::from(most);
        let amounts = self
            .requests(class)
            .iter()
            .zip(self.capacity(node.column))
            .zip(&node.used);
        for ((request, capacity), used) in amounts {
            let room = capacity - used;
            if *request > room {
                return 0;
            }
            if *request > 0 && request.saturating_mul(fitting) > room {
                fitting = room / request;
            }
        }
        self.admitted(node, class, u32::try_from(fitting.max(0)).unwrap_or(0))
    }

    /// How many more of a class the rules let on the node.
    fn admitted(&self, node: &Node, class: usize, most: u32) -> u32 {
        let mut admitted = most;
        for &rule in &self.counted[class] {
            if node.holders[rule] > 0 || self.held[class].contains(&rule) {
                let left = self.problem.rules[rule].most.saturating_sub(node.counted[rule]);
                admitted = admitted.min(left);
            }
        }
        let broken = |rule: &&usize| node.counted[**rule] > self.problem.rules[**rule].most;
        if self.held[class].iter().any(|rule| broken(&rule)) {
            0
        } else {
            admitted
        }
    }

    /// Puts pods on a node that has room for them.
    pub(super) fn put(&self, node: &mut Node, class: usize, number: u32) {
        if number == 0 {
            return;
        }
        for (used, request) in node.used.iter_mut().zip(self.requests(class)) {
            *used += request * i64::from(number);
        }
        match node.pods.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(place) => node.pods[place].1 += number,
            Err(place) => node.pods.insert(place, (class, number)),
        }
        self.held[class]
            .iter()
            .for_each(|&rule| node.holders[rule] += number);
        self.counted[class]
            .iter()
            .for_each(|&rule| node.counted[rule] += number);
    }

    /// Takes pods that are there off a node.
    pub(super) fn take(&self, node: &mut Node, class: usize, number: u32) {
        for (used, request) in node.used.iter_mut().zip(self.requests(class)) {
            *used -= request * i64::from(number);
        }
        if let Ok(place) = node.pods.binary_search_by_key(&class, |(class, _)| *class) {
            node.pods[place].1 -= number;
            if node.pods[place].1 == 0 {
                node.pods.remove(place);
            }
        }
        self.held[class]
            .iter()
            .for_each(|&rule| node.holders[rule] -= number);
        self.counted[class]
            .iter()
            .for_each(|&rule| node.counted[rule] -= number);
    }

    /// Whether all pods of the node may be on a node of `column`.
    pub(super) fn suits(&self, node: &Node, column: usize) -> bool {
        node.used
            .iter()
            .zip(self.capacity(column))
            .all(|(used, capacity)| used <= capacity)
            && node
                .pods
                .iter()
                .all(|(class, _)| self.problem.classes[*class].fits.contains(column))
    }

    /// The price of nodes.
    pub(super) fn price_of(&self, nodes: &[Node]) -> f64 {
        nodes.iter().map(|node| self.price(node.column)).sum()
    }
}

/// Nodes of a fleet, one by one.
pub(super) fn unfold(packing: &Packing<'_>, fleet: &[PatternNode]) -> Vec<Node> {
    let mut nodes = Vec::new();
    for pattern in fleet {
        let mut node = packing.open(pattern.column);
        for (class, number) in &pattern.pods {
            packing.put(&mut node, *class, *number);
        }
        nodes.extend(std::iter::repeat_n(node, pattern.copies as usize));
    }
    nodes
}

/// Equal nodes as one pattern, dearest first.
pub(super) fn fold(packing: &Packing<'_>, mut nodes: Vec<Node>) -> Vec<PatternNode> {
    nodes.retain(|node| !node.pods.is_empty());
    nodes.sort_by(|a, b| {
        let dearer = packing.price(b.column).total_cmp(&packing.price(a.column));
        dearer.then_with(|| (a.column, &a.pods).cmp(&(b.column, &b.pods)))
    });
    let mut fleet: Vec<PatternNode> = Vec::new();
    for node in nodes {
        match fleet.last_mut() {
            Some(last) if last.column == node.column && last.pods == node.pods => last.copies += 1,
            _ => fleet.push(PatternNode {
                column: node.column,
                pods: node.pods,
                copies: 1,
            }),
        }
    }
    fleet
}
