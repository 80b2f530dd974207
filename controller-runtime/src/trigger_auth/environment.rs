//! The environment of a container, resolved from its specification.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::api::core::v1::Container;

/// The contents of Secrets and ConfigMaps of one namespace; none for those that do not exist.
#[derive(Clone, Default)]
pub struct Contents {
    /// By name.
    pub secrets: BTreeMap<String, Option<BTreeMap<String, String>>>,
    /// By name.
    pub config_maps: BTreeMap<String, Option<BTreeMap<String, String>>>,
}

impl fmt::Debug for Contents {
    /// Names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents")
            .field("secrets", &self.secrets.keys())
            .field("config_maps", &self.config_maps.keys())
            .finish()
    }
}

/// A Secret or ConfigMap by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// A Secret.
    Secret(String),
    /// A ConfigMap.
    ConfigMap(String),
}

/// What the environment of a container refers to.
#[must_use]
pub fn references(container: &Container) -> Vec<Reference> {
    let mut references = Vec::new();
    for source in container.env_from.iter().flatten() {
        references.extend(
            source
                .secret_ref
                .as_ref()
                .map(|secret| Reference::Secret(secret.name.clone())),
        );
        references.extend(
            source
                .config_map_ref
                .as_ref()
                .map(|map| Reference::ConfigMap(map.name.clone())),
        );
    }
    for variable in container.env.iter().flatten() {
        let Some(from) = &variable.value_from else {
            continue;
        };
        references.extend(
            from.secret_key_ref
                .as_ref()
                .map(|key| Reference::Secret(key.name.clone())),
        );
        references.extend(
            from.config_map_key_ref
                .as_ref()
                .map(|key| Reference::ConfigMap(key.name.clone())),
        );
    }
    references.sort();
    references.dedup();
    references
}

/// The environment of `container`. What comes from fields of the pod is left out: there is no pod yet.
///
/// # Errors
/// Every reference that is not optional and leads nowhere.
pub fn environment(
    container: &Container,
    contents: &Contents,
) -> Result<BTreeMap<String, String>, Vec<String>> {
    let mut environment = BTreeMap::new();
    let mut missing = Vec::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (found, what, optional) = if let Some(secret) = &source.secret_ref {
            (
                contents.secrets.get(&secret.name),
                format!("Secret {:?}", secret.name),
                secret.optional,
            )
        } else if let Some(map) = &source.config_map_ref {
            (
                contents.config_maps.get(&map.name),
                format!("ConfigMap {:?}", map.name),
                map.optional,
            )
        } else {
            continue;
        };
        match found.and_then(Option::as_ref) {
            Some(data) => {
                environment.extend(
                    data.iter()
                        .map(|(key, value)| (format!("{prefix}{key}"), value.clone())),
                );
            }
            None if optional == Some(true) => {}
            None => missing.push(format!("{what} does not exist")),
        }
    }
    for variable in container.env.iter().flatten() {
        let Some(from) = &variable.value_from else {
            let value = expand(variable.value.as_deref().unwrap_or_default(), &environment);
            environment.insert(variable.name.clone(), value);
            continue;
        };
        let (kind, contents, name, key, optional) = if let Some(from) = &from.secret_key_ref {
            ("Secret", &contents.secrets, &from.name, &from.key, from.optional)
        } else if let Some(from) = &from.config_map_key_ref {
            (
                "ConfigMap",
                &contents.config_maps,
                &from.name,
                &from.key,
                from.optional,
            )
        } else {
            continue;
        };
        match look_up(kind, contents, name, key) {
            Ok(value) => _ = environment.insert(variable.name.clone(), value.to_owned()),
            Err(_) if optional == Some(true) => {}
            Err(problem) => missing.push(problem),
        }
    }
    if missing.is_empty() {
        Ok(environment)
    } else {
        Err(missing)
    }
}

/// One key of a Secret or ConfigMap.
///
/// # Errors
/// Which of both does not exist, in words.
pub fn look_up<'a>(
    kind: &str,
    contents: &'a BTreeMap<String, Option<BTreeMap<String, String>>>,
    name: &str,
    key: &str,
) -> Result<&'a str, String> {
    match contents.get(name).and_then(Option::as_ref) {
        None => Err(format!("{kind} {name:?} does not exist")),
        Some(data) => match data.get(key) {
            Some(value) => Ok(value),
            None => Err(format!("{kind} {name:?} has no key {key:?}")),
        },
    }
}

/// Replaces `$(NAME)` by what is known so far; `$$` is a dollar, and an unknown name stays as it is written.
fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        match after.strip_prefix('(').and_then(|name| name.split_once(')')) {
            Some((name, after)) => {
                match known.get(name) {
                    Some(value) => expanded.push_str(value),
                    None => expanded.extend(["$(", name, ")"]),
                }
                rest = after;
            }
            None => {
                expanded.push('$');
                rest = after;
            }
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    //! keda.md §6.
    use serde_json::json;

    use super::*;

    fn contents() -> Contents {
        let data = |pairs: &[(&str, &str)]| {
            Some(
                pairs
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
            )
        };
        Contents {
            secrets: BTreeMap::from([
                ("s".into(), data(&[("user", "bob"), ("word", "x")])),
                ("gone".into(), None),
            ]),
            config_maps: BTreeMap::from([("c".into(), data(&[("host", "db")]))]),
        }
    }

    fn container(value: serde_json::Value) -> Container {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn variables_come_from_everywhere_and_later_ones_win() {
        let container = container(json!({
            "name": "app",
            "envFrom": [
                {"configMapRef": {"name": "c"}},
                {"secretRef": {"name": "s"}, "prefix": "DB_"},
                {"secretRef": {"name": "gone", "optional": true}},
            ],
            "env": [
                {"name": "PORT", "value": "5432"},
                {"name": "URL", "value": "$(DB_user)@$(host):$(PORT)/$(LATER) $$(PORT) $ $("},
                {"name": "LATER", "value": "x"},
                {"name": "host", "value": "other"},
                {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "word"}}},
                {"name": "HOST", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "host"}}},
                {"name": "MAYBE", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "x", "optional": true}}},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
        }));
        let environment = environment(&container, &contents()).unwrap();
        let shown: Vec<_> = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            shown,
            [
                "DB_user=bob",
                "DB_word=x",
                "HOST=db",
                "LATER=x",
                "PORT=5432",
                "URL=bob@db:5432/$(LATER) $(PORT) $ $(",
                "WORD=x",
                "host=other",
            ]
        );
        assert_eq!(
            references(&container),
            [
                Reference::Secret("gone".into()),
                Reference::Secret("s".into()),
                Reference::ConfigMap("c".into())
            ]
        );
    }

    #[test]
    fn references_that_lead_nowhere_are_all_named() {
        let container = container(json!({
            "name": "app",
            "envFrom": [{"configMapRef": {"name": "gone"}}],
            "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "x"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "x"}}},
            ],
        }));
        assert_eq!(
            environment(&container, &contents()).unwrap_err(),
            [
                "ConfigMap \"gone\" does not exist",
                "Secret \"gone\" does not exist",
                "Secret \"s\" has no key \"x\"",
            ]
        );
    }
}
