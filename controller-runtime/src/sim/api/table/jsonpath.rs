//! The part of kubectl's JSONPath that printer columns use.

use serde_json::Value;

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member(String),
    Index(i64),
    All,
    /// `[?(@.a.b=="c")]`
    Where(Vec<String>, bool, String),
}

/// Every value at `path`, e.g. `.status.conditions[?(@.type=="Ready")].status`.
pub(crate) fn find<'a>(object: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![object];
    for step in parse(path) {
        found = found.into_iter().flat_map(|value| take(value, &step)).collect();
    }
    found
}

fn take<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    let list = || value.as_array().map_or(&[][..], Vec::as_slice);
    match step {
        Step::Member(name) => value.get(name).into_iter().collect(),
        Step::Index(index) => {
            let length = i64::try_from(list().len()).unwrap_or(i64::MAX);
            let index = if *index < 0 { length + index } else { *index };
            usize::try_from(index)
                .ok()
                .and_then(|index| list().get(index))
                .into_iter()
                .collect()
        }
        Step::All => match value {
            Value::Object(map) => map.values().collect(),
            _ => list().iter().collect(),
        },
        Step::Where(path, equal, wanted) => list()
            .iter()
            .filter(|item| {
                let found = path.iter().try_fold(*item, |value, step| value.get(step));
                let text = found.map(|found| found.as_str().map_or_else(|| found.to_string(), str::to_owned));
                (text.as_deref() == Some(wanted)) == *equal
            })
            .collect(),
    }
}

/// Reads a path; what is not understood ends it.
fn parse(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path.trim().trim_start_matches('{').trim_end_matches('}');
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let Some(end) = closing(inner) else { break };
            let Some(step) = bracket(&inner[..end]) else { break };
            steps.push(step);
            rest = &inner[end + 1..];
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let (name, more) = member(rest);
        if name.is_empty() {
            if !more.starts_with('[') {
                break;
            }
        } else {
            steps.push(if name == "*" {
                Step::All
            } else {
                Step::Member(name)
            });
        }
        rest = more;
    }
    steps
}

/// A name up to the next unescaped `.` or `[`.
fn member(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((index, letter)) = chars.next() {
        match letter {
            '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return (name, &text[index..]),
            other => name.push(other),
        }
    }
    (name, "")
}

/// Where the bracket ends, minding quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (index, letter) in text.char_indices() {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, ']') => return Some(index),
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Option<Step> {
    let inner = inner.trim();
    if inner == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        let (left, equal, right) = match filter.split_once("==") {
            Some((left, right)) => (left, true, right),
            None => filter
                .split_once("!=")
                .map(|(left, right)| (left, false, right))?,
        };
        let path = left
            .trim()
            .strip_prefix('@')?
            .split('.')
            .filter(|step| !step.is_empty());
        return Some(Step::Where(
            path.map(str::to_owned).collect(),
            equal,
            unquoted(right),
        ));
    }
    if inner.starts_with(['"', '\'']) {
        return Some(Step::Member(unquoted(inner).replace("\\.", ".")));
    }
    inner.parse().ok().map(Step::Index)
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn printer_columns_find_their_values() {
        let object = json!({
            "metadata": {"labels": {"node.kubernetes.io/instance-type": "m5"}},
            "spec": {"triggers": [{"type": "a"}, {"type": "b"}]},
            "status": {"conditions": [{"type": "Active", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        let cases = [
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='Active')].status", json!(["False"])),
            (".spec.triggers[*].type", json!(["a", "b"])),
            (".spec.triggers[0].type", json!(["a"])),
            (".spec.triggers[-1].type", json!(["b"])),
            (
                ".metadata.labels.node\\.kubernetes\\.io/instance-type",
                json!(["m5"]),
            ),
            (
                ".metadata.labels['node\\.kubernetes\\.io/instance-type']",
                json!(["m5"]),
            ),
            (".spec.missing", json!([])),
        ];
        for (path, expected) in cases {
            assert_eq!(json!(find(&object, path)), expected, "{path}");
        }
    }
}
