//! Rules of schemas in CEL, the language of `x-kubernetes-validations`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use cel::{Context, ExecutionError, Program, Value as Cel};
use serde_json::Value;

use super::{Rule, RuleEvaluator};

/// Evaluates rules with the interpreter of the `cel` crate. Kubernetes' own extensions of the language (quantities,
/// URLs, addresses) are not known; a rule that needs one is not checked.
#[derive(Debug, Default)]
pub(crate) struct CelRules {
    /// By their text; `None` for what cannot be compiled.
    programs: Mutex<BTreeMap<String, Option<Arc<Program>>>>,
}

impl CelRules {
    fn program(&self, text: &str) -> Option<Arc<Program>> {
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = programs.get(text) {
            return known.clone();
        }
        let compiled = Program::compile(text).ok().map(Arc::new);
        programs.insert(text.to_owned(), compiled.clone());
        compiled
    }

    fn evaluate(
        &self,
        text: &str,
        value: &Value,
        old: Option<&Value>,
    ) -> Option<Result<Cel, ExecutionError>> {
        let program = self.program(text)?;
        let mut context = Context::default();
        context.add_variable_from_value("self", converted(value));
        if let Some(old) = old {
            context.add_variable_from_value("oldSelf", converted(old));
        }
        Some(program.execute(&context))
    }
}

impl RuleEvaluator for CelRules {
    fn check(&self, rule: &Rule, value: &Value, old: Option<&Value>) -> Result<(), String> {
        // A rule about a change does not hold for what is new.
        if old.is_none() && rule.rule.contains("oldSelf") {
            return Ok(());
        }
        let holds = match self.evaluate(&rule.rule, value, old) {
            Some(Ok(Cel::Bool(holds))) => holds,
            Some(Err(ExecutionError::NoSuchKey(key))) => {
                return Err(format!("rule evaluation error: no such key: {key}"));
            }
            _ => true,
        };
        if holds {
            return Ok(());
        }
        if let Some(Ok(Cel::String(text))) = self.evaluate(&rule.message_expression, value, old) {
            return Err(text.to_string());
        }
        Err(if rule.message.is_empty() {
            format!("failed rule: {}", rule.rule.trim())
        } else {
            rule.message.clone()
        })
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
