//! The question in numbers, and the form of an answer.

/// Pods to place, nodes to be had, and what may not share a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Problem {
    /// Kinds of pods.
    pub classes: Vec<Class>,
    /// Kinds of nodes.
    pub columns: Vec<Column>,
    /// What may not share a node.
    pub rules: Vec<Rule>,
}

/// Pods that differ in nothing that matters here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Class {
    /// How many there are.
    pub count: u32,
    /// What one asks for, by resource, in the units of [`Column::allocatable`]; a resource past the end is not asked
    /// for, a negative amount counts as none.
    pub requests: Vec<i64>,
    /// The columns whose labels and taints suit it. Whether they are large enough is looked at here.
    pub fits: ColumnSet,
}

/// A kind of node: an instance type at the offering that it would be bought at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Column {
    /// What pods may use of one node, by resource, daemons taken off.
    pub allocatable: Vec<i64>,
    /// Per hour. What is not finite cannot be bought; a negative price counts as zero.
    pub price: f64,
    /// How many there are, if they are limited. Such a column may stand for several nodes, so that no rules hold on it:
    /// all nodes that are there already can be one of price zero with all their room.
    pub copies: Option<u32>,
}

/// On a node with a pod of `holders` there are at most `most` pods of `counted`.
///
/// Anti-affinity between hosts is `most` 0, or 1 where the holders count themselves; a spread over hosts is its skew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Indexes of the classes that bring the rule with them.
    pub holders: Vec<usize>,
    /// Indexes of the classes that it counts.
    pub counted: Vec<usize>,
    /// How many of those at most.
    pub most: u32,
}

/// Equal nodes of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PatternNode {
    /// Index of the column.
    pub column: usize,
    /// Class and number of its pods on each of them, by class.
    pub pods: Vec<(usize, u32)>,
    /// How many such nodes.
    pub copies: u32,
}

/// The price of a fleet.
#[must_use]
pub fn price_of(problem: &Problem, fleet: &[PatternNode]) -> f64 {
    fleet
        .iter()
        .map(|node| problem.columns[node.column].price.max(0.0) * f64::from(node.copies))
        .sum()
}

/// A set of columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ColumnSet {
    words: Vec<u64>,
}

impl ColumnSet {
    /// The first `columns` of them.
    #[must_use]
    pub fn all(columns: usize) -> Self {
        (0..columns).collect()
    }

    /// Adds one.
    pub fn insert(&mut self, column: usize) {
        let word = column / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (column % 64);
    }

    /// Takes one out.
    pub fn remove(&mut self, column: usize) {
        if let Some(word) = self.words.get_mut(column / 64) {
            *word &= !(1 << (column % 64));
        }
    }

    /// Whether it is in.
    #[must_use]
    pub fn contains(&self, column: usize) -> bool {
        self.words
            .get(column / 64)
            .is_some_and(|word| word >> (column % 64) & 1 == 1)
    }

    /// Whether none is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Whether all of this set are in `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        let theirs = other.words.iter().copied().chain(std::iter::repeat(0));
        self.words
            .iter()
            .zip(theirs)
            .all(|(mine, theirs)| mine & !theirs == 0)
    }

    /// The columns, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            (0..64)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| index * 64 + bit)
        })
    }
}

impl FromIterator<usize> for ColumnSet {
    fn from_iter<I: IntoIterator<Item = usize>>(columns: I) -> Self {
        let mut set = Self::default();
        columns.into_iter().for_each(|column| set.insert(column));
        set
    }
}
