//! Objects of one resource with their history, and who watches them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    selectors::{FieldSelector, LabelSelector},
    value,
};

/// One state of one object.
#[derive(Debug)]
pub(crate) struct Entry {
    /// `namespace/name`, or the name alone in cluster scope.
    pub(crate) key: Arc<str>,
    pub(crate) revision: u64,
    pub(crate) value: Arc<Value>,
    /// The JSON text after `kind` and `apiVersion`, made when it is first asked for.
    rest: OnceLock<Bytes>,
}

impl Entry {
    pub(crate) fn new(key: Arc<str>, revision: u64, value: Value) -> Arc<Self> {
        Arc::new(Self {
            key,
            revision,
            value: Arc::new(value),
            rest: OnceLock::new(),
        })
    }

    /// The members of the object but for `kind` and `apiVersion`, without the outer braces.
    pub(crate) fn rest(&self) -> &Bytes {
        self.rest.get_or_init(|| Bytes::from(members(&self.value)))
    }
}

/// The JSON members of an object but for `kind` and `apiVersion`, without the outer braces.
pub(crate) fn members(object: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let Some(map) = object.as_object() else { return out };
    for (key, member) in map {
        if key == "kind" || key == "apiVersion" {
            continue;
        }
        if !out.is_empty() {
            out.push(b',');
        }
        serde_json::to_writer(&mut out, key).expect("strings serialize");
        out.push(b':');
        serde_json::to_writer(&mut out, member).expect("JSON values serialize into memory");
    }
    out
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// It is new.
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
}

impl Verb {
    /// The word of a watch event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// A committed change.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) verb: Verb,
    pub(crate) revision: u64,
    pub(crate) time: Timestamp,
    /// The new state; of a deletion, the last one, carrying the deletion's revision.
    pub(crate) entry: Arc<Entry>,
    pub(crate) previous: Option<Arc<Entry>>,
}

/// What a watcher is told.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) verb: Verb,
    pub(crate) entry: Arc<Entry>,
}

/// Which objects a request is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

impl Filter {
    pub(crate) fn selects_all(&self) -> bool {
        self.name.is_none() && self.labels.is_empty() && self.fields == FieldSelector::default()
    }

    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        let (namespace, name) = entry.key.rsplit_once('/').unwrap_or(("", &entry.key));
        self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
            && self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self.labels.matches(&entry.value)
            && self.fields.matches(&entry.value)
    }

    /// What somebody who sees only the selected objects learns from a change.
    pub(crate) fn view(&self, event: &Event) -> Option<Notice> {
        let now = event.verb != Verb::Deleted && self.matches(&event.entry);
        let before = event
            .previous
            .as_ref()
            .is_some_and(|previous| self.matches(previous));
        let notice = |verb| Notice {
            verb,
            entry: event.entry.clone(),
        };
        match (before, now) {
            (false, true) => Some(notice(Verb::Added)),
            (true, true) => Some(notice(Verb::Modified)),
            (true, false) if event.verb == Verb::Deleted => Some(notice(Verb::Deleted)),
            // It left the selection: its last selected state, at the revision of the change.
            (true, false) => event.previous.as_ref().map(|previous| Notice {
                verb: Verb::Deleted,
                entry: at_revision(previous, event.revision),
            }),
            (false, false) => None,
        }
    }
}

/// The same state, carrying another revision.
pub(crate) fn at_revision(entry: &Entry, revision: u64) -> Arc<Entry> {
    let mut object = Value::clone(&entry.value);
    value::set(
        &mut object,
        &["metadata", "resourceVersion"],
        revision.to_string(),
    );
    Entry::new(entry.key.clone(), revision, object)
}

#[derive(Debug)]
struct Watcher {
    filter: Arc<Filter>,
    after: u64,
    sender: mpsc::UnboundedSender<Notice>,
}

/// The objects of one resource.
#[derive(Debug)]
pub(crate) struct Store {
    /// The resource's group and plural.
    pub(crate) group: String,
    pub(crate) plural: String,
    objects: BTreeMap<Arc<str>, Arc<Entry>>,
    history: VecDeque<Arc<Event>>,
    /// A watch may start after this revision or a later one.
    pub(crate) oldest: u64,
    watchers: Vec<Watcher>,
    /// For pods: keys by the node that they are bound to.
    by_node: Option<BTreeMap<String, BTreeSet<Arc<str>>>>,
}

/// History is kept at least this long, and at least this many events.
const HISTORY_SECONDS: i64 = 75;
const HISTORY_EVENTS: usize = 512;

impl Store {
    pub(crate) fn new(group: &str, plural: &str, revision: u64) -> Self {
        let pods = group.is_empty() && plural == "pods";
        Self {
            group: group.to_owned(),
            plural: plural.to_owned(),
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            oldest: revision,
            watchers: Vec::new(),
            by_node: pods.then(BTreeMap::new),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.objects.get(key)
    }

    /// The objects of a namespace, or all, in the order of their keys.
    pub(crate) fn range(&self, namespace: Option<&str>) -> impl Iterator<Item = &Arc<Entry>> {
        let bounds = namespace.map(|namespace| (format!("{namespace}/"), format!("{namespace}0")));
        let range = match &bounds {
            // '0' is the character after '/'.
            Some((from, to)) => self
                .objects
                .range::<str, _>((Bound::Included(from.as_str()), Bound::Excluded(to.as_str()))),
            None => self.objects.range::<str, _>((Bound::Unbounded, Bound::Unbounded)),
        };
        range.map(|(_, entry)| entry)
    }

    /// The selected objects in the order of their keys.
    pub(crate) fn list<'a>(&'a self, filter: &'a Filter) -> Box<dyn Iterator<Item = &'a Arc<Entry>> + 'a> {
        let name = filter
            .name
            .as_deref()
            .or_else(|| filter.fields.exact("metadata.name"));
        if let (Some(name), Some(namespace)) = (name, &filter.namespace) {
            let found = self.objects.get(format!("{namespace}/{name}").as_str());
            return Box::new(found.into_iter().filter(|entry| filter.matches(entry)));
        }
        if let (Some(by_node), Some(node)) = (&self.by_node, filter.fields.exact("spec.nodeName")) {
            let keys = by_node.get(node).into_iter().flatten();
            let found = keys.filter_map(|key| self.objects.get(key));
            return Box::new(found.filter(|entry| filter.matches(entry)));
        }
        let range = self.range(filter.namespace.as_deref());
        if filter.selects_all() {
            return Box::new(range);
        }
        Box::new(range.filter(|entry| filter.matches(entry)))
    }

    /// Records a change that was given its revision, and tells who watches.
    pub(crate) fn commit(&mut self, event: Event) -> Arc<Event> {
        let event = Arc::new(event);
        if let Some(by_node) = &mut self.by_node {
            reindex(by_node, &event);
        }
        match event.verb {
            Verb::Deleted => self.objects.remove(&event.entry.key),
            Verb::Added | Verb::Modified => self.objects.insert(event.entry.key.clone(), event.entry.clone()),
        };
        self.watchers.retain(|watcher| {
            if event.revision <= watcher.after {
                return !watcher.sender.is_closed();
            }
            match watcher.filter.view(&event) {
                Some(notice) => watcher.sender.send(notice).is_ok(),
                None => !watcher.sender.is_closed(),
            }
        });
        self.history.push_back(event.clone());
        self.trim(event.time);
        event
    }

    fn trim(&mut self, now: Timestamp) {
        let fresh = SignedDuration::from_secs(HISTORY_SECONDS);
        while self.history.len() > HISTORY_EVENTS {
            match self.history.front() {
                Some(event) if now.duration_since(event.time) > fresh => {
                    self.oldest = event.revision;
                    self.history.pop_front();
                }
                _ => break,
            }
        }
    }

    /// What happened after `revision`; `None` if that is too long ago.
    pub(crate) fn since(&self, revision: u64) -> Option<impl Iterator<Item = &Arc<Event>>> {
        if revision < self.oldest {
            return None;
        }
        let start = self.history.partition_point(|event| event.revision <= revision);
        Some(self.history.range(start..))
    }

    /// The selected objects as they were at `revision`; `None` if that is too long ago.
    pub(crate) fn list_at(&self, filter: &Filter, revision: u64) -> Option<Vec<Arc<Entry>>> {
        // Of every object that has changed since: its state before the first of these changes.
        let mut before: BTreeMap<Arc<str>, Option<Arc<Entry>>> = BTreeMap::new();
        for event in self.since(revision)? {
            before
                .entry(event.entry.key.clone())
                .or_insert_with(|| event.previous.clone());
        }
        let mut entries: Vec<Arc<Entry>> = self
            .range(filter.namespace.as_deref())
            .filter(|entry| !before.contains_key(&entry.key))
            .cloned()
            .collect();
        entries.extend(before.into_values().flatten());
        entries.retain(|entry| filter.matches(entry));
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Some(entries)
    }

    /// Tells `sender` of every selected change after `after`.
    pub(crate) fn watch(&mut self, filter: Arc<Filter>, after: u64, sender: mpsc::UnboundedSender<Notice>) {
        self.watchers.push(Watcher {
            filter,
            after,
            sender,
        });
    }

    /// Ends all watches, as when a CRD goes.
    pub(crate) fn close(&mut self) {
        self.watchers.clear();
    }

    /// Drops the history, so that older watches are refused.
    pub(crate) fn compact(&mut self, revision: u64) {
        self.history.clear();
        self.oldest = revision;
    }
}

fn reindex(by_node: &mut BTreeMap<String, BTreeSet<Arc<str>>>, event: &Event) {
    let node = |entry: &Arc<Entry>| value::text(&entry.value, &["spec", "nodeName"]).to_owned();
    let before = event.previous.as_ref().map(node);
    let after = (event.verb != Verb::Deleted).then(|| node(&event.entry));
    if before == after {
        return;
    }
    if let Some(before) = before
        && let Some(keys) = by_node.get_mut(&before)
    {
        keys.remove(&event.entry.key);
        if keys.is_empty() {
            by_node.remove(&before);
        }
    }
    if let Some(after) = after {
        by_node.entry(after).or_default().insert(event.entry.key.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(revision: u64, app: &str) -> Arc<Entry> {
        let value = json!({"metadata": {"name": "a", "namespace": "n", "labels": {"app": app}}});
        Entry::new("n/a".into(), revision, value)
    }

    fn event(verb: Verb, revision: u64, app: &str, before: Option<&str>) -> Event {
        Event {
            verb,
            revision,
            time: Timestamp::UNIX_EPOCH,
            entry: entry(revision, app),
            previous: before.map(|app| entry(revision - 1, app)),
        }
    }

    #[test]
    fn a_selection_sees_objects_come_and_go_by_their_labels() {
        let filter = Filter {
            labels: LabelSelector::parse("app=web").unwrap(),
            ..Filter::default()
        };
        let cases = [
            (event(Verb::Added, 2, "web", None), Some(Verb::Added)),
            (event(Verb::Added, 2, "db", None), None),
            (event(Verb::Modified, 2, "web", Some("web")), Some(Verb::Modified)),
            (event(Verb::Modified, 2, "web", Some("db")), Some(Verb::Added)),
            (event(Verb::Modified, 2, "db", Some("web")), Some(Verb::Deleted)),
            (event(Verb::Modified, 2, "db", Some("db")), None),
            (event(Verb::Deleted, 2, "web", Some("web")), Some(Verb::Deleted)),
        ];
        for (event, expected) in cases {
            let seen = filter.view(&event);
            assert_eq!(seen.as_ref().map(|notice| notice.verb), expected, "{event:?}");
        }
        let left = filter.view(&event(Verb::Modified, 2, "db", Some("web"))).unwrap();
        assert_eq!(left.entry.value["metadata"]["labels"]["app"], "web");
        assert_eq!(left.entry.value["metadata"]["resourceVersion"], "2");
    }

    #[test]
    fn a_namespace_is_a_range_of_keys() {
        let mut store = Store::new("", "configmaps", 0);
        for (revision, key) in ["a-b/x", "a/x", "a/y", "ab/x"].into_iter().enumerate() {
            let revision = revision as u64 + 1;
            let entry = Entry::new(key.into(), revision, json!({}));
            let time = Timestamp::UNIX_EPOCH;
            store.commit(Event {
                verb: Verb::Added,
                revision,
                time,
                entry,
                previous: None,
            });
        }
        let keys: Vec<&str> = store.range(Some("a")).map(|entry| &*entry.key).collect();
        assert_eq!(keys, ["a/x", "a/y"]);
        assert_eq!(store.range(None).count(), 4);
        assert_eq!(store.since(2).unwrap().count(), 2);
        store.compact(4);
        assert!(store.since(2).is_none());
    }
}
