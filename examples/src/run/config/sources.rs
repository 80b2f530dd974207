//! From flags, environment and file to one value for each setting.

use std::collections::BTreeMap;

use scaler_api::metadata::nearest;
use serde_json::Value as Json;

use super::{
    Effective, Given, Held, Origin,
    foreign::{Foreign, foreign},
    setting::{Name, Setting, settings},
    value::{Kind, Reads, Value},
};
use crate::input::InputProblems;

/// What Kubernetes puts into the environment of a pod for a Service; it looks like a setting where the Service's name
/// is an unlucky one.
fn is_service_link(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme))
}

/// The value of every setting by precedence; what cannot be read is a problem, even where something else overrides it.
pub(super) fn collect(given: &Given, problems: &mut InputProblems, notes: &mut Vec<String>) -> Effective {
    let file = read_file(given, problems);
    let mut effective = BTreeMap::new();
    for setting in settings() {
        let default = setting.kind.parse(setting.default).unwrap_or(Value::Absent);
        let mut held = Held {
            value: default,
            origin: Origin::Default,
        };
        let mut from_file = None;
        if let Some(value) = file.get(setting.path) {
            let name = given.file.as_ref().map_or("file", |(name, _)| name);
            let place = format!("{name}: {}", setting.path);
            from_file = text_of(value, setting.kind)
                .and_then(|text| setting.kind.parse(&text))
                .map_or_else(
                    |expected| {
                        problems.file(&place, format!("{value} cannot be read, expected {expected}"));
                        None
                    },
                    |value| Some((value, Origin::File(name.to_owned()))),
                );
        }
        let environment = from_environment(setting, given, problems, notes);
        let flag = from_flags(setting, given, problems);
        // The strongest comes last.
        for (value, origin) in from_file.into_iter().chain(environment).chain(flag) {
            if value != Value::Absent {
                held = Held { value, origin };
            }
        }
        effective.insert(setting.path, held);
    }
    note_foreign(given, notes);
    note_unknown_environment(given, notes);
    Effective(effective)
}

fn from_environment(
    setting: &Setting,
    given: &Given,
    problems: &mut InputProblems,
    notes: &mut Vec<String>,
) -> Option<(Value, Origin)> {
    let own = (setting.environment(), Reads::Same);
    let aliases = setting.aliases.iter().filter_map(|alias| match alias.name {
        Name::Environment(name) => Some((name.to_owned(), alias.reads)),
        Name::Flag(_) => None,
    });
    let mut first = None;
    for (name, reads) in std::iter::once(own).chain(aliases) {
        let Some(text) = given.environment.get(&name) else {
            continue;
        };
        if is_service_link(text) {
            notes.push(format!(
                "environment {name}: {text:?} is the link to a Service and no setting, so it is left out"
            ));
            continue;
        }
        match reads.parse(setting.kind, text) {
            Ok(Value::Absent) => {}
            Ok(value) => first = first.or(Some((value, Origin::Environment(name)))),
            Err(expected) => problems.file(
                &format!("environment {name}"),
                format!("{text:?} cannot be read, expected {expected}"),
            ),
        }
    }
    first
}

fn from_flags(setting: &Setting, given: &Given, problems: &mut InputProblems) -> Option<(Value, Origin)> {
    let own = (setting.flag, Reads::Same);
    let aliases = setting.aliases.iter().filter_map(|alias| match alias.name {
        Name::Flag(name) => Some((name, alias.reads)),
        Name::Environment(_) => None,
    });
    let mut first: Option<(Value, Origin)> = None;
    for (name, reads) in std::iter::once(own).chain(aliases) {
        let mut said: Option<Value> = None;
        for (_, text) in given.flags.iter().filter(|(flag, _)| flag == name) {
            match reads.parse(setting.kind, text) {
                // A list may be given in parts; of anything else the last word counts.
                Ok(Value::List(items)) => match &mut said {
                    Some(Value::List(all)) => all.extend(items),
                    _ => said = Some(Value::List(items)),
                },
                Ok(value) => said = Some(value),
                Err(expected) => problems.file(
                    &format!("--{name}"),
                    format!("{text:?} cannot be read, expected {expected}"),
                ),
            }
        }
        let said = said.filter(|value| *value != Value::Absent);
        first = first.or(said.map(|value| (value, Origin::Flag(name.to_owned()))));
    }
    first
}

/// The settings of the file by their place; keys that are none are problems.
fn read_file(given: &Given, problems: &mut InputProblems) -> BTreeMap<String, Json> {
    let mut found = BTreeMap::new();
    let Some((name, text)) = &given.file else {
        return found;
    };
    match serde_saphyr::from_str::<Json>(text) {
        Ok(Json::Object(map)) => walk("", &map, name, &mut found, problems),
        Ok(Json::Null) => {}
        Ok(other) => problems.file(name, format!("is {other}, expected a map of settings")),
        Err(error) => problems.file(name, format!("is not YAML: {}", error.without_snippet())),
    }
    found
}

fn walk(
    above: &str,
    map: &serde_json::Map<String, Json>,
    file: &str,
    found: &mut BTreeMap<String, Json>,
    problems: &mut InputProblems,
) {
    for (key, value) in map {
        let path = if above.is_empty() {
            key.clone()
        } else {
            format!("{above}.{key}")
        };
        let inner = format!("{path}.");
        if settings().any(|setting| setting.path == path) {
            found.insert(path, value.clone());
        } else if settings().any(|setting| setting.path.starts_with(&inner)) {
            match value {
                Json::Object(map) => walk(&path, map, file, found, problems),
                Json::Null => {}
                other => problems.file(
                    &format!("{file}: {path}"),
                    format!("{other} cannot be read, expected a map of settings"),
                ),
            }
        } else {
            problems.file(&format!("{file}: {path}"), unknown(&path));
        }
    }
}

/// Whatever level it was meant for, the nearest key that there is.
fn unknown(path: &str) -> String {
    let levels = settings().flat_map(|setting| {
        let dots = setting.path.match_indices('.').map(|(at, _)| at);
        dots.chain([setting.path.len()]).map(|end| &setting.path[..end])
    });
    let last = path.rsplit('.').next().unwrap_or(path);
    let by_path = nearest(path, levels.clone());
    let by_word = || {
        let words = levels
            .clone()
            .map(|level| level.rsplit('.').next().unwrap_or(level));
        let word = nearest(last, words)?;
        levels
            .clone()
            .find(|level| level.rsplit('.').next() == Some(word))
    };
    match by_path.or_else(by_word) {
        Some(near) => format!("is no setting, did you mean {near}?"),
        None => format!("is no setting, expected one of {}", top_level().join(", ")),
    }
}

fn top_level() -> Vec<&'static str> {
    let mut names: Vec<&str> = settings()
        .map(|setting| setting.path.split('.').next().unwrap_or(setting.path))
        .collect();
    names.dedup();
    names
}

/// The text of a value in the file.
fn text_of(value: &Json, kind: Kind) -> Result<String, String> {
    match (value, kind) {
        (Json::String(text), _) => Ok(text.clone()),
        (Json::Bool(on), _) => Ok(on.to_string()),
        (Json::Number(number), _) => Ok(number.to_string()),
        (Json::Null, _) => Ok(String::new()),
        (Json::Array(items), Kind::List) => {
            let items: Result<Vec<String>, String> = items
                .iter()
                .map(|item| match item {
                    Json::String(text) if !text.contains(',') => Ok(text.clone()),
                    _ => Err("a list of texts".to_owned()),
                })
                .collect();
            items.map(|items| items.join(","))
        }
        _ => Err(kind.expected()),
    }
}

/// Says of every setting without a meaning here why it has none.
fn note_foreign(given: &Given, notes: &mut Vec<String>) {
    let note = |setting: &Foreign, name: String, value: &str| {
        let asks = !value.trim().is_empty() && !value.eq_ignore_ascii_case(setting.harmless);
        asks.then(|| {
            let owner = setting.owner.as_str();
            format!(
                "{name} of {owner} ({value:?}) changes nothing here: {}",
                setting.why
            )
        })
    };
    for setting in foreign() {
        let environment = setting.environment.and_then(|name| {
            let value = given.environment.get(name)?;
            note(setting, format!("environment {name}"), value)
        });
        let mut flags = given.flags.iter().rev();
        let flag = setting.flag.and_then(|name| {
            let (_, value) = flags.find(|(flag, _)| flag == name)?;
            note(setting, format!("--{name}"), value)
        });
        notes.extend(environment.into_iter().chain(flag));
    }
}

/// A misspelt variable would otherwise go unnoticed.
fn note_unknown_environment(given: &Given, notes: &mut Vec<String>) {
    let mut known: Vec<String> = settings().map(Setting::environment).collect();
    known.push("AUTOSCALER_CONFIG".to_owned());
    for (name, value) in &given.environment {
        let ours = name.starts_with("AUTOSCALER_") && !known.contains(name);
        let linked = is_service_link(value)
            || ["_HOST", "_PORT", "_PROTO", "_ADDR"]
                .iter()
                .any(|end| name.ends_with(end))
            || name.starts_with("AUTOSCALER_SERVICE_")
            || name.starts_with("AUTOSCALER_TESTS_");
        if !ours || linked {
            continue;
        }
        let hint = nearest(name, known.iter().map(String::as_str))
            .map_or_else(String::new, |near| format!(", did you mean {near}?"));
        notes.push(format!("environment {name} is no setting{hint}"));
    }
}
