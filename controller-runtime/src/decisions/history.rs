//! The last decisions about each object, packed: an idle fleet of thousands keeps a few hundred bytes an object.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;

use super::Decision;

/// How many decisions are kept of an object.
const OF_EACH: usize = 20;
/// How many are kept at all; then the oldest go.
const OF_ALL: usize = 65_536;

/// A decision whose three texts share one allocation.
#[derive(Debug)]
struct Note {
    sequence: u64,
    time: Timestamp,
    controller: &'static str,
    /// From, to, reason.
    words: Box<str>,
    /// Where `to` and the reason begin.
    starts: [u32; 2],
}

impl Note {
    fn of(sequence: u64, decision: &Decision) -> Self {
        let Decision { from, to, reason, .. } = decision;
        let start = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            sequence,
            time: decision.time,
            controller: decision.controller,
            words: [from.as_str(), to, reason].concat().into_boxed_str(),
            starts: [start(from.len()), start(from.len() + to.len())],
        }
    }

    fn to_decision(&self, object: &str) -> Decision {
        let [to, reason] = self.starts.map(|start| start as usize);
        let part = |range: std::ops::Range<usize>| self.words.get(range).unwrap_or_default().to_owned();
        Decision {
            time: self.time,
            controller: self.controller,
            object: object.to_owned(),
            from: part(0..to),
            to: part(to..reason),
            reason: part(reason..self.words.len()),
        }
    }
}

/// Of every object its last decisions.
#[derive(Debug)]
pub(super) struct Histories {
    of: BTreeMap<Arc<str>, VecDeque<Note>>,
    /// In the order in which they were made; some are gone already.
    order: VecDeque<(u64, Arc<str>)>,
    next: u64,
    most: usize,
}

impl Default for Histories {
    fn default() -> Self {
        Self {
            of: BTreeMap::new(),
            order: VecDeque::new(),
            next: 0,
            most: OF_ALL,
        }
    }
}

impl Histories {
    pub(super) fn add(&mut self, decision: &Decision) {
        let object = match self.of.get_key_value(decision.object.as_str()) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(decision.object.as_str()),
        };
        let notes = self.of.entry(Arc::clone(&object)).or_default();
        if notes.len() == OF_EACH {
            notes.pop_front();
        }
        notes.push_back(Note::of(self.next, decision));
        self.order.push_back((self.next, object));
        self.next += 1;
        if self.order.len() > self.most
            && let Some((sequence, object)) = self.order.pop_front()
        {
            self.drop_note(sequence, &object);
        }
    }

    fn drop_note(&mut self, sequence: u64, object: &str) {
        let Some(notes) = self.of.get_mut(object) else {
            return;
        };
        if notes.front().is_some_and(|first| first.sequence == sequence) {
            notes.pop_front();
        }
        if notes.is_empty() {
            self.of.remove(object);
        }
    }

    pub(super) fn about(&self, object: &str) -> Vec<Decision> {
        let notes = self.of.get(object).into_iter().flatten();
        notes.map(|note| note.to_decision(object)).collect()
    }

    pub(super) fn forget(&mut self, object: &str) {
        self.of.remove(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(object: &str, to: usize) -> Decision {
        Decision {
            time: Timestamp::UNIX_EPOCH,
            controller: "test",
            object: object.to_owned(),
            from: String::new(),
            to: to.to_string(),
            reason: format!("it is {to}"),
        }
    }

    #[test]
    fn the_last_decisions_of_each_object_are_kept_as_they_were() {
        let mut histories = Histories::default();
        for to in 0..30 {
            histories.add(&decision("a", to));
        }
        histories.add(&decision("b", 7));
        let kept = histories.about("a");
        assert_eq!(kept.first(), Some(&decision("a", 10)));
        assert_eq!((kept.len(), kept.last()), (20, Some(&decision("a", 29))));
        assert_eq!(histories.about("b"), [decision("b", 7)]);
        histories.forget("a");
        assert!(histories.about("a").is_empty() && histories.about("c").is_empty());
    }

    #[test]
    fn in_all_no_more_are_kept_than_there_is_room_for() {
        let mut histories = Histories {
            most: 3,
            ..Histories::default()
        };
        for (object, to) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            histories.add(&decision(object, to));
        }
        assert_eq!(histories.about("a"), [decision("a", 3)]);
        histories.add(&decision("c", 5));
        assert!(histories.about("b").is_empty());
        assert_eq!((histories.of.len(), histories.order.len()), (2, 3));
    }
}
