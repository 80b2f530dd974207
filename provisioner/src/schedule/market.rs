//! What a question is in numbers: its pods by class and what can be bought, as a [`Problem`]; and back from a fleet to
//! what is to be opened for which pods.

use std::{collections::BTreeMap, ops::RangeInclusive, rc::Rc};

use super::{
    MinValuesPolicy,
    bits::Bits,
    groups::Kind,
    price::{Class, Column, ColumnSet, PatternNode, Problem, Rule},
    solve::Solver,
    trial::Trial,
    wishes::Wishes,
};

/// A [`Problem`] and what its indexes mean.
#[derive(Debug, Default)]
pub(super) struct Market {
    pub problem: Problem,
    /// By column: template and type. What is there already is past the end.
    columns: Vec<(usize, usize)>,
    /// By class of the problem: the pods.
    pods: Vec<Vec<usize>>,
}

/// What classes that may change places have in common: requests, columns, and the rules by which they are choosy about
/// each other.
type Kin<'a> = (&'a [i64], &'a ColumnSet, &'a [usize]);

/// Which wishes pods insist on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insist {
    /// On all: what is bought by that satisfies them.
    All,
    /// On none that they could give up: what bounds the price of any plan.
    Needs,
}

/// Nodes to open for which pods. Every constraint is checked all the same, and a pod that cannot go where it is sent
/// changes places with one of its size, or goes elsewhere.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Advice {
    pub strategy: &'static str,
    pub nodes: Vec<AdvisedNode>,
    /// By class: its pods.
    pub pods: Vec<Vec<usize>>,
    /// By class: others of its size that may take its place, itself among them.
    pub alike: Vec<Rc<[usize]>>,
}

/// A node to open.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AdvisedNode {
    pub template: usize,
    /// Types that may be bought for it: those that cost no more than the one that was meant.
    pub options: Rc<Bits>,
    /// Class and number of its pods.
    pub pods: Vec<(usize, u32)>,
}

impl Market {
    /// For some pods of the question, of which nothing must have been placed.
    pub(super) fn new(solver: &mut Solver<'_>, pods: &[usize], insist: Insist) -> Self {
        let mut by_class: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &pod in pods {
            by_class.entry(solver.class_of(pod)).or_default().push(pod);
        }
        let mut market = Self::default();
        let mut prices = Vec::new();
        for (template, of_pool) in solver.prepared.templates.iter().enumerate() {
            let cells = of_pool.allowed_cells(&of_pool.requirements);
            for option in 0..of_pool.types.len() {
                if let Some(price) = of_pool.price_in(option, &cells) {
                    market.columns.push((template, option));
                    prices.push(price);
                }
            }
        }
        let steps: Vec<(usize, usize)> = by_class
            .keys()
            .map(|&class| (class, step(solver, class, insist)))
            .collect();
        let units = Units::new(solver, &steps, &market.columns);
        market.problem.columns = market
            .columns
            .iter()
            .zip(prices)
            .map(|(&(template, option), price)| Column {
                allocatable: units.capacity(room(solver, template, option)),
                price,
                copies: None,
            })
            .collect();
        let mut known = BTreeMap::new();
        for &(class, step) in &steps {
            let fits = market.fitting(solver, class, step, insist, &mut known);
            market.problem.classes.push(Class {
                count: u32::try_from(by_class[&class].len()).unwrap_or(u32::MAX),
                requests: units.requests(&solver.classes.all[class].amounts),
                fits,
            });
        }
        if insist == Insist::Needs {
            market.add_nodes_that_are_there(solver, &units);
        }
        market.problem.rules = rules(solver, &steps, insist);
        market.pods = by_class.into_values().collect();
        market
    }

    /// The columns that an empty node of each template leaves to a class; `known` by shapes are those of others.
    fn fitting(
        &self,
        solver: &mut Solver<'_>,
        class: usize,
        step: usize,
        insist: Insist,
        known: &mut BTreeMap<Vec<usize>, ColumnSet>,
    ) -> ColumnSet {
        // Giving up an alternative of what is required takes away what it alone allowed.
        let steps = if insist == Insist::Needs {
            0..=step
        } else {
            step..=step
        };
        let of_class = &solver.classes.all[class].steps[steps.clone()];
        let shapes: Vec<usize> = of_class.iter().map(|step| step.shape).collect();
        if let Some(known) = known.get(&shapes) {
            return known.clone();
        }
        let found = self.fitting_steps(solver, class, steps, insist);
        known.insert(shapes, found.clone());
        found
    }

    /// The columns that fit at one of some steps; as long as wishes count, of the first template alone that takes the
    /// class, since pools are asked by weight.
    fn fitting_steps(
        &self,
        solver: &mut Solver<'_>,
        class: usize,
        steps: RangeInclusive<usize>,
        insist: Insist,
    ) -> ColumnSet {
        let mut fits = ColumnSet::default();
        for template in 0..solver.prepared.templates.len() {
            let mut options = Bits::new();
            steps
                .clone()
                .for_each(|step| options.join(&of_empty(solver, template, class, step)));
            if options.is_empty() {
                continue;
            }
            for (column, (of_template, option)) in self.columns.iter().enumerate() {
                if *of_template == template && options.has(*option) {
                    fits.insert(column);
                }
            }
            if insist == Insist::All {
                break;
            }
        }
        fits
    }

    /// All room on nodes that are there as one node that is had for nothing and suits all: more than any plan can use.
    fn add_nodes_that_are_there(&mut self, solver: &Solver<'_>, units: &Units) {
        let mut all = vec![0_i128; solver.prepared.resources.len()];
        let mut any = false;
        for rank in (0..solver.prepared.open).filter(|rank| !solver.closed.has(*rank)) {
            any = true;
            for (all, left) in all.iter_mut().zip(&solver.prepared.left[rank]) {
                *all = all.saturating_add((*left).max(0));
            }
        }
        if !any {
            return;
        }
        let there = self.problem.columns.len();
        for class in &mut self.problem.classes {
            class.fits.insert(there);
        }
        self.problem.columns.push(Column {
            allocatable: units.capacity(&all),
            price: 0.0,
            copies: Some(1),
        });
    }

    /// What a fleet means for the pods of the question.
    pub(super) fn advice(&self, strategy: &'static str, fleet: &[PatternNode]) -> Advice {
        let mut nodes = Vec::new();
        for pattern in fleet {
            let Some(&(template, _)) = self.columns.get(pattern.column) else {
                continue;
            };
            let price = self.problem.columns[pattern.column].price;
            let no_dearer = |column: &usize| {
                self.columns[*column].0 == template && self.problem.columns[*column].price <= price
            };
            let columns = (0..self.columns.len()).filter(no_dearer);
            let node = AdvisedNode {
                template,
                options: Rc::new(columns.map(|column| self.columns[column].1).collect()),
                pods: pattern.pods.clone(),
            };
            nodes.extend(std::iter::repeat_n(node, pattern.copies as usize));
        }
        Advice {
            strategy,
            nodes,
            pods: self.pods.clone(),
            alike: self.alike(),
        }
    }

    /// By class: those that ask for as much, fit the same columns and are as choosy about each other.
    fn alike(&self) -> Vec<Rc<[usize]>> {
        let classes = &self.problem.classes;
        let mut choosy = vec![Vec::new(); classes.len()];
        for (rule, content) in self.problem.rules.iter().enumerate() {
            for class in content
                .holders
                .iter()
                .filter(|class| content.counted.contains(class))
            {
                choosy[*class].push(rule);
            }
        }
        let mut by_kind: BTreeMap<Kin<'_>, Vec<usize>> = BTreeMap::new();
        for (index, class) in classes.iter().enumerate() {
            let kind = (class.requests.as_slice(), &class.fits, choosy[index].as_slice());
            by_kind.entry(kind).or_default().push(index);
        }
        let mut alike: Vec<Rc<[usize]>> = vec![Rc::from([]); classes.len()];
        for members in by_kind.into_values() {
            let members: Rc<[usize]> = members.into();
            members
                .iter()
                .for_each(|class| alike[*class] = Rc::clone(&members));
        }
        alike
    }
}

/// The step of a class at which it insists so much.
fn step(solver: &mut Solver<'_>, class: usize, insist: Insist) -> usize {
    let Solver {
        classes,
        asks,
        topology,
        prepared,
        ..
    } = solver;
    let more = |classes: &mut super::classes::Classes<'_>, asks: &mut super::asks::Asks<'_>| {
        classes.next_step(class, prepared.has_preferred_taint, asks, topology)
    };
    if classes.all[class].steps.is_empty() {
        more(classes, asks);
    }
    match insist {
        Insist::All => 0,
        Insist::Needs => {
            while more(classes, asks) {}
            classes.all[class].steps.len() - 1
        }
    }
}

/// The types that an empty node of a template may be for a pod, other pods' places left out of account.
fn of_empty(solver: &mut Solver<'_>, template: usize, class: usize, step: usize) -> Bits {
    let of_class = &solver.classes.all[class];
    let of_step = &of_class.steps[step];
    let ask = &solver.asks.all[of_step.ask];
    let mut found = Bits::new();
    if of_class.is_impossible() {
        return found;
    }
    // A node that others have narrowed may be free of a reservation that keeps a pod from an empty one.
    let ledger = solver.prepared.reservations.ledger(false);
    for number in ask.alternatives.clone() {
        let mut trial = Trial {
            prepared: solver.prepared,
            topology: &solver.topology,
            asks: &solver.asks,
            states: &mut solver.states,
            policy: MinValuesPolicy::BestEffort,
            ledger: &ledger,
        };
        let added = trial.add(
            &solver.empty[template],
            of_step,
            &of_class.amounts,
            &of_class.facts.host_ports,
            &[(number, Wishes::default())],
        );
        if let Ok(added) = added {
            found.join(&added.options);
        }
    }
    found
}

/// What a type of a template has left for pods.
fn room<'s>(solver: &'s Solver<'_>, template: usize, option: usize) -> &'s [i128] {
    &solver.prepared.templates[template].room[option]
}

/// What may not share a host, of the groups that are about hosts.
fn rules(solver: &Solver<'_>, steps: &[(usize, usize)], insist: Insist) -> Vec<Rule> {
    let mut by_group: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, &(class, step)) in steps.iter().enumerate() {
        for &group in &solver.classes.all[class].steps[step].groups {
            if solver.topology.groups[group].key.is_none() {
                by_group.entry(group).or_default().push(index);
            }
        }
    }
    let mut rules = Vec::new();
    for (group, holders) in by_group {
        let counted: Vec<usize> = (0..steps.len())
            .filter(|&index| {
                solver
                    .topology
                    .counts(group, solver.classes.all[steps[index].0].label_set)
            })
            .collect();
        match solver.topology.groups[group].base.group.kind {
            // Where every host has some, each may have more: what is asked of new hosts bounds no plan.
            Kind::Spread { max_skew, .. } => {
                if insist == Insist::All {
                    rules.push(Rule {
                        holders,
                        counted,
                        most: max_skew,
                    });
                }
            }
            Kind::AntiAffinity => {
                // A pod is no other to itself.
                let (members, others): (Vec<usize>, Vec<usize>) =
                    holders.into_iter().partition(|holder| counted.contains(holder));
                for (holders, most) in [(members, 1), (others, 0)] {
                    if !holders.is_empty() {
                        rules.push(Rule {
                            holders,
                            counted: counted.clone(),
                            most,
                        });
                    }
                }
            }
            // The pods that keep others away have the rule; whom pods want to be with is left to the engine.
            Kind::Inverse | Kind::Affinity => {}
        }
    }
    rules
}

/// The units in which amounts are whole numbers of moderate size, for the resources that somebody asks for.
#[derive(Debug)]
struct Units {
    /// Resource and unit.
    of: Vec<(usize, i128)>,
}

impl Units {
    fn new(solver: &Solver<'_>, steps: &[(usize, usize)], columns: &[(usize, usize)]) -> Self {
        let rooms: Vec<&[i128]> = columns
            .iter()
            .map(|&(template, option)| room(solver, template, option))
            .collect();
        let unit = |resource: usize| -> Option<(usize, i128)> {
            let asked = || {
                steps
                    .iter()
                    .map(|(class, _)| solver.classes.all[*class].amounts[resource])
            };
            if asked().all(|amount| amount <= 0) {
                return None;
            }
            let offered = || rooms.iter().map(|room| room[resource]);
            let common = asked().chain(offered()).fold(0, greatest_common_divisor).max(1);
            let most = asked().chain(offered()).max().unwrap_or(0);
            Some((resource, common.max(most / MOST_UNITS + 1)))
        };
        Self {
            of: (0..solver.prepared.resources.len()).filter_map(unit).collect(),
        }
    }

    /// Rounded so that nothing gets larger, should it not be whole.
    fn requests(&self, amounts: &[i128]) -> Vec<i64> {
        let whole = |&(resource, unit): &(usize, i128)| clamped(amounts[resource].div_euclid(unit));
        self.of.iter().map(whole).collect()
    }

    /// Rounded so that nothing gets smaller.
    fn capacity(&self, amounts: &[i128]) -> Vec<i64> {
        let whole = |&(resource, unit): &(usize, i128)| clamped(-(-amounts[resource]).div_euclid(unit));
        self.of.iter().map(whole).collect()
    }
}

/// No amount has more units.
const MOST_UNITS: i128 = 1 << 52;

fn clamped(amount: i128) -> i64 {
    i64::try_from(amount.max(0)).unwrap_or(i64::MAX)
}

fn greatest_common_divisor(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.saturating_abs(), b.saturating_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
