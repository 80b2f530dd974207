//! `metav1.LabelSelector`, the structured form, and how Kubernetes prints it in conditions and events.

use std::{collections::BTreeMap, fmt};

use metrics_adapter::selector::{Operator, ParseSelectorError, Requirement, Selector};
use serde::{Deserialize, Serialize};

/// A label selector as it stands in an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels that must have these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One entry of `matchExpressions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct LabelSelectorRequirement {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// What it is compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

impl LabelSelector {
    /// The selector of one label's value.
    pub fn of(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            match_labels: BTreeMap::from([(key.into(), value.into())]),
            ..Self::default()
        }
    }

    /// The form that can be matched and sent.
    ///
    /// # Errors
    /// If an operator is unknown, or a key or value is not a valid label.
    pub fn to_selector(&self) -> Result<Selector, ParseSelectorError> {
        let labels = self
            .match_labels
            .iter()
            .map(|(key, value)| Requirement::new(key, Operator::Equals, [value.clone()]));
        let expressions = self
            .match_expressions
            .iter()
            .map(LabelSelectorRequirement::to_requirement);
        Ok(Selector::new(
            labels.chain(expressions).collect::<Result<Vec<_>, _>>()?,
        ))
    }
}

impl LabelSelectorRequirement {
    fn to_requirement(&self) -> Result<Requirement, ParseSelectorError> {
        let operator = match self.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => {
                let message = format!("{other:?} is not a valid label selector operator");
                return Err(ParseSelectorError::new(message));
            }
        };
        Requirement::new(&self.key, operator, self.values.iter().cloned())
    }
}

/// Prints what Go prints for a `*metav1.LabelSelector`: it is part of the messages that users search for.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("&LabelSelector{MatchLabels:map[string]string{")?;
        for (key, value) in &self.match_labels {
            write!(f, "{key}: {value},")?;
        }
        f.write_str("},MatchExpressions:[]LabelSelectorRequirement{")?;
        for LabelSelectorRequirement {
            key,
            operator,
            values,
        } in &self.match_expressions
        {
            write!(
                f,
                "LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},",
                values.join(" ")
            )?;
        }
        f.write_str("},}")
    }
}

/// What Go prints for a `*metav1.LabelSelector` that may be nil.
pub(super) fn display_optional(selector: Option<&LabelSelector>) -> String {
    selector.map_or_else(|| "nil".to_owned(), LabelSelector::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_prints_as_go_prints_its_pointer() {
        let keda = LabelSelector::of("scaledobject.keda.sh/name", "aws-sqs-queue-scaledobject");
        assert_eq!(
            keda.to_string(),
            "&LabelSelector{MatchLabels:map[string]string{scaledobject.keda.sh/name: \
             aws-sqs-queue-scaledobject,},MatchExpressions:[]LabelSelectorRequirement{},}"
        );
        let everything: LabelSelector = serde_json::from_value(serde_json::json!({
            "matchLabels": { "b": "2", "a": "1" },
            "matchExpressions": [
                { "key": "c", "operator": "In", "values": ["x", "y"] },
                { "key": "d", "operator": "Exists" },
            ],
        }))
        .unwrap();
        assert_eq!(
            everything.to_string(),
            "&LabelSelector{MatchLabels:map[string]string{a: 1,b: 2,},MatchExpressions:[]LabelSelectorRequirement{\
             LabelSelectorRequirement{Key:c,Operator:In,Values:[x y],},\
             LabelSelectorRequirement{Key:d,Operator:Exists,Values:[],},},}"
        );
        assert_eq!(display_optional(None), "nil");
    }

    #[test]
    fn a_selector_is_sent_in_its_string_form() {
        let expression = |key: &str, operator: &str, values: &[&str]| LabelSelectorRequirement {
            key: key.into(),
            operator: operator.into(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let mut selector = LabelSelector::of("z", "1");
        selector.match_expressions = vec![
            expression("a", "NotIn", &["y", "x"]),
            expression("b", "DoesNotExist", &[]),
            expression("c", "Exists", &[]),
        ];
        assert_eq!(
            selector.to_selector().unwrap().to_string(),
            "a notin (x,y),!b,c,z=1"
        );
        selector.match_expressions = vec![expression("a", "Near", &["x"])];
        let error = selector.to_selector().unwrap_err().to_string();
        assert_eq!(error, "\"Near\" is not a valid label selector operator");
    }
}
