//! Expectations of JSON values that say what was there.

use anyhow::bail;
use serde_json::Value;

/// Whether `value` has everything that `pattern` has: members of objects recursively, lists with as many elements.
/// A null in the pattern means that the member is absent.
pub(crate) fn contains(value: &Value, pattern: Value) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    compare(value, &pattern, "", &mut wrong);
    if !wrong.is_empty() {
        bail!("{}\nin {value}", wrong.join("\n"));
    }
    Ok(())
}

/// Whether two values are equal.
pub(crate) fn same<T>(found: T, expected: T) -> anyhow::Result<()>
where
    T: PartialEq + std::fmt::Debug,
{
    if found != expected {
        bail!("found {found:?}\nexpected {expected:?}");
    }
    Ok(())
}

/// The string at a JSON pointer; empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn compare(value: &Value, pattern: &Value, path: &str, wrong: &mut Vec<String>) {
    match (value, pattern) {
        (Value::Object(members), Value::Object(wanted)) => {
            for (key, wanted) in wanted {
                let member = members.get(key).unwrap_or(&Value::Null);
                compare(member, wanted, &format!("{path}/{key}"), wrong);
            }
        }
        (Value::Array(items), Value::Array(wanted)) if items.len() == wanted.len() => {
            for (index, (item, wanted)) in items.iter().zip(wanted).enumerate() {
                compare(item, wanted, &format!("{path}/{index}"), wrong);
            }
        }
        (value, pattern) if value == pattern => {}
        (value, pattern) => wrong.push(format!("{path} is {value}, not {pattern}")),
    }
}
