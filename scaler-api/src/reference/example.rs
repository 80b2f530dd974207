//! The example of a trigger type, as it stands in a ScaledObject.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{MetricSpec, MetricType, Source, Trigger, TriggerInput, metadata};

/// An example with what it needs beside its metadata.
#[derive(Clone, Debug)]
pub(super) struct Example {
    metadata: &'static str,
    /// Written out where the default does not do.
    metric_type: Option<MetricType>,
    /// Whether something required can only come from a TriggerAuthentication here.
    needs_authentication: bool,
}

impl Example {
    pub(super) fn of<T: Trigger>() -> Self {
        let metadata = T::example();
        let pairs = pairs(metadata);
        let is_given = |name: &str| pairs.contains_key(name) || pairs.contains_key(&format!("{name}FromEnv"));
        let needs_authentication = T::fields().iter().any(|field| {
            field.required
                && field.sources.contains(&Source::Authentication)
                && !is_given(field.name)
                && !field.aliases.iter().any(|alias| is_given(alias))
        });
        Self {
            metadata,
            metric_type: metric_type::<T>(pairs),
            needs_authentication,
        }
    }

    pub(super) fn yaml(&self, trigger_type: &str) -> String {
        let mut text = format!("triggers:\n- type: {trigger_type}\n");
        if let Some(metric_type) = self.metric_type {
            text += &format!("  metricType: {metric_type}\n");
        }
        text += "  metadata:\n";
        for line in self.metadata.lines() {
            text += &format!("    {line}\n");
        }
        if self.needs_authentication {
            text += &format!(
                "  authenticationRef:\n    name: {}\n",
                authentication(trigger_type)
            );
        }
        text
    }

    pub(super) fn value(&self, trigger_type: &str) -> Value {
        let mut trigger = json!({"type": trigger_type, "metadata": pairs(self.metadata)});
        if let Some(metric_type) = self.metric_type {
            trigger["metricType"] = metric_type.as_str().into();
        }
        if self.needs_authentication {
            trigger["authenticationRef"] = json!({"name": authentication(trigger_type)});
        }
        trigger
    }
}

fn authentication(trigger_type: &str) -> String {
    format!("{trigger_type}-authentication")
}

/// For what the HPA measures itself it has to be said whether the value is a share or an amount.
fn metric_type<T: Trigger>(pairs: BTreeMap<String, String>) -> Option<MetricType> {
    let mut input = TriggerInput {
        metadata: pairs,
        ..TriggerInput::default()
    };
    [MetricType::Utilization, MetricType::AverageValue]
        .into_iter()
        .find(|metric_type| {
            input.settings.metric_type = *metric_type;
            let is_resource = |metric: &MetricSpec| metric.external_name().is_none();
            metadata::parse::<T>(&input).is_ok_and(|(trigger, _)| trigger.metrics().iter().any(is_resource))
        })
}

/// The keys and values of an example. It is a map of strings, a line each, which is all that is read here; that it is
/// read right is what the conformance suite and the tests of `scalers` look at.
fn pairs(yaml: &str) -> BTreeMap<String, String> {
    let lines = yaml.lines().filter_map(|line| line.split_once(": "));
    lines
        .map(|(key, value)| (key.trim().to_owned(), unquoted(value.trim())))
        .collect()
}

fn unquoted(value: &str) -> String {
    if let Some(inner) = value
        .strip_prefix('\'')
        .and_then(|inner| inner.strip_suffix('\''))
    {
        return inner.replace("''", "'");
    }
    let double = value.starts_with('"').then(|| serde_json::from_str(value).ok());
    double.flatten().unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_read_as_yaml_is() {
        let yaml =
            "query: sum(rate(a{b=\"c\"}[2m]))\nvalue: \"4\"\nnames: '{\"#k\": \"it''s\"}'\nurl: http://a:1\n";
        let read: BTreeMap<String, String> = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!(pairs(yaml), read);
    }
}
