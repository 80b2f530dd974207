//! Reading files of values.

use std::path::Path;

use serde_json::Value;

use super::Values;
use crate::input::InputProblems;

/// The defaults with what the files say; a later file wins. As with Helm, lists are replaced, mappings are merged, and
/// `null` takes away what was there.
///
/// # Errors
/// Every problem of every file.
pub fn read<P: AsRef<Path>>(files: &[P]) -> Result<Values, InputProblems> {
    let mut problems = InputProblems::default();
    let mut merged = serde_json::to_value(Values::default()).unwrap_or_default();
    for path in files {
        let name = path.as_ref().display().to_string();
        match load(path.as_ref()) {
            Ok(Value::Null) => {}
            Ok(value) => {
                let mut with = merged.clone();
                merge(&mut with, value);
                fill(&mut with, &merged);
                // Checked after each file, so that the message names the one that is wrong.
                match serde_json::from_value::<Values>(with.clone()) {
                    Ok(_) => merged = with,
                    Err(error) => problems.file(&name, error.to_string()),
                }
            }
            Err(message) => problems.file(&name, message),
        }
    }
    let values = serde_json::from_value(merged).unwrap_or_default();
    problems.or(values)
}

fn load(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(&text).map_err(|error| error.to_string())
}

fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                if value.is_null() {
                    target.remove(&name);
                } else {
                    merge(target.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (target, patch) => *target = patch,
    }
}

/// Puts something empty where something known was taken away.
fn fill(target: &mut Value, known: &Value) {
    let (Some(target), Some(known)) = (target.as_object_mut(), known.as_object()) else {
        return;
    };
    for (name, value) in known {
        match target.get_mut(name) {
            // What it holds is open, and what was taken away there stays away.
            Some(_) if name == "resources" => {}
            Some(inner) => fill(inner, value),
            None => {
                let empty = match value {
                    Value::Array(_) => Value::Array(Vec::new()),
                    Value::Object(_) => Value::Object(serde_json::Map::new()),
                    Value::String(_) => Value::from(""),
                    // A number or a switch cannot be empty: this is refused.
                    _ => Value::Null,
                };
                target.insert(name.clone(), empty);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(texts: &[&str]) -> Result<Values, InputProblems> {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..texts.len())
            .map(|index| folder.path().join(format!("{index}.yaml")))
            .collect();
        for (path, text) in paths.iter().zip(texts) {
            std::fs::write(path, text).unwrap();
        }
        read(&paths)
    }

    #[test]
    fn later_files_win_and_lists_are_replaced() {
        let values = from(&[
            "replicas: 3\nwatchNamespaces: [a, b]\nresources: {requests: {cpu: 1}}\n",
            "# nothing but the namespaces\nwatchNamespaces: [c]\nresources: {limits: null}\n",
        ])
        .unwrap();
        assert_eq!(values.replicas, 3);
        assert_eq!(values.watch_namespaces, ["c"]);
        assert_eq!(
            Value::Object(values.resources),
            serde_json::json!({"requests": {"cpu": 1, "memory": "100Mi"}})
        );
        assert_eq!(from(&["# nothing\n"]).unwrap(), Values::default());
        let values = from(&["resources: null\npod: {tolerations: null, priorityClassName: null}\n"]).unwrap();
        assert!(values.resources.is_empty() && values.pod.tolerations.is_empty());
        assert_eq!(values.pod.priority_class_name, "");
        assert!(from(&["replicas: null\n"]).is_err());
    }

    #[test]
    fn what_nobody_knows_is_reported_with_its_file() {
        let problems = from(&["replica: 3\n", "provider: gcp\n"]).unwrap_err();
        let text = problems.to_string();
        assert!(text.contains("0.yaml") && text.contains("`replica`"), "{text}");
        assert!(text.contains("1.yaml"), "{text}");
    }
}
