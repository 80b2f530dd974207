//! Sets of small numbers: types of a template, planned nodes, domains of a label.

/// A set of small numbers. What lies beyond its words is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Every number below `end`.
    pub(super) fn below(end: usize) -> Self {
        let mut words = vec![u64::MAX; end / 64];
        if !end.is_multiple_of(64) {
            words.push((1 << (end % 64)) - 1);
        }
        Self(words)
    }

    /// One number.
    pub(super) fn only(number: usize) -> Self {
        let mut bits = Self::new();
        bits.insert(number);
        bits
    }

    pub(super) fn insert(&mut self, number: usize) {
        let word = number / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    pub(super) fn remove(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    pub(super) fn has(&self, number: usize) -> bool {
        self.word(number / 64) >> (number % 64) & 1 == 1
    }

    /// The 64 numbers from `64 * index` on.
    pub(super) fn word(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// How many words hold all that is in it.
    pub(super) fn words(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn first(&self) -> Option<usize> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }

    /// The number, if it is the only one.
    pub(super) fn single(&self) -> Option<usize> {
        let first = self.first()?;
        let word = first / 64;
        let alone = self.0[word].is_power_of_two() && self.0[word + 1..].iter().all(|word| *word == 0);
        alone.then_some(first)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(index, &word)| {
            let some = |rest: u64| (rest != 0).then_some(rest);
            std::iter::successors(some(word), move |rest| some(rest & (rest - 1)))
                .map(move |rest| index * 64 + rest.trailing_zeros() as usize)
        })
    }

    /// Whether something is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(&other.0)
            .any(|(one, another)| one & another != 0)
    }

    /// Whether all of it is in `other`.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.0
            .iter()
            .enumerate()
            .all(|(index, word)| word & !other.word(index) == 0)
    }

    /// Keeps what is also in `other`.
    pub(super) fn keep(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        for (one, another) in self.0.iter_mut().zip(&other.0) {
            *one &= another;
        }
    }

    /// Drops what is in `other`.
    pub(super) fn drop_all(&mut self, other: &Self) {
        for (one, another) in self.0.iter_mut().zip(&other.0) {
            *one &= !another;
        }
    }

    /// Takes in what is in `other`.
    pub(super) fn join(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (one, another) in self.0.iter_mut().zip(&other.0) {
            *one |= another;
        }
    }

    /// What is in both.
    pub(super) fn both(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(one, another)| one & another)
                .collect(),
        )
    }

    /// Without words that hold nothing at its end, so that equal sets are equal values.
    pub(super) fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }
}

impl FromIterator<usize> for Bits {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        let mut bits = Self::new();
        numbers.into_iter().for_each(|number| bits.insert(number));
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_different_lengths_work_together() {
        let few: Bits = [1, 63, 64].into_iter().collect();
        let many: Bits = [1, 64, 200].into_iter().collect();
        assert_eq!(few.both(&many).iter().collect::<Vec<_>>(), [1, 64]);
        assert!(few.meets(&many) && !few.is_within(&many) && Bits::only(200).is_within(&many));
        let mut joined = few.clone();
        joined.join(&many);
        assert_eq!(joined.iter().collect::<Vec<_>>(), [1, 63, 64, 200]);
        joined.drop_all(&few);
        assert_eq!(joined.single(), Some(200));
        let mut kept = many;
        kept.keep(&few);
        assert_eq!((kept.len(), kept.single(), kept.first()), (2, None, Some(1)));
        assert_eq!(Bits::below(65).len(), 65);
        joined.remove(200);
        assert!(joined.is_empty() && joined.trimmed() == Bits::new());
    }
}
