//! What is to be done about the Secret now.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    Material, Options,
    material::{Certificate, after},
};

/// What is known.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What the Secret holds; `None` where there is no Secret.
    pub material: Option<&'a Material>,
    /// Whether somebody else fills it.
    pub is_provided: bool,
    /// Whether every object that carries the bundle has had the current one for long enough.
    pub is_distributed: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing before this time.
    Keep {
        /// When something will be due.
        until: Timestamp,
    },
    /// Nothing but to load it.
    Load,
    /// Nothing before the bundle has been distributed.
    AwaitDistribution,
    /// Make an authority and a certificate by it at once: what there is cannot be served.
    MakeEverything {
        /// Why.
        reason: &'static str,
    },
    /// Put a new authority at the head of the bundle; the certificate stays for now.
    MakeAuthority {
        /// Why.
        reason: &'static str,
    },
    /// Issue a certificate by the current authority.
    Issue {
        /// Why.
        reason: &'static str,
    },
    /// Take authorities out of the bundle that can vouch for nothing any more.
    Retire,
}

/// Decides. The current authority is the first of the bundle.
#[must_use]
pub fn decide(facts: Facts<'_>, now: Timestamp, options: &Options) -> Action {
    if facts.is_provided {
        return Action::Load;
    }
    let Some(material) = facts.material else {
        return Action::MakeEverything {
            reason: "there is no certificate yet",
        };
    };
    let state = State::of(material, now);
    let authority = match state.authority(material, now) {
        Ok(authority) => authority,
        Err(reason) if state.is_accepted => return Action::MakeAuthority { reason },
        Err(reason) => return Action::MakeEverything { reason },
    };
    let Some(leaf) = state.leaf.as_ref().filter(|_| state.is_accepted) else {
        return Action::Issue {
            reason: "the certificate cannot be served",
        };
    };
    let due = leaf.due();
    let by_current = leaf.is_accepted_by(std::slice::from_ref(authority), now);
    let wanted = || {
        let names: BTreeSet<String> = options.subject_alternative_names();
        if !names.is_subset(&leaf.names) {
            Some("the certificate lacks a name")
        } else if !by_current {
            Some("a new authority signs from now on")
        } else if due <= now {
            Some("two thirds of the certificate's life are over")
        } else {
            None
        }
    };
    if let Some(reason) = wanted() {
        // Who has not heard of the new authority would refuse what it signs.
        return match by_current || facts.is_distributed {
            true => Action::Issue { reason },
            false => Action::AwaitDistribution,
        };
    }
    let trusted = still_trusted(&state.bundle, now, options.certificate_life);
    if trusted.len() < state.bundle.len() {
        return Action::Retire;
    }
    let retiring = state.bundle.windows(2).map(|pair| {
        let [newer, older] = pair else {
            return Timestamp::MAX;
        };
        retires(newer, older, options.certificate_life)
    });
    let until = retiring.chain([due, authority.due()]).min().unwrap_or(due);
    Action::Keep { until }
}

/// The bundle without the authorities that can vouch for nothing any more. The first always stays.
pub(super) fn still_trusted(bundle: &[Certificate], now: Timestamp, leaf_life: Duration) -> Vec<Certificate> {
    let older = bundle.windows(2).filter_map(|pair| match pair {
        [newer, older] if now < retires(newer, older, leaf_life) => Some(older.clone()),
        _ => None,
    });
    bundle.first().cloned().into_iter().chain(older).collect()
}

/// When the last certificate that `older` can have signed, just before there was `newer`, has expired.
fn retires(newer: &Certificate, older: &Certificate, leaf_life: Duration) -> Timestamp {
    after(newer.not_before, leaf_life).min(older.not_after)
}

/// The parts of the Secret, read.
struct State {
    leaf: Option<Certificate>,
    bundle: Vec<Certificate>,
    /// Whether the certificate can be served and who trusts the bundle accepts it.
    is_accepted: bool,
}

impl State {
    fn of(material: &Material, now: Timestamp) -> Self {
        let leaf = Certificate::read_all("tls.crt", &material.certificate);
        let leaf = leaf.ok().and_then(|chain| chain.into_iter().next());
        let bundle = Certificate::read_all("ca.crt", &material.bundle).unwrap_or_default();
        let is_accepted = leaf
            .as_ref()
            .is_some_and(|leaf| leaf.is_usable_with(&material.key) && leaf.is_accepted_by(&bundle, now));
        Self {
            leaf,
            bundle,
            is_accepted,
        }
    }

    /// The authority that signs, or why there has to be another.
    fn authority(&self, material: &Material, now: Timestamp) -> Result<&Certificate, &'static str> {
        let authority = self.bundle.first().ok_or("there is no authority")?;
        if !authority.is_authority_of(&material.authority_key) {
            return Err("the authority has no usable key");
        }
        if !authority.is_valid(now) {
            return Err("the authority has expired or is not valid yet");
        }
        if authority.due() <= now {
            return Err("two thirds of the authority's life are over");
        }
        Ok(authority)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use scaler_api::Secret;

    use super::*;
    use crate::certificates::{Source, issue};

    const DAY: i64 = 24;

    fn options() -> Options {
        let mut options = Options::new(Source::Managed("c".into()), "autoscaler", "adapter");
        options.authority_life = Duration::from_secs(90 * 86_400);
        options.certificate_life = Duration::from_secs(30 * 86_400);
        options.backdate = Duration::ZERO;
        options
    }

    fn start() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn at(hours: i64) -> Timestamp {
        start() + SignedDuration::from_hours(hours)
    }

    fn made() -> Material {
        issue::everything(&options(), &[], start()).unwrap()
    }

    /// A new authority after `hours`, with the certificate of before.
    fn rotated(material: &Material, hours: i64) -> Material {
        let bundle = Certificate::read_all("ca.crt", &material.bundle).unwrap();
        issue::authority(&options(), material, &bundle, at(hours)).unwrap()
    }

    fn found(material: Option<&Material>, hours: i64, is_distributed: bool) -> &'static str {
        let facts = Facts {
            material,
            is_provided: false,
            is_distributed,
        };
        in_words(&decide(facts, at(hours), &options()))
    }

    fn in_words(action: &Action) -> &'static str {
        match action {
            Action::Keep { .. } => "keep",
            Action::Load => "load",
            Action::AwaitDistribution => "await",
            Action::MakeEverything { .. } => "everything",
            Action::MakeAuthority { .. } => "authority",
            Action::Issue { .. } => "issue",
            Action::Retire => "retire",
        }
    }

    #[test]
    fn each_state_of_the_secret_has_its_action() {
        let whole = made();
        let garbage = |part: fn(&mut Material)| {
            let mut material = whole.clone();
            part(&mut material);
            material
        };
        let other = issue::everything(&options(), &[], start()).unwrap();
        let garbled_leaf = garbage(|material| material.certificate = "no PEM".into());
        let torn_leaf = garbage(|material| material.certificate = material.certificate.replace("MII", "MIX"));
        let no_key = garbage(|material| material.key = Secret::default());
        let garbled_bundle = garbage(|material| material.bundle = "no PEM".into());
        let no_authority_key = garbage(|material| material.authority_key = Secret::new("no key"));
        let mixed = Material {
            certificate: other.certificate.clone(),
            key: other.key.clone(),
            ..whole.clone()
        };
        let wrong_key = Material {
            key: other.key,
            ..whole.clone()
        };
        let cases = [
            ("missing", None, 1, "everything"),
            ("empty", Some(Material::default()), 1, "everything"),
            ("garbled certificate", Some(garbled_leaf), 1, "issue"),
            ("torn certificate", Some(torn_leaf), 1, "issue"),
            ("no key", Some(no_key), 1, "issue"),
            ("another's key", Some(wrong_key), 1, "issue"),
            ("by another authority", Some(mixed), 1, "issue"),
            ("garbled bundle", Some(garbled_bundle), 1, "everything"),
            (
                "authority's key gone",
                Some(no_authority_key.clone()),
                1,
                "authority",
            ),
            (
                "authority's key gone, expired",
                Some(no_authority_key),
                31 * DAY,
                "everything",
            ),
            ("fresh", Some(whole.clone()), 1, "keep"),
            (
                "one third left and a bit",
                Some(whole.clone()),
                20 * DAY - 1,
                "keep",
            ),
            ("near expiry", Some(whole.clone()), 20 * DAY, "issue"),
            ("expired", Some(whole.clone()), 31 * DAY, "issue"),
            (
                "authority near expiry",
                Some(whole.clone()),
                60 * DAY,
                "everything",
            ),
            ("not valid yet", Some(whole.clone()), -1, "everything"),
        ];
        for (case, material, hours, expected) in cases {
            assert_eq!(found(material.as_ref(), hours, true), expected, "{case}");
        }
        let renewed = issue::certificate(&options(), &whole, at(50 * DAY)).unwrap();
        assert_eq!(found(Some(&renewed), 60 * DAY, false), "authority");
    }

    #[test]
    fn a_new_authority_signs_when_everybody_has_heard_of_it_and_the_old_one_goes_when_nothing_of_it_is_left()
    {
        let renewed = issue::certificate(&options(), &made(), at(50 * DAY)).unwrap();
        let rotated = rotated(&renewed, 60 * DAY);
        assert_eq!(found(Some(&rotated), 60 * DAY, false), "await");
        assert_eq!(found(Some(&rotated), 60 * DAY, true), "issue");
        // Better a certificate that some refuse than one that all refuse.
        assert_eq!(found(Some(&rotated), 81 * DAY, false), "issue");
        let issued = issue::certificate(&options(), &rotated, at(60 * DAY)).unwrap();
        let facts = Facts {
            material: Some(&issued),
            is_provided: false,
            is_distributed: true,
        };
        let until = at(80 * DAY);
        assert_eq!(decide(facts, at(61 * DAY), &options()), Action::Keep { until });
        let later = issue::certificate(&options(), &issued, at(80 * DAY)).unwrap();
        assert_eq!(found(Some(&later), 90 * DAY - 1, true), "keep");
        assert_eq!(found(Some(&later), 90 * DAY, true), "retire");
        let bundle = Certificate::read_all("ca.crt", &later.bundle).unwrap();
        let left = still_trusted(&bundle, at(90 * DAY), options().certificate_life);
        assert_eq!(left, bundle[..1]);
    }

    #[test]
    fn names_are_added_and_what_others_provide_is_let_alone() {
        let material = made();
        let facts = Facts {
            material: Some(&material),
            is_provided: false,
            is_distributed: false,
        };
        let mut more = options();
        more.addresses.push("127.0.0.1".parse().unwrap());
        assert_eq!(in_words(&decide(facts, at(1), &more)), "issue");
        let with = issue::certificate(&more, &material, at(1)).unwrap();
        let facts = Facts {
            material: Some(&with),
            ..facts
        };
        assert_eq!(in_words(&decide(facts, at(2), &more)), "keep");
        assert_eq!(in_words(&decide(facts, at(2), &options())), "keep");
        let provided = Facts {
            is_provided: true,
            material: None,
            ..facts
        };
        assert_eq!(decide(provided, at(9000), &more), Action::Load);
    }

    #[test]
    fn keys_are_not_printed() {
        let printed = format!("{:?}", made());
        assert!(!printed.contains("PRIVATE"), "{printed}");
        assert!(printed.contains("Secret(***)"), "{printed}");
    }
}
