//! Whether what is asked for can be had from what is offered, and why not.

use std::fmt;

use super::Requirements;
use crate::karpenter::labels;

/// Which labels may be asked for although the other side does not know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowUndefined {
    /// None: the other side is a node, whose labels are all there is.
    Nothing,
    /// Well-known labels: the other side is a pool, whose types will bring them.
    WellKnown,
}

/// Why two sets of requirements do not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incompatible {
    /// Nobody defines the label.
    Undefined {
        /// The label.
        key: String,
        /// A label that may have been meant.
        hint: Option<String>,
    },
    /// No value is left.
    Disjoint {
        /// The label.
        key: String,
        /// What is asked for.
        asked: String,
        /// What is offered.
        offered: String,
    },
}

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undefined { key, hint } => {
                write!(f, "label {key:?} does not have known values")?;
                hint.as_ref()
                    .map_or(Ok(()), |hint| write!(f, " (typo of {hint:?}?)"))
            }
            Self::Disjoint { key, asked, offered } => write!(f, "key {key}, {asked} not in {offered}"),
        }
    }
}

impl std::error::Error for Incompatible {}

impl Requirements {
    /// Whether `asked` can be had from `self`: the values meet, and labels that `self` does not define are only asked to
    /// be missing or other than something, or are allowed by `allow`.
    ///
    /// # Errors
    /// The first label, in order, that stands in the way.
    pub fn compatible(&self, asked: &Self, allow: AllowUndefined) -> Result<(), Incompatible> {
        for requirement in asked.iter() {
            let key = requirement.key();
            let allowed = allow == AllowUndefined::WellKnown && labels::is_well_known(key);
            if !allowed && !self.has(key) && !requirement.allows_absence() {
                return Err(Incompatible::Undefined {
                    key: key.to_owned(),
                    hint: self.hint(key, allow),
                });
            }
        }
        self.intersects(asked)
    }

    /// Whether for every label that both speak of some value is left; being missing counts as one.
    ///
    /// # Errors
    /// The first label, in order, of which none is left.
    pub fn intersects(&self, asked: &Self) -> Result<(), Incompatible> {
        for wanted in asked.iter() {
            let Some(offered) = self.get(wanted.key()) else {
                continue;
            };
            if offered.intersects(wanted) || (offered.allows_absence() && wanted.allows_absence()) {
                continue;
            }
            return Err(Incompatible::Disjoint {
                key: wanted.key().to_owned(),
                asked: wanted.to_string(),
                offered: offered.to_string(),
            });
        }
        Ok(())
    }

    /// Whether everything that `self` still allows satisfies `asked`: needed where the choice is not ours.
    #[must_use]
    pub fn guarantees(&self, asked: &Self) -> bool {
        asked.iter().all(|wanted| match self.get(wanted.key()) {
            Some(offered) => {
                offered.is_subset_of(wanted) && (!offered.allows_absence() || wanted.allows_absence())
            }
            None => wanted.allows_absence(),
        })
    }

    /// A known label that ends with the given one's part after the slash, else one that contains it.
    fn hint(&self, key: &str, allow: AllowUndefined) -> Option<String> {
        let known = labels::well_known().filter(|_| allow == AllowUndefined::WellKnown);
        let defined = self.iter().map(|requirement| requirement.key().to_owned());
        let mut candidates: Vec<String> = known.chain(defined).collect();
        candidates.sort();
        let name = key.split_once('/').map_or(key, |(_, name)| name);
        let ending = candidates
            .iter()
            .find(|candidate| candidate.ends_with(&format!("/{name}")));
        ending
            .or_else(|| candidates.iter().find(|candidate| candidate.contains(key)))
            .cloned()
    }
}
