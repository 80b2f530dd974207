//! Rules of schemas in CEL, the language of `x-kubernetes-validations`.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use cel::{Context, Env, ExecutionError, Program, Value as Cel};
use serde_json::Value;

use super::{Rule, RuleEvaluator};

/// Evaluates rules with the interpreter of the `cel` crate. Kubernetes' own extensions of the language (quantities,
/// URLs, addresses) are not known; a rule that needs one is not checked.
pub(crate) struct CelRules {
    /// The language, built once.
    language: Arc<Env>,
    /// Each text is compiled once, whichever definitions have it; `None` for what cannot be compiled.
    programs: Mutex<BTreeMap<String, Option<Arc<Program>>>>,
}

impl fmt::Debug for CelRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CelRules").finish_non_exhaustive()
    }
}

impl Default for CelRules {
    fn default() -> Self {
        Self {
            language: Arc::new(Env::stdlib()),
            programs: Mutex::default(),
        }
    }
}

impl CelRules {
    fn program(&self, text: &str) -> Option<Arc<Program>> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = programs.get(text) {
            return known.clone();
        }
        let compiled = self.language.compile(text).ok().map(Arc::new);
        programs.insert(text.to_owned(), compiled.clone());
        compiled
    }

    /// The variables of rules.
    fn context(&self, value: &Value, old: Option<&Value>) -> Context<'static, 'static> {
        let mut context = Context::with_env(Arc::clone(&self.language));
        context.add_variable_from_value("self", converted(value));
        if let Some(old) = old {
            context.add_variable_from_value("oldSelf", converted(old));
        }
        context
    }

    fn evaluate(&self, text: &str, context: &Context<'_, '_>) -> Option<Result<Cel, ExecutionError>> {
        Some(self.program(text)?.execute(context))
    }

    /// The message for the field if the rule is broken.
    fn message(&self, rule: &Rule, context: &Context<'_, '_>) -> Option<String> {
        match self.evaluate(&rule.rule, context) {
            Some(Ok(Cel::Bool(false))) => {}
            Some(Err(ExecutionError::NoSuchKey(key))) => {
                return Some(format!("rule evaluation error: no such key: {key}"));
            }
            _ => return None,
        }
        if !rule.message_expression.is_empty()
            && let Some(Ok(Cel::String(text))) = self.evaluate(&rule.message_expression, context)
        {
            return Some(text.to_string());
        }
        Some(if rule.message.is_empty() {
            format!("failed rule: {}", rule.rule.trim())
        } else {
            rule.message.clone()
        })
    }
}

impl RuleEvaluator for CelRules {
    fn check<'a>(&self, rules: &[&'a Rule], value: &Value, old: Option<&Value>) -> Vec<(&'a Rule, String)> {
        // One conversion of the values serves all rules.
        let context = self.context(value, old);
        let broken = rules
            .iter()
            .filter_map(|rule| Some((*rule, self.message(rule, &context)?)));
        broken.collect()
    }
}

/// JSON in the types that rules expect: whole numbers are integers.
fn converted(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => number
            .as_i64()
            .map_or_else(|| Cel::Float(number.as_f64().unwrap_or_default()), Cel::Int),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(converted).collect::<Vec<_>>().into(),
        Value::Object(members) => {
            let members: std::collections::HashMap<String, Cel> = members
                .iter()
                .map(|(key, member)| (key.clone(), converted(member)))
                .collect();
            members.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(text: &str) -> Rule {
        Rule {
            rule: text.to_owned(),
            message: String::new(),
            message_expression: String::new(),
            reason: String::new(),
            field_path: String::new(),
        }
    }

    #[test]
    fn a_rule_is_compiled_once_however_often_it_is_checked() {
        let evaluator = CelRules::default();
        let (size, name) = (rule("self.size < 10"), rule("self.name == oldSelf.name"));
        let language = Arc::as_ptr(&evaluator.language);
        let mut compiled = Vec::new();
        for number in 0..20 {
            let value = json!({"size": number, "name": "a"});
            let broken = evaluator.check(&[&size, &name], &value, Some(&json!({"name": "b"})));
            let expected: &[&str] = if number < 10 {
                &["self.name == oldSelf.name"]
            } else {
                &["self.size < 10", "self.name == oldSelf.name"]
            };
            let found: Vec<_> = broken.iter().map(|(rule, _)| rule.rule.as_str()).collect();
            assert_eq!(found, expected, "{number}");
            compiled.push(
                evaluator
                    .program("self.size < 10")
                    .map(|program| Arc::as_ptr(&program)),
            );
        }
        compiled.dedup();
        assert_eq!(compiled.len(), 1, "one program");
        assert_eq!(evaluator.programs.lock().unwrap().len(), 2);
        assert_eq!(Arc::as_ptr(&evaluator.language), language);
    }

    #[test]
    fn what_cannot_be_compiled_is_tried_once_and_not_checked() {
        let evaluator = CelRules::default();
        assert_eq!(evaluator.check(&[&rule("self ===")], &json!(1), None).len(), 0);
        assert_eq!(
            evaluator
                .programs
                .lock()
                .unwrap()
                .get("self ===")
                .map(Option::is_none),
            Some(true)
        );
    }
}
