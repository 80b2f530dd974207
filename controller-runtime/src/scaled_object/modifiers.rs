//! `scalingModifiers`: one metric, which a formula makes of all triggers.

use std::collections::BTreeSet;

use scaler_api::{
    MetricSpec, MetricTarget, MetricType, Quantity,
    keda::{COMPOSITE_METRIC_NAME, FallbackBehavior, ScaledObjectSpec, ScalingModifiers},
};

use super::{
    fallback::Fallback,
    formula::{Formula, FormulaError},
    hpa::NamedMetric,
};
use crate::admission::scaled_object::is_resource;

/// A usable `scalingModifiers` of a ScaledObject.
#[derive(Clone, Debug, PartialEq)]
pub struct Modifiers {
    formula: Formula,
    activation_target: f64,
    metric: NamedMetric,
}

/// What is wrong with a field of `scalingModifiers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, below `spec.advanced.scalingModifiers`.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong with it, and what was expected.
    pub message: String,
}

/// How a trigger that the formula is about stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// It has a value.
    Value(f64),
    /// It has none, for this reason, and no fallback (yet).
    Failed(String),
    /// It has none, for this reason, and the fallback stands in.
    FallenBack(String),
}

/// What the formula comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Composite {
    /// A value.
    Value(f64),
    /// The fallback's replicas count, for this reason.
    FallenBack(String),
    /// Nothing, for this reason.
    Failed(String),
}

impl Modifiers {
    /// The modifiers of a specification, if it has any.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn of(spec: &ScaledObjectSpec) -> Result<Option<Self>, Vec<Problem>> {
        let Some(modifiers) = spec.scaling_modifiers() else {
            return Ok(None);
        };
        let names: BTreeSet<&str> = spec
            .triggers
            .iter()
            .filter(|trigger| !is_resource(trigger))
            .filter_map(|trigger| trigger.name.as_deref())
            .collect();
        let mut problems = Vec::new();
        let formula = take(formula(modifiers, &names), &mut problems);
        let target = take(target(modifiers), &mut problems);
        let activation = take(activation_target(modifiers), &mut problems);
        let metric_type = take(metric_type(modifiers), &mut problems);
        match (formula, target, activation, metric_type) {
            (Some(formula), Some(target), Some(activation_target), Some(metric_type)) => Ok(Some(Self {
                formula,
                activation_target,
                metric: NamedMetric {
                    name: COMPOSITE_METRIC_NAME.to_owned(),
                    spec: MetricSpec::External {
                        name: COMPOSITE_METRIC_NAME.to_owned(),
                        target: metric_type(target),
                    },
                },
            })),
            _ => Err(problems),
        }
    }

    /// The metric that the HPA reads.
    #[must_use]
    pub fn metric(&self) -> &NamedMetric {
        &self.metric
    }

    /// What the formula comes to where its triggers stand like this.
    ///
    /// While a classic fallback is in force for any trigger there is nothing to compute; with the fallback's behaviour
    /// `scalingModifiers` such a trigger is `nil` in the formula, which may say what to take instead (`a ?? 8`).
    #[must_use]
    pub fn compose<'a>(
        &self,
        inputs: impl IntoIterator<Item = (&'a str, Input)>,
        fallback: Option<&Fallback>,
    ) -> Composite {
        let by_formula =
            fallback.is_some_and(|fallback| fallback.behavior == FallbackBehavior::ScalingModifiers);
        let (mut values, mut failed, mut fallen_back) = (Vec::new(), Vec::new(), Vec::new());
        for (name, input) in inputs {
            match input {
                Input::Value(value) => values.push((name, Some(value))),
                Input::Failed(error) => failed.push(format!("{name}: {error}")),
                Input::FallenBack(error) => {
                    fallen_back.push(format!("{name}: {error}"));
                    values.push((name, None));
                }
            }
        }
        if !fallen_back.is_empty() && !by_formula {
            return Composite::FallenBack(fallen_back.join(", "));
        }
        if !failed.is_empty() {
            return Composite::Failed(failed.join(", "));
        }
        match self.formula.evaluate(values) {
            Ok(Some(value)) => Composite::Value(value),
            Ok(None) if fallback.is_some() => Composite::FallenBack(fallen_back.join(", ")),
            Ok(None) => Composite::Failed(format!("the formula {:?} gives nil", self.formula.as_str())),
            Err(error) => Composite::Failed(format!("the formula {:?}: {error}", self.formula.as_str())),
        }
    }

    /// Whether a value wakes the target: it is above the activation target.
    #[must_use]
    pub fn is_active(&self, value: f64) -> bool {
        value > self.activation_target
    }

    /// A value in words, for the record.
    #[must_use]
    pub fn in_words(&self, value: f64) -> String {
        format!(
            "{} = {}, active above {}",
            self.formula.as_str(),
            thousandths(value),
            thousandths(self.activation_target)
        )
    }
}

/// A value as the HPA is given it: whole thousandths, cut off as KEDA does, and below zero where the formula is.
#[must_use]
pub fn thousandths(value: f64) -> Quantity {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "what is too large is as large as can be"
    )]
    let millis = (value * 1000.0) as i64;
    Quantity::from_millis(millis)
}

fn take<T>(result: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

fn given(text: Option<&String>) -> &str {
    text.map_or("", |text| text.trim())
}

fn problem<T>(field: &'static str, value: &str, message: impl Into<String>) -> Result<T, Problem> {
    Err(Problem {
        field,
        value: value.to_owned(),
        message: message.into(),
    })
}

fn formula(modifiers: &ScalingModifiers, names: &BTreeSet<&str>) -> Result<Formula, Problem> {
    let text = given(modifiers.formula.as_ref());
    if text.is_empty() {
        return problem(
            "formula",
            text,
            "is empty, expected a formula over the triggers' names",
        );
    }
    Formula::parse(text, names).or_else(|error: FormulaError| problem("formula", text, error.to_string()))
}

fn target(modifiers: &ScalingModifiers) -> Result<Quantity, Problem> {
    let text = given(modifiers.target.as_ref());
    match text.parse::<f64>() {
        // KEDA keeps whole thousandths.
        Ok(target) if target.is_finite() && target >= 0.001 => Ok(thousandths(target)),
        _ => problem(
            "target",
            text,
            format!("{text:?} is not a number of at least 0.001, which one replica shall have"),
        ),
    }
}

fn activation_target(modifiers: &ScalingModifiers) -> Result<f64, Problem> {
    match given(modifiers.activation_target.as_ref()) {
        "" => Ok(0.0),
        text => match text.parse::<f64>() {
            Ok(target) if target.is_finite() => Ok(target),
            _ => problem(
                "activationTarget",
                text,
                format!("{text:?} is not a number, above which the target is active"),
            ),
        },
    }
}

fn metric_type(modifiers: &ScalingModifiers) -> Result<fn(Quantity) -> MetricTarget, Problem> {
    let text = given(modifiers.metric_type.as_ref());
    match modifiers.metric_type() {
        Ok(MetricType::AverageValue) => Ok(MetricTarget::AverageValue),
        Ok(MetricType::Value) => Ok(MetricTarget::Value),
        Ok(MetricType::Utilization) | Err(_) => problem(
            "metricType",
            text,
            format!("{text:?} is not one of AverageValue, Value"),
        ),
    }
}

#[cfg(test)]
mod tests {
    //! keda.md §2.3 and §3.4.
    use serde_json::{Value, json};

    use super::*;

    fn spec(modifiers: &Value) -> ScaledObjectSpec {
        serde_json::from_value(json!({
            "scaleTargetRef": {"name": "web"},
            "triggers": [
                {"type": "test", "name": "a", "metadata": {}},
                {"type": "test", "name": "b", "metadata": {}},
                {"type": "cpu", "name": "load", "metadata": {}},
            ],
            "advanced": {"scalingModifiers": modifiers},
        }))
        .unwrap()
    }

    fn modifiers(formula: &str) -> Modifiers {
        let given = json!({"formula": formula, "target": "2", "activationTarget": "3"});
        Modifiers::of(&spec(&given)).unwrap().unwrap()
    }

    fn fallback(behavior: FallbackBehavior) -> Fallback {
        Fallback {
            failure_threshold: 3,
            replicas: 5,
            behavior,
        }
    }

    #[test]
    fn section_2_3_the_metric_is_composite_metric_with_the_target_in_thousandths() {
        let cases = [
            (json!({"target": "2"}), "AverageValue(2)"),
            (json!({"target": "2.5"}), "AverageValue(2500m)"),
            (json!({"target": "0.0019"}), "AverageValue(1m)"),
            (json!({"target": "2", "metricType": "Value"}), "Value(2)"),
        ];
        for (mut given, expected) in cases {
            given["formula"] = json!("a + b");
            let found = Modifiers::of(&spec(&given)).unwrap().unwrap();
            assert_eq!(found.metric().name, "composite-metric");
            let found = match found.metric().spec.target() {
                MetricTarget::AverageValue(target) => format!("AverageValue({target})"),
                MetricTarget::Value(target) => format!("Value({target})"),
                other => format!("{other:?}"),
            };
            assert_eq!(found, expected, "{given}");
        }
    }

    #[test]
    fn section_2_3_every_wrong_field_is_named_with_its_value() {
        let cases = [
            (json!({"formula": "a"}), vec!["target"]),
            (json!({"target": "2"}), vec!["formula"]),
            (json!({"formula": "a", "target": "0"}), vec!["target"]),
            (json!({"formula": "a", "target": "-1"}), vec!["target"]),
            (json!({"formula": "a", "target": "many"}), vec!["target"]),
            (json!({"formula": "a", "target": "NaN"}), vec!["target"]),
            (json!({"formula": "a + load", "target": "1"}), vec!["formula"]),
            (
                json!({"formula": "a +", "target": "x", "activationTarget": "y", "metricType": "Utilization"}),
                vec!["formula", "target", "activationTarget", "metricType"],
            ),
        ];
        for (given, expected) in cases {
            let problems = Modifiers::of(&spec(&given)).unwrap_err();
            let fields: Vec<_> = problems.iter().map(|problem| problem.field).collect();
            assert_eq!(fields, expected, "{given}: {problems:?}");
        }
        assert_eq!(Modifiers::of(&spec(&json!({}))), Ok(None));
    }

    #[test]
    fn a_composite_follows_the_rows_of_section_3_4() {
        use Composite::{Failed, FallenBack, Value};
        use Input::Value as Is;
        let fails = |error: &str| Input::Failed(error.to_owned());
        let falls = |error: &str| Input::FallenBack(error.to_owned());
        let by_formula = Some(fallback(FallbackBehavior::ScalingModifiers));
        let classic = Some(fallback(FallbackBehavior::Static));
        let failed = |text: &str| Failed(text.to_owned());
        let fallen_back = |text: &str| FallenBack(text.to_owned());
        let nil = "the formula \"a\" gives nil";
        let cases = [
            ("a + b", Is(12.0), Is(4.0), None, Value(16.0)),
            ("a - b", Is(1.0), Is(4.0), None, Value(-3.0)),
            ("a + b", fails("down"), Is(4.0), None, failed("a: down")),
            ("a + b", fails("down"), Is(4.0), classic, failed("a: down")),
            ("a + b", falls("down"), Is(4.0), classic, fallen_back("a: down")),
            (
                "a + b",
                falls("down"),
                fails("off"),
                classic,
                fallen_back("a: down"),
            ),
            ("a ?? 8", falls("down"), Is(4.0), by_formula, Value(8.0)),
            (
                "a ?? 8",
                falls("down"),
                fails("off"),
                by_formula,
                failed("b: off"),
            ),
            ("a", falls("down"), Is(4.0), by_formula, fallen_back("a: down")),
            (
                "a > 5 ? nil : a",
                Is(9.0),
                Is(4.0),
                None,
                failed(&nil.replace("\"a\"", "\"a > 5 ? nil : a\"")),
            ),
        ];
        for (formula, a, b, fallback, expected) in cases {
            let words = format!("{formula} of {a:?} and {b:?} with {fallback:?}");
            let found = modifiers(formula).compose([("a", a), ("b", b)], fallback.as_ref());
            assert_eq!(found, expected, "{words}");
        }
    }

    #[test]
    fn section_2_3_it_is_active_strictly_above_the_activation_target() {
        let modifiers = modifiers("a");
        for (value, active) in [(2.9, false), (3.0, false), (3.1, true), (-5.0, false)] {
            assert_eq!(modifiers.is_active(value), active, "{value}");
        }
        assert_eq!(modifiers.in_words(3.5), "a = 3500m, active above 3");
    }

    #[test]
    fn section_2_3_the_activation_target_is_0_by_default() {
        let given = json!({"formula": "a", "target": "2"});
        let modifiers = Modifiers::of(&spec(&given)).unwrap().unwrap();
        for (value, active) in [(-0.1, false), (0.0, false), (0.1, true)] {
            assert_eq!(modifiers.is_active(value), active, "{value}");
        }
    }
}
