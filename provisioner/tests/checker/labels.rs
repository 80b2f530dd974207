//! What may be said of one label, and whether some value (or none) makes it all true.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One expression: `key operator values`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expression {
    pub key: String,
    pub operator: String,
    pub values: Vec<String>,
}

/// Names that mean another label.
fn normal(key: &str) -> &str {
    match key {
        "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        "beta.kubernetes.io/arch" => "kubernetes.io/arch",
        "beta.kubernetes.io/os" => "kubernetes.io/os",
        "beta.kubernetes.io/instance-type" => "node.kubernetes.io/instance-type",
        other => other,
    }
}

impl Expression {
    pub(crate) fn is(key: &str, value: &str) -> Self {
        Self {
            key: normal(key).to_owned(),
            operator: "In".to_owned(),
            values: vec![value.to_owned()],
        }
    }

    pub(crate) fn read(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let values = value["values"].as_array().into_iter().flatten();
        Self {
            key: normal(&text("key")).to_owned(),
            operator: text("operator"),
            values: values
                .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                .collect(),
        }
    }

    pub(crate) fn read_all(list: &Value) -> Vec<Self> {
        list.as_array().into_iter().flatten().map(Self::read).collect()
    }

    /// Whether a label with this value, or without one, satisfies it.
    pub(crate) fn allows(&self, value: Option<&str>) -> bool {
        let named = |value: &str| self.values.iter().any(|one| one == value);
        let bound = || self.values.first().and_then(|bound| bound.parse::<i64>().ok());
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        let compare = |holds: fn(&i64, &i64) -> bool| match (number(), bound()) {
            (Some(number), Some(bound)) => holds(&number, &bound),
            _ => false,
        };
        match self.operator.as_str() {
            "In" => value.is_some_and(named),
            "NotIn" => !value.is_some_and(named),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => compare(i64::gt),
            "Lt" => compare(i64::lt),
            "Gte" => compare(i64::ge),
            "Lte" => compare(i64::le),
            _ => false,
        }
    }
}

/// Labels of which some are certain and others only bounded: a planned node's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    /// Certain.
    pub fixed: BTreeMap<String, String>,
    /// Labels that the node will carry with a value that all of these allow.
    pub open: BTreeMap<String, Vec<Expression>>,
}

impl Labels {
    pub(crate) fn fixed(labels: BTreeMap<String, String>) -> Self {
        let fixed = labels
            .into_iter()
            .map(|(key, value)| (normal(&key).to_owned(), value))
            .collect();
        Self {
            fixed,
            open: BTreeMap::new(),
        }
    }

    /// A label's value, if it is certain.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.fixed.get(normal(key)).map(String::as_str)
    }

    pub(crate) fn is_open(&self, key: &str) -> bool {
        !self.fixed.contains_key(normal(key)) && self.open.contains_key(normal(key))
    }

    /// Adds what is certain to hold; `None` if nothing can make it true.
    pub(crate) fn narrowed(&self, expressions: &[Expression]) -> Option<Self> {
        let mut narrowed = None::<Self>;
        for expression in expressions {
            let now = narrowed.as_ref().unwrap_or(self);
            if let Some(value) = now.fixed.get(&expression.key) {
                if !expression.allows(Some(value)) {
                    return None;
                }
            } else if let Some(others) = now.open.get(&expression.key) {
                if others.contains(expression) {
                    continue;
                }
                let mut all = others.clone();
                all.push(expression.clone());
                // What nothing insists on may be absent.
                if !has_value(&all) && !all.iter().all(|expression| expression.allows(None)) {
                    return None;
                }
                narrowed
                    .get_or_insert_with(|| self.clone())
                    .open
                    .insert(expression.key.clone(), all);
            } else if !expression.allows(None) {
                return None;
            }
        }
        Some(narrowed.unwrap_or_else(|| self.clone()))
    }

    /// Whether these hold, open labels taking whatever value suits.
    pub(crate) fn may(&self, expressions: &[Expression]) -> bool {
        self.narrowed(expressions).is_some()
    }

    /// Whether these hold for certain.
    pub(crate) fn surely(&self, expressions: &[Expression]) -> bool {
        expressions
            .iter()
            .all(|expression| !self.is_open(&expression.key) && expression.allows(self.get(&expression.key)))
    }
}

/// Whether some value satisfies all of them.
fn has_value(expressions: &[Expression]) -> bool {
    let mut candidates: BTreeSet<String> = BTreeSet::from(["some-other-value".to_owned()]);
    for value in expressions.iter().flat_map(|expression| &expression.values) {
        candidates.insert(value.clone());
        if let Ok(number) = value.parse::<i64>() {
            candidates.insert(number.saturating_sub(1).to_string());
            candidates.insert(number.saturating_add(1).to_string());
        }
    }
    candidates.iter().any(|value| {
        expressions
            .iter()
            .all(|expression| expression.allows(Some(value)))
    })
}

/// A label selector as `matchLabels` and `matchExpressions`; nothing selects nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Selector(Vec<Expression>);

impl Selector {
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        let mut expressions = match object.get("matchExpressions") {
            Some(list) => Expression::read_all(list),
            None => Vec::new(),
        };
        // The keys of pods' labels are not aliases of anything.
        for (key, value) in object
            .get("matchLabels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            expressions.push(Expression {
                key: key.clone(),
                operator: "In".to_owned(),
                values: vec![value.as_str().unwrap_or_default().to_owned()],
            });
        }
        expressions.sort();
        Some(Self(expressions))
    }

    /// What both select.
    pub(crate) fn both(self, other: Self) -> Self {
        self.with(other.0)
    }

    pub(crate) fn with(mut self, expressions: impl IntoIterator<Item = Expression>) -> Self {
        self.0.extend(expressions);
        self.0.sort();
        self
    }

    pub(crate) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0
            .iter()
            .all(|expression| expression.allows(labels.get(&expression.key).map(String::as_str)))
    }
}
