//! Answers why, for the kinds that somebody answers for.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use super::{explanation::Explanation, nearest::nearest};
use crate::store::ObjectKey;

type Explain = Arc<dyn Fn(&ObjectKey) -> Option<Explanation> + Send + Sync>;
type Names = Arc<dyn Fn() -> Vec<ObjectKey> + Send + Sync>;

/// One kind of object that can be explained.
#[derive(Clone)]
pub struct Kind {
    /// Its name, e.g. `ScaledObject`.
    pub name: &'static str,
    /// Its plural and its short names, in lower case.
    pub aliases: &'static [&'static str],
    explain: Explain,
    names: Names,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kind").field(&self.name).finish()
    }
}

impl Kind {
    /// A kind whose objects `explain` explains and `names` names.
    pub fn new(
        name: &'static str,
        aliases: &'static [&'static str],
        explain: impl Fn(&ObjectKey) -> Option<Explanation> + Send + Sync + 'static,
        names: impl Fn() -> Vec<ObjectKey> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            aliases,
            explain: Arc::new(explain),
            names: Arc::new(names),
        }
    }

    fn is_called(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.name.to_lowercase() == name || self.aliases.contains(&name.as_str())
    }
}

/// Answers why. Clones share the kinds, which may come later: until then nobody knows.
#[derive(Clone, Default)]
pub struct Explainer {
    kinds: Arc<OnceLock<Vec<Kind>>>,
}

impl fmt::Debug for Explainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.kinds.get().into_iter().flatten();
        f.debug_list().entries(kinds.map(|kind| kind.name)).finish()
    }
}

/// There is no explanation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The process has not come that far.
    #[error("the process has not started yet, ask again in a moment")]
    NotStarted,
    /// Nobody explains that kind.
    #[error("{kind:?} is no kind that can be explained, expected one of {}", known.join(", "))]
    Kind {
        /// What was asked for.
        kind: String,
        /// What there is.
        known: Vec<String>,
    },
    /// There is no such object.
    #[error("there is no {kind} {name}{}", suggestion(nearest))]
    Object {
        /// Its kind.
        kind: &'static str,
        /// `namespace/name`.
        name: String,
        /// Names like it, the most similar first.
        nearest: Vec<String>,
    },
}

fn suggestion(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!(", did you mean {}?", names.join(" or ")),
    }
}

impl Explainer {
    /// Explains objects of these kinds from now on; what was set first stays.
    pub fn set(&self, kinds: Vec<Kind>) {
        self.kinds.set(kinds).ok();
    }

    /// Why an object is as it is.
    ///
    /// # Errors
    /// If nobody knows it.
    pub fn explain(&self, kind: &str, namespace: &str, name: &str) -> Result<Explanation, Unknown> {
        let kinds = self.kinds.get().ok_or(Unknown::NotStarted)?;
        let Some(found) = kinds.iter().find(|known| known.is_called(kind)) else {
            return Err(Unknown::Kind {
                kind: kind.to_owned(),
                known: kinds.iter().map(|kind| kind.name.to_lowercase()).collect(),
            });
        };
        let key = ObjectKey::new(namespace, name);
        (found.explain)(&key).ok_or_else(|| {
            let known: Vec<_> = (found.names)().iter().map(ToString::to_string).collect();
            let name = key.to_string();
            Unknown::Object {
                kind: found.name,
                nearest: nearest(&name, known.iter().map(String::as_str)),
                name,
            }
        })
    }
}
