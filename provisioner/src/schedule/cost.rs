//! What planned nodes cost: by state the types from the cheapest, by node the cheapest that it may still be.

use super::{
    bits::Bits,
    claims::{Added, Claim},
    map::Map,
    states::{State, StateId},
    template::Template,
};
use crate::{Requirements, karpenter::labels};

/// What each state's types cost at least.
#[derive(Clone, Debug, Default)]
pub(super) struct Prices(Map<StateId, Priced>);

/// The types of a state, cheapest first.
#[derive(Clone, Debug)]
pub(super) struct Priced {
    /// Those of the state that the cloud is told.
    pub requirements: Requirements,
    pub options: Vec<(f64, usize)>,
}

impl Prices {
    pub(super) fn of(&mut self, id: StateId, state: &State, template: &Template) -> &Priced {
        self.0.entry(id).or_insert_with(|| {
            let mut requirements = state.requirements.clone();
            requirements.remove(labels::HOSTNAME);
            let price = |option: usize| Some((template.price_in(option, &state.cells)?, option));
            let mut options: Vec<(f64, usize)> = state.types.iter().filter_map(price).collect();
            let name = |option: usize| &template.types[option].instance_type.name;
            options.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| name(a.1).cmp(name(b.1))));
            Priced {
                requirements,
                options,
            }
        })
    }
}

impl Priced {
    /// The cheapest of some types.
    pub(super) fn cheapest(&self, options: &Bits) -> Option<(f64, usize)> {
        self.options
            .iter()
            .find(|(_, option)| options.has(*option))
            .copied()
    }
}

/// Planned nodes by what they cost, to find where a pod adds least to the price.
#[derive(Clone, Debug)]
pub(super) struct Costs {
    pub prices: Prices,
    of_claim: Vec<f64>,
    /// By planned node and resource: what is left at its price, in money.
    slack: Vec<f64>,
    /// By template and resource: what a unit costs where it is what a node is bought for.
    unit_prices: Vec<Vec<f64>>,
    resources: usize,
}

/// So many planned nodes are looked at for a pod, those that were opened last.
pub(super) const LOOKS: usize = 1024;
/// So many planned nodes that would have to become dearer are looked at closely for a pod.
const CLOSE_LOOKS: usize = 8;

impl Costs {
    pub(super) fn new(templates: &[Template], resources: usize) -> Self {
        Self {
            prices: Prices::default(),
            of_claim: Vec::new(),
            slack: Vec::new(),
            resources,
            unit_prices: templates
                .iter()
                .map(|template| unit_prices(template, resources))
                .collect(),
        }
    }

    /// What a node would cost.
    pub(super) fn price(&mut self, added: &Added, state: &State, template: &Template) -> f64 {
        let priced = self.prices.of(added.state, state, template);
        priced
            .cheapest(&added.options)
            .map_or(f64::INFINITY, |(price, _)| price)
    }

    /// Takes note of what a node has become.
    pub(super) fn update(&mut self, index: usize, claim: &Claim, state: &State, template: &Template) {
        let priced = self.prices.of(claim.state, state, template);
        let (price, option) = priced
            .cheapest(&claim.options)
            .map_or((f64::INFINITY, None), |(price, option)| (price, Some(option)));
        if index >= self.of_claim.len() {
            self.of_claim.resize(index + 1, 0.0);
            self.slack.resize((index + 1) * self.resources, 0.0);
        }
        self.of_claim[index] = price;
        let units = &self.unit_prices[claim.template];
        let slack = &mut self.slack[index * self.resources..][..self.resources];
        for (resource, slack) in slack.iter_mut().enumerate() {
            let room = option.map_or(-1, |option| template.room[option][resource]);
            *slack = (room - claim.requests[resource]) as f64 * units[resource];
        }
    }

    /// What a planned node costs.
    pub(super) fn of(&self, claim: usize) -> f64 {
        self.of_claim[claim]
    }

    /// The nodes of `among` on which a pod may cost least: those that have room at their price, tightest first, or
    /// else a few of those that would have to grow least.
    pub(super) fn promising(&self, among: &Bits, claims: &[Claim], pod: &[i128]) -> (bool, Vec<usize>) {
        let mut free: Vec<(f64, usize)> = Vec::new();
        let mut growing: Vec<(f64, usize)> = Vec::with_capacity(CLOSE_LOOKS + 1);
        let asked: Vec<Vec<f64>> = self
            .unit_prices
            .iter()
            .map(|units| {
                pod.iter()
                    .zip(units)
                    .map(|(asked, unit)| *asked as f64 * unit)
                    .collect()
            })
            .collect();
        for index in among.descending().take(LOOKS) {
            let asked = &asked[claims[index].template];
            let slack = &self.slack[index * self.resources..][..self.resources];
            let (mut overflow, mut left) = (0.0, 0.0);
            for (asked, slack) in asked.iter().zip(slack) {
                let rest = slack - asked;
                overflow += (-rest).max(0.0);
                left += rest.max(0.0);
            }
            if overflow == 0.0 {
                insert_least(&mut free, (left, index));
            } else if free.is_empty() {
                insert_least(&mut growing, (overflow - left * 0.01, index));
            }
        }
        let is_free = !free.is_empty();
        let chosen = if is_free { free } else { growing };
        (is_free, chosen.into_iter().map(|(_, index)| index).collect())
    }
}

/// Keeps the least few, in order.
fn insert_least(least: &mut Vec<(f64, usize)>, entry: (f64, usize)) {
    if least.len() == CLOSE_LOOKS && least.last().is_some_and(|last| last.0 <= entry.0) {
        return;
    }
    let at = least.partition_point(|other| other.0 <= entry.0);
    least.insert(at, entry);
    least.truncate(CLOSE_LOOKS);
}

/// What a unit of each resource costs on the type that sells it cheapest, shared among the resources.
fn unit_prices(template: &Template, resources: usize) -> Vec<f64> {
    let cells = template.allowed_cells(&template.requirements);
    let prices: Vec<f64> = (0..template.types.len())
        .map(|option| template.price_in(option, &cells).unwrap_or(f64::INFINITY))
        .collect();
    let of_resource = |resource: usize| {
        let units = template.room.iter().zip(&prices);
        let units = units.filter(|(room, _)| room[resource] > 0);
        units
            .map(|(room, price)| price / room[resource] as f64)
            .min_by(f64::total_cmp)
            .unwrap_or(0.0)
    };
    (0..resources).map(of_resource).collect()
}
