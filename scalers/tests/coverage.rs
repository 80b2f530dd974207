//! KEDA's keys against ours: which are read, from where, with which default. `cargo xtask coverage` prints the table.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what tests share fails them")]

use std::collections::{BTreeMap, BTreeSet};

use scaler_api::{Field, Registry, Source};

/// What KEDA publishes.
const KEDA: &str = include_str!("coverage/keda.txt");

/// What is not as KEDA has it: type, key, and why. `*` is any type.
const GAPS: &[(&str, &str, &str)] = &[
    (
        "redis-sentinel",
        "sentinelMaster",
        "required: without it a sentinel cannot say which server is meant, which KEDA finds out when it connects",
    ),
    (
        "redis-sentinel-streams",
        "sentinelMaster",
        "required: without it a sentinel cannot say which server is meant, which KEDA finds out when it connects",
    ),
];

/// One key as KEDA has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    names: Vec<&'static str>,
    required: bool,
    default: Option<&'static str>,
    /// Where it may come from, if that is known.
    sources: Option<Vec<Source>>,
}

impl Key {
    fn parse(line: &'static str) -> Self {
        let (what, places) = line.trim().rsplit_once(' ').unwrap();
        let (names, default) = match what.split_once('=') {
            Some((names, default)) => (names, Some(default)),
            None => (what, None),
        };
        let sources = places.split(',').map(|place| match place {
            "M" => Source::Metadata,
            "E" => Source::Environment,
            "A" => Source::Authentication,
            other => panic!("{line:?}: {other:?} is no place"),
        });
        Self {
            names: names.trim_end_matches('!').split('|').collect(),
            required: names.ends_with('!'),
            default,
            sources: (places != "-").then(|| sources.collect()),
        }
    }

    /// In which ways a field of ours is less than this.
    fn lacks(&self, field: &Field) -> Vec<String> {
        let mut lacks = Vec::new();
        for name in &self.names {
            if *name != field.name && !field.aliases.contains(name) {
                lacks.push(format!("the spelling {name:?}"));
            }
        }
        if let Some(default) = self.default
            && !same(field.default.unwrap_or_default(), default)
        {
            lacks.push(format!("the default {default:?}, it is {:?}", field.default));
        }
        // What is not required there must not be required here.
        if field.required && !self.required {
            lacks.push("that it may be missing".to_owned());
        }
        if let Some(sources) = &self.sources {
            let ours: Vec<Source> = field
                .sources
                .iter()
                .copied()
                .filter(|source| sources.contains(source))
                .collect();
            if ours != *sources {
                lacks.push(format!("the places {sources:?}, they are {:?}", field.sources));
            }
        }
        lacks
    }
}

/// Whether two defaults mean the same.
fn same(ours: &str, theirs: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    match (number(ours), number(theirs)) {
        (Some(ours), Some(theirs)) => (ours - theirs).abs() < f64::EPSILON,
        _ => ours == theirs || ours.is_empty() && matches!(theirs, "false" | "0"),
    }
}

/// KEDA's keys by type.
fn keda() -> BTreeMap<&'static str, Vec<Key>> {
    let mut blocks: BTreeMap<&str, Vec<&'static str>> = BTreeMap::new();
    let mut heads: Vec<&str> = Vec::new();
    for line in KEDA
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if line.starts_with(' ') {
            for head in &heads {
                blocks.entry(head).or_default().push(line.trim());
            }
        } else {
            heads = line.split(' ').collect();
        }
    }
    fn keys(lines: &[&'static str], blocks: &BTreeMap<&str, Vec<&'static str>>) -> Vec<Key> {
        let keys = lines.iter().flat_map(|line| match line.starts_with('@') {
            true => keys(&blocks[line], blocks),
            false => vec![Key::parse(line)],
        });
        keys.collect()
    }
    let types = blocks.iter().filter(|(head, _)| !head.starts_with('@'));
    types.map(|(head, lines)| (*head, keys(lines, &blocks))).collect()
}

/// What a type lacks: the key and in which way.
fn gaps(keys: &[Key], fields: &[Field]) -> Vec<(&'static str, String)> {
    let mut gaps = Vec::new();
    for key in keys {
        let found = fields.iter().find(|field| {
            key.names
                .iter()
                .any(|name| field.name == *name || field.aliases.contains(name))
        });
        match found {
            None => gaps.push((key.names[0], "it is not read".to_owned())),
            Some(field) => {
                let lacks = key.lacks(field);
                gaps.extend((!lacks.is_empty()).then(|| (key.names[0], lacks.join("; "))));
            }
        }
    }
    gaps
}

fn reason(trigger_type: &str, key: &str) -> Option<&'static str> {
    let listed = GAPS
        .iter()
        .find(|(type_, name, _)| (*type_ == "*" || *type_ == trigger_type) && *name == key);
    listed.map(|(.., reason)| *reason)
}

#[test]
fn every_key_of_keda_s_is_read_as_it_reads_it_or_the_gap_has_a_reason() {
    let mut registry = Registry::new();
    scalers::register_all(&mut registry);
    let mut table = String::from("type                     keys  as in KEDA  more of ours  gaps\n");
    let (mut all, mut covered, mut types) = (0, 0, 0);
    let mut unexplained = Vec::new();
    let mut used = BTreeSet::new();
    let keda = keda();
    for (name, keys) in &keda {
        let Some(fields) = registry.fields(name) else {
            table += &format!("{name:<24} {:>4}  not built in\n", keys.len());
            continue;
        };
        let gaps = gaps(keys, fields);
        let theirs: BTreeSet<&str> = keys.iter().flat_map(|key| key.names.iter().copied()).collect();
        let more = fields.iter().filter(|field| !theirs.contains(field.name)).count();
        let named: Vec<&str> = gaps.iter().map(|(key, _)| *key).collect();
        table += &format!(
            "{name:<24} {:>4}  {:>10}  {more:>12}  {}\n",
            keys.len(),
            keys.len() - gaps.len(),
            named.join(", ")
        );
        types += 1;
        all += keys.len();
        covered += keys.len() - gaps.len();
        for (key, gap) in gaps {
            match reason(name, key) {
                Some(reason) => {
                    used.insert((key, reason));
                    table += &format!("    {key}: {gap}: {reason}\n");
                }
                None => unexplained.push(format!("{name} {key}: lacks {gap}")),
            }
        }
    }
    let more: Vec<_> = registry.types().filter(|name| !keda.contains_key(name)).collect();
    table += &format!(
        "\n{types} types, {covered} of {all} keys as in KEDA; types without a list here: {more:?}\n"
    );
    println!("{table}");
    assert!(
        unexplained.is_empty(),
        "gaps without a reason:\n{}",
        unexplained.join("\n")
    );
    let is_built_in = |name: &str| name == "*" || registry.fields(name).is_some();
    let stale: Vec<_> = GAPS
        .iter()
        .filter(|(name, key, reason)| is_built_in(name) && !used.contains(&(*key, *reason)))
        .collect();
    assert!(stale.is_empty(), "these gaps are closed: {stale:?}");
    // A type that is built in is held against KEDA, or stands beyond it.
    assert!(
        more.iter().all(|name| scalers::feature(name).is_some()),
        "{more:?}"
    );
}

#[test]
fn a_key_lacks_what_is_not_as_in_keda() {
    const OURS: Field = Field::new("size", "The size.").default("5");
    let lacks = |line: &'static str| Key::parse(line).lacks(&OURS).len();
    assert_eq!(lacks("size=5 M"), 0);
    assert_eq!(lacks("size=5.0 M"), 0);
    assert_eq!(lacks("size=6 M"), 1);
    assert_eq!(lacks("size=5 A,M"), 1);
    assert_eq!(lacks("size|length=5 -"), 1);
    assert_eq!(
        gaps(&[Key::parse("other M")], &[OURS]),
        [("other", "it is not read".to_owned())]
    );
}
