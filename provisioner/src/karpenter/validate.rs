//! What a controller checks of a NodePool beyond its schema; every problem is reported at once.

use std::collections::BTreeSet;

use super::{DisruptionReason, NodePool, Operator, RequirementSpec, labels};
use crate::{CapacityType, taints};

/// One problem of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, e.g. `spec.template.spec.requirements[0]`.
    pub field: String,
    /// What is wrong, with the value and what was expected.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Everything that is wrong with a pool; none if empty. The reason of the condition is `NodePoolValidationFailed`.
#[must_use]
pub fn node_pool(pool: &NodePool) -> Vec<Problem> {
    let mut problems = Problems::default();
    let spec = &pool.spec.template.spec;
    for (key, value) in &pool.spec.template.metadata.labels {
        problems.label(&format!("spec.template.metadata.labels[{key}]"), key, value);
    }
    for (index, requirement) in spec.requirements.iter().enumerate() {
        problems.requirement(&format!("spec.template.spec.requirements[{index}]"), requirement);
    }
    problems.taints(spec);
    problems.budgets(pool);
    if pool.is_static() {
        problems.static_pool(pool);
    }
    problems.0
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: &str, message: impl Into<String>) {
        self.0.push(Problem {
            field: field.to_owned(),
            message: message.into(),
        });
    }

    fn label(&mut self, field: &str, key: &str, value: &str) {
        if key == labels::NODEPOOL {
            self.add(field, format!("label {key} is restricted"));
        } else if let Some(restriction) = labels::restriction(key) {
            self.add(field, restriction);
        }
        if !is_label_key(key) {
            self.add(field, format!("{key:?} is no label key, expected [prefix/]name"));
        }
        if !is_label_value(value) {
            self.add(
                field,
                format!("{value:?} is no label value, expected at most 63 of A-Z a-z 0-9 - _ ."),
            );
        }
    }

    fn requirement(&mut self, field: &str, requirement: &RequirementSpec) {
        let key = labels::normalize(&requirement.key);
        if key == labels::NODEPOOL {
            self.add(field, format!("label {key} is restricted"));
        } else if let Some(restriction) = labels::restriction(key) {
            self.add(field, restriction);
        }
        if !is_label_key(key) {
            self.add(field, format!("{key:?} is no label key, expected [prefix/]name"));
        }
        self.values(field, requirement);
        if key == labels::CAPACITY_TYPE && requirement.operator == Operator::In {
            let known = requirement
                .values
                .iter()
                .any(|value| value.parse::<CapacityType>().is_ok());
            if !known {
                let values = &requirement.values;
                self.add(
                    field,
                    format!("values {values:?} name no capacity type, expected on-demand, spot or reserved"),
                );
            }
        }
        if key == "karpenter.k8s.aws/instance-tenancy" {
            for value in requirement
                .values
                .iter()
                .filter(|value| !matches!(value.as_str(), "default" | "dedicated"))
            {
                self.add(
                    field,
                    format!("value {value:?} is no tenancy, expected default or dedicated"),
                );
            }
        }
    }

    fn values(&mut self, field: &str, requirement: &RequirementSpec) {
        let RequirementSpec {
            key,
            operator,
            values,
            min_values,
        } = requirement;
        if *operator == Operator::In && values.is_empty() {
            self.add(
                field,
                format!("key {key} with operator In must have a value defined"),
            );
        }
        if operator.is_bound() {
            let integer = matches!(values.as_slice(), [value] if value.parse::<u64>().is_ok());
            if !integer {
                self.add(
                    field,
                    format!("key {key} with operator {operator} has values {values:?}, expected a single non-negative integer"),
                );
            }
        } else {
            for value in values.iter().filter(|value| !is_label_value(value)) {
                self.add(
                    field,
                    format!("{value:?} is no label value, expected at most 63 of A-Z a-z 0-9 - _ ."),
                );
            }
        }
        if let Some(min) = min_values {
            let enough =
                *operator != Operator::In || usize::try_from(*min).is_ok_and(|min| values.len() >= min);
            if !enough {
                self.add(
                    field,
                    format!("key {key} has minValues {min} but only {} values", values.len()),
                );
            }
        }
    }

    fn taints(&mut self, spec: &super::NodeClaimTemplateSpec) {
        let mut seen = BTreeSet::new();
        let of = |name: &str, index: usize| format!("spec.template.spec.{name}[{index}]");
        let lists = [("taints", &spec.taints), ("startupTaints", &spec.startup_taints)];
        for (name, list) in lists {
            for (index, taint) in list.iter().enumerate() {
                let field = of(name, index);
                if !is_label_key(&taint.key) {
                    self.add(
                        &field,
                        format!("{:?} is no taint key, expected [prefix/]name", taint.key),
                    );
                }
                if !matches!(
                    taint.effect.as_str(),
                    "NoSchedule" | "PreferNoSchedule" | "NoExecute"
                ) {
                    let effect = &taint.effect;
                    self.add(
                        &field,
                        format!("effect {effect:?} is not NoSchedule, PreferNoSchedule or NoExecute"),
                    );
                }
                if !seen.insert((taint.key.clone(), taint.effect.clone())) {
                    self.add(
                        &field,
                        format!("duplicate taint Key/Effect pair {}", taints::display(taint)),
                    );
                }
            }
        }
    }

    fn budgets(&mut self, pool: &NodePool) {
        for (index, budget) in pool.spec.disruption.budgets.iter().enumerate() {
            let field = format!("spec.disruption.budgets[{index}]");
            if budget.schedule.is_some() != budget.duration.is_some() {
                self.add(&field, "'schedule' must be set with 'duration'");
            }
            if let Some(schedule) = &budget.schedule
                && let Err(error) = crate::disrupt::schedule(schedule)
            {
                self.add(&field, error.to_string());
            }
            if crate::disrupt::budget_nodes(&budget.nodes, 100).is_none() {
                self.add(
                    &field,
                    format!(
                        "nodes {:?} is neither a number nor a share such as \"10%\"",
                        budget.nodes
                    ),
                );
            }
            let reasons: BTreeSet<&DisruptionReason> = budget.reasons.iter().flatten().collect();
            if budget
                .reasons
                .as_ref()
                .is_some_and(|given| given.len() != reasons.len())
            {
                self.add(&field, "reasons are repeated");
            }
        }
    }

    fn static_pool(&mut self, pool: &NodePool) {
        if pool.spec.weight.is_some() {
            self.add("spec.weight", "'weight' is not supported on static NodePools");
        }
        let others = pool
            .spec
            .limits
            .iter()
            .flat_map(|limits| limits.0.keys())
            .any(|name| name != "nodes");
        if others {
            self.add(
                "spec.limits",
                "only 'limits.nodes' is supported on static NodePools",
            );
        }
    }
}

fn is_label_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_ok = prefix.is_none_or(|prefix| {
        prefix.len() <= 253
            && prefix.split('.').all(|part| {
                is_edged(part, |c: char| c.is_ascii_alphanumeric())
                    && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            })
    });
    prefix_ok && !name.is_empty() && is_label_value(name)
}

fn is_label_value(value: &str) -> bool {
    value.is_empty()
        || (value.len() <= 63
            && is_edged(value, |c: char| c.is_ascii_alphanumeric())
            && value
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
}

fn is_edged(text: &str, edge: impl Fn(char) -> bool) -> bool {
    text.chars().next().is_some_and(&edge) && text.chars().next_back().is_some_and(&edge)
}
