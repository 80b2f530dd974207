//! A problem made ready for linear programs: what matters not is taken out, the rest is flat.

use std::collections::BTreeMap;

use super::{ColumnSet, Problem};

/// A [`Problem`] without dominated columns and with equal classes as one.
///
/// The rows of its knapsacks are the resources and then the rules that hold on every node: where holders are counted
/// themselves, a node has at most `most` of those, whatever else is on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// Rows of a knapsack.
    pub rows: usize,
    /// Index in the problem of every column that is kept, cheapest first.
    pub columns: Vec<usize>,
    pub prices: Vec<f64>,
    /// How many of each there are; infinite where they are not limited.
    pub copies: Vec<f64>,
    /// columns x rows, exact.
    pub exact_capacity: Vec<i64>,
    /// The same, each row scaled to at most 1.
    pub capacity: Vec<f64>,
    pub groups: Vec<Group>,
    /// groups x rows, exact.
    pub exact_requests: Vec<i64>,
    /// The same, scaled as the capacities are.
    pub requests: Vec<f64>,
    /// columns x groups: whether it fits.
    pub fits: Vec<bool>,
    /// By column: the first of those beside it that fit the same groups.
    pub alike: Vec<usize>,
    /// What a pod of each group costs on nodes that are best for its group alone.
    pub alone: Vec<f64>,
    /// How many pods each group has.
    pub counts: Vec<f64>,
    /// rows x groups: the scaled requests, so that one row of all groups is in one piece.
    pub row_requests: Vec<f64>,
    /// The columns with few copies.
    pub limited: Vec<usize>,
    /// The least price above zero.
    pub least_price: f64,
    /// Classes with pods that fit no column.
    pub unplaceable: Vec<usize>,
}

/// Classes that are one to the linear program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub count: u32,
    /// Indexes of the classes.
    pub members: Vec<usize>,
}

/// Most rules that become rows, and the least nodes that one must ask for beside the greatest. What is left out only
/// loosens the program: the pods are placed by all rules.
const MOST_RULES: usize = 8;
const LEAST_SHARE: u64 = 4;

/// A rule that holds on every node.
struct TightRule {
    /// By class: whether it counts.
    counts: Vec<bool>,
    most: u32,
    /// How many pods that are.
    pods: i64,
}

/// The rules that decide on the number of nodes.
fn tight_rules(problem: &Problem) -> Vec<TightRule> {
    let classes = problem.classes.len();
    let mut rows: BTreeMap<Vec<bool>, u32> = BTreeMap::new();
    for rule in &problem.rules {
        let mut row = vec![false; classes];
        let mut counted = vec![false; classes];
        rule.counted
            .iter()
            .filter(|class| **class < classes)
            .for_each(|class| counted[*class] = true);
        rule.holders
            .iter()
            .filter(|class| **class < classes)
            .for_each(|class| row[*class] = counted[*class]);
        if row.contains(&true) {
            let most = rows.entry(row).or_insert(u32::MAX);
            *most = (*most).min(rule.most);
        }
    }
    let pods = |row: &[bool]| -> u64 {
        let counted = problem.classes.iter().zip(row).filter(|(_, counts)| **counts);
        counted.map(|(class, _)| u64::from(class.count)).sum()
    };
    let mut rules: Vec<(u64, TightRule)> = rows
        .into_iter()
        .map(|(counts, most)| {
            let pods = pods(&counts);
            let nodes = pods.checked_div(u64::from(most)).unwrap_or(u64::MAX);
            let pods = i64::try_from(pods).unwrap_or(i64::MAX);
            (nodes, TightRule { counts, most, pods })
        })
        .collect();
    rules.sort_by_key(|(nodes, _)| std::cmp::Reverse(*nodes));
    let decisive = rules
        .iter()
        .map(|(nodes, _)| *nodes)
        .find(|nodes| *nodes < u64::MAX)
        .unwrap_or(0);
    rules.retain(|(nodes, _)| *nodes > 1 && *nodes >= decisive / LEAST_SHARE);
    let impossible = rules.iter().take_while(|(nodes, _)| *nodes == u64::MAX).count();
    rules.truncate(MOST_RULES + impossible);
    rules.into_iter().map(|(_, rule)| rule).collect()
}

/// An amount by resource, never negative.
fn amount(amounts: &[i64], resource: usize) -> i64 {
    amounts.get(resource).copied().unwrap_or(0).max(0)
}

impl Model {
    pub(super) fn new(problem: &Problem) -> Self {
        Self::of(problem, true)
    }

    /// Without the columns of which there are few.
    pub(super) fn endless(problem: &Problem) -> Self {
        let mut model = Self::of(problem, false);
        let price = |column: usize| model.prices[column].max(model.least_price * 1e-6);
        let alone = |group: usize| model.cheapest_alone(group, price);
        model.alone = (0..model.groups.len())
            .map(|group| alone(group).map_or(f64::INFINITY, |(_, each)| each))
            .collect();
        model
    }

    fn of(problem: &Problem, with_limited: bool) -> Self {
        let rules = tight_rules(problem);
        let resources = problem
            .classes
            .iter()
            .map(|class| class.requests.len())
            .max()
            .unwrap_or(0);
        let mut model = Self {
            rows: resources + rules.len(),
            ..Self::default()
        };
        let columns = model.add_columns(problem, resources, &rules, with_limited);
        model.add_groups(problem, resources, &rules, &columns);
        model.prune();
        model.scale();
        model.index();
        model.limited = (0..model.columns.len())
            .filter(|column| model.copies[*column].is_finite())
            .collect();
        let least = model
            .prices
            .iter()
            .copied()
            .filter(|price| *price > 0.0)
            .reduce(f64::min);
        model.least_price = least.unwrap_or(1.0);
        model
    }

    /// The row of the master problem that counts the copies of a column.
    pub(super) fn limit_row(&self, column: usize) -> Option<usize> {
        let index = self.limited.binary_search(&column).ok()?;
        Some(self.groups.len() + index)
    }

    /// Whether a group has a column of which there are always more.
    pub(super) fn has_endless(&self, group: usize) -> bool {
        (0..self.columns.len()).any(|column| self.copies[column].is_infinite() && self.fits(column)[group])
    }

    /// Whether a group can be placed at no price.
    pub(super) fn is_free(&self, group: usize) -> bool {
        (0..self.columns.len()).any(|column| {
            self.prices[column] == 0.0 && self.copies[column].is_infinite() && self.fits(column)[group]
        })
    }

    pub(super) fn capacity(&self, column: usize) -> &[f64] {
        &self.capacity[column * self.rows..(column + 1) * self.rows]
    }

    pub(super) fn requests(&self, group: usize) -> &[f64] {
        &self.requests[group * self.rows..(group + 1) * self.rows]
    }

    pub(super) fn exact_capacity(&self, column: usize) -> &[i64] {
        &self.exact_capacity[column * self.rows..(column + 1) * self.rows]
    }

    pub(super) fn exact_requests(&self, group: usize) -> &[i64] {
        &self.exact_requests[group * self.rows..(group + 1) * self.rows]
    }

    pub(super) fn fits(&self, column: usize) -> &[bool] {
        let groups = self.groups.len();
        &self.fits[column * groups..(column + 1) * groups]
    }

    /// How many pods of a group one node takes, all of them at most.
    pub(super) fn most_of(&self, column: usize, group: usize) -> u32 {
        if !self.fits(column)[group] {
            return 0;
        }
        let count = i64::from(self.groups[group].count);
        let most = self
            .exact_requests(group)
            .iter()
            .zip(self.exact_capacity(column))
            .filter(|(request, _)| **request > 0)
            .map(|(request, capacity)| capacity / request)
            .fold(count, i64::min);
        u32::try_from(most.max(0)).unwrap_or(0)
    }

    /// The column that is cheapest for a group alone at prices that are finite where it may be used, and what a pod costs
    /// there.
    pub(super) fn cheapest_alone(&self, group: usize, price: impl Fn(usize) -> f64) -> Option<(usize, f64)> {
        let requests = self.requests(group).iter().enumerate();
        let inverse: Vec<(usize, f64)> = requests
            .filter(|(_, request)| **request > 0.0)
            .map(|(row, request)| (row, 1.0 / request))
            .collect();
        let mut best: Option<(usize, f64)> = None;
        for column in (0..self.columns.len()).filter(|column| self.fits(*column)[group]) {
            let capacity = self.capacity(column);
            let shares = inverse.iter().map(|(row, inverse)| capacity[*row] * inverse);
            let most = (shares.fold(f64::MAX, f64::min) * (1.0 + 1e-12))
                .floor()
                .min(self.counts[group]);
            let each = price(column) / most.max(1.0);
            if each < best.map_or(f64::INFINITY, |best| best.1) {
                best = Some((column, each));
            }
        }
        best
    }

    /// The groups with pods left, as many as `counts` says, and the columns that are no dearer than `ceiling`, which come
    /// first and keep their indexes; the groups' indexes here are the second answer.
    pub(super) fn restricted(&self, counts: &[u32], ceiling: f64) -> (Self, Vec<usize>) {
        let kept: Vec<usize> = (0..self.groups.len())
            .filter(|&group| counts[group] > 0)
            .collect();
        let columns = self.prices.partition_point(|price| *price <= ceiling);
        let mut model = Self {
            rows: self.rows,
            columns: self.columns[..columns].to_vec(),
            prices: self.prices[..columns].to_vec(),
            copies: self.copies[..columns].to_vec(),
            exact_capacity: self.exact_capacity[..columns * self.rows].to_vec(),
            capacity: self.capacity[..columns * self.rows].to_vec(),
            limited: self
                .limited
                .iter()
                .copied()
                .filter(|column| *column < columns)
                .collect(),
            least_price: self.least_price,
            ..Self::default()
        };
        for &group in &kept {
            model.groups.push(Group {
                count: counts[group],
                members: self.groups[group].members.clone(),
            });
            model.exact_requests.extend_from_slice(self.exact_requests(group));
            model.requests.extend_from_slice(self.requests(group));
            model.alone.extend(self.alone.get(group));
        }
        model.fits = (0..columns)
            .flat_map(|column| kept.iter().map(move |&group| self.fits(column)[group]))
            .collect();
        model.index();
        (model, kept)
    }

    /// Columns that can be bought, cheapest first, with those that are alike as one; gives, for each, what stands for it
    /// in the problem.
    fn add_columns(
        &mut self,
        problem: &Problem,
        resources: usize,
        rules: &[TightRule],
        with_limited: bool,
    ) -> Vec<usize> {
        let buyable = |&index: &usize| {
            let column = &problem.columns[index];
            column.price.is_finite() && (column.copies.is_none() || with_limited && column.copies != Some(0))
        };
        let mut order: Vec<usize> = (0..problem.columns.len()).filter(buyable).collect();
        let price = |index: usize| problem.columns[index].price.max(0.0);
        order.sort_by(|&a, &b| price(a).total_cmp(&price(b)));
        for &index in &order {
            let column = &problem.columns[index];
            self.columns.push(index);
            self.prices.push(price(index));
            self.copies.push(column.copies.map_or(f64::INFINITY, f64::from));
            self.exact_capacity
                .extend((0..resources).map(|resource| amount(&column.allocatable, resource)));
            // What there is few of may stand for several nodes.
            let most = |rule: &TightRule| match column.copies {
                None => i64::from(rule.most),
                Some(_) => rule.pods.max(i64::from(rule.most)),
            };
            self.exact_capacity.extend(rules.iter().map(most));
        }
        order
    }

    fn add_groups(&mut self, problem: &Problem, resources: usize, rules: &[TightRule], columns: &[usize]) {
        let mut kinds: BTreeMap<(Vec<i64>, &ColumnSet), Vec<usize>> = BTreeMap::new();
        for (index, class) in problem
            .classes
            .iter()
            .enumerate()
            .filter(|(_, class)| class.count > 0)
        {
            let mut requests: Vec<i64> = (0..resources)
                .map(|resource| amount(&class.requests, resource))
                .collect();
            requests.extend(rules.iter().map(|rule| i64::from(rule.counts[index])));
            let kind = (requests, &class.fits);
            kinds.entry(kind).or_default().push(index);
        }
        let mut groups: BTreeMap<(Vec<i64>, ColumnSet), Group> = BTreeMap::new();
        for ((requests, fits), members) in kinds {
            let fits = self.fitting(&requests, fits, columns);
            if fits.is_empty() {
                self.unplaceable.extend(members);
                continue;
            }
            let group = groups.entry((requests, fits)).or_default();
            for index in members {
                group.count = group.count.saturating_add(problem.classes[index].count);
                group.members.push(index);
            }
            group.members.sort_unstable();
        }
        self.unplaceable.sort_unstable();
        let mut fits = vec![Vec::new(); columns.len()];
        for ((requests, set), group) in groups {
            self.groups.push(group);
            self.exact_requests.extend(requests);
            for (column, row) in fits.iter_mut().enumerate() {
                row.push(set.contains(column));
            }
        }
        self.fits = fits.concat();
    }

    /// The columns of the model, of those that suit, that are large enough.
    fn fitting(&self, requests: &[i64], suit: &ColumnSet, columns: &[usize]) -> ColumnSet {
        let is_large = |column: &usize| {
            let capacity = self.exact_capacity(*column).iter();
            requests
                .iter()
                .zip(capacity)
                .all(|(request, capacity)| request <= capacity)
        };
        (0..columns.len())
            .filter(|column| suit.contains(columns[*column]))
            .filter(is_large)
            .collect()
    }

    /// Takes out columns that another one beats: no dearer, no smaller, fit for the same pods and as many to be had.
    fn prune(&mut self) {
        let mut kept: Vec<usize> = Vec::new();
        for column in 0..self.columns.len() {
            let useful = self.fits(column).contains(&true);
            if useful && !kept.iter().any(|&other| self.dominates(other, column)) {
                kept.push(column);
            }
        }
        let capacities = kept
            .iter()
            .flat_map(|&column| self.exact_capacity(column).iter().copied());
        self.exact_capacity = capacities.collect();
        self.fits = kept
            .iter()
            .flat_map(|&column| self.fits(column).iter().copied())
            .collect();
        self.columns = kept.iter().map(|&column| self.columns[column]).collect();
        self.prices = kept.iter().map(|&column| self.prices[column]).collect();
        self.copies = kept.iter().map(|&column| self.copies[column]).collect();
    }

    /// Whether `better`, which is no dearer, makes `column` needless.
    fn dominates(&self, better: usize, column: usize) -> bool {
        let room = self
            .exact_capacity(better)
            .iter()
            .zip(self.exact_capacity(column));
        self.copies[better].is_infinite()
            && room.clone().all(|(better, column)| better >= column)
            && self
                .fits(better)
                .iter()
                .zip(self.fits(column))
                .all(|(better, column)| better >= column)
    }

    #[allow(clippy::cast_precision_loss, reason = "the bound allows for rounding")]
    fn scale(&mut self) {
        let mut scale = vec![1.0_f64; self.rows];
        for column in 0..self.columns.len() {
            for (row, capacity) in self.exact_capacity(column).iter().enumerate() {
                scale[row] = scale[row].max(*capacity as f64);
            }
        }
        let scaled = |exact: &[i64]| -> Vec<f64> {
            let rows = scale.iter().cycle();
            exact
                .iter()
                .zip(rows)
                .map(|(amount, scale)| *amount as f64 / scale)
                .collect()
        };
        self.capacity = scaled(&self.exact_capacity);
        self.requests = scaled(&self.exact_requests);
    }

    /// What is worked out from the rest.
    fn index(&mut self) {
        let (groups, rows) = (self.groups.len(), self.rows);
        self.row_requests = (0..rows)
            .flat_map(|row| (0..groups).map(move |group| group * rows + row))
            .map(|cell| self.requests[cell])
            .collect();
        self.counts = self.groups.iter().map(|group| f64::from(group.count)).collect();
        self.alike.clear();
        for column in 0..self.columns.len() {
            let before = column.saturating_sub(1);
            let same = column > 0 && self.fits(before) == self.fits(column);
            self.alike.push(if same { self.alike[before] } else { column });
        }
    }
}
