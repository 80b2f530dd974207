//! Label selectors as strings: `app=web,tier in (a, b),!legacy`.
//!
//! The grammar, its order of evaluation and the messages of its errors are those of `k8s.io/apimachinery/pkg/labels`.
//! Requirements are kept sorted by key and values sorted, so equal selectors print equally.

mod parse;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// A parsed label selector: every requirement must hold. The empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One condition on the labels of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

/// How a [`Requirement`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// `key=value`
    Equals,
    /// `key==value`
    DoubleEquals,
    /// `key!=value`; also holds for objects without the key
    NotEquals,
    /// `key in (a,b)`
    In,
    /// `key notin (a,b)`; also holds for objects without the key
    NotIn,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `key>1`
    GreaterThan,
    /// `key<1`
    LessThan,
}

/// Why a string is no label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseSelectorError {
    message: String,
}

impl ParseSelectorError {
    /// An error with a message, for those who make selectors from other forms.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }

    fn found(literal: &str, expected: &str) -> Self {
        Self::new(format!("found '{literal}', expected: {expected}"))
    }
}

impl Selector {
    /// Selects everything.
    #[must_use]
    pub const fn everything() -> Self {
        Self {
            requirements: Vec::new(),
        }
    }

    /// All of `requirements`, in any order.
    #[must_use]
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        let mut requirements: Vec<_> = requirements.into_iter().collect();
        requirements.sort_by(|left, right| left.key.cmp(&right.key));
        Self { requirements }
    }

    /// Parses the string form.
    ///
    /// # Errors
    /// If `text` does not follow the grammar, or a key or value is not a valid label.
    pub fn parse(text: &str) -> Result<Self, ParseSelectorError> {
        parse::parse(text)
    }

    /// The requirements, sorted by key.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether nothing is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether `labels` fulfil every requirement.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// Whether the labels whose values `value` knows fulfil every requirement.
    #[must_use]
    pub fn matches_by<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.holds(value(&requirement.key)))
    }

    /// The one value that `key` is required to equal, by `=`, `==` or an `in` with a single value.
    #[must_use]
    pub fn exact_value(&self, key: &str) -> Option<&str> {
        self.requirements.iter().find_map(|requirement| {
            let exact = matches!(
                requirement.operator,
                Operator::Equals | Operator::DoubleEquals | Operator::In
            );
            let single = requirement.values.len() == 1;
            (requirement.key == key && exact && single)
                .then(|| requirement.values.first().map(String::as_str))
                .flatten()
        })
    }
}

impl Requirement {
    /// A requirement, checked.
    ///
    /// # Errors
    /// If the key or a value is not a valid label, or the number of values does not fit the operator.
    pub fn new(
        key: impl Into<String>,
        operator: Operator,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Self, ParseSelectorError> {
        let key = key.into();
        let values: BTreeSet<String> = values.into_iter().collect();
        check_key(&key)?;
        let invalid = |why: &str| {
            let values: Vec<_> = values.iter().collect();
            Err(ParseSelectorError::new(format!(
                "values of {key:?}: invalid value {values:?}: {why}"
            )))
        };
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                return invalid("for 'in', 'notin' operators, values set can't be empty");
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                return invalid("exact-match compatibility requires one single value");
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                return invalid("values set must be empty for exists and does not exist");
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                return invalid("for 'Gt', 'Lt' operators, exactly one value is required");
            }
            Operator::GreaterThan | Operator::LessThan
                if values.iter().any(|v| v.parse::<i64>().is_err()) =>
            {
                return invalid("for 'Gt', 'Lt' operators, the value must be an integer");
            }
            _ => {}
        }
        values.iter().try_for_each(|value| check_value(&key, value))?;
        Ok(Self {
            key,
            operator,
            values,
        })
    }

    /// The label that is looked at.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it is compared.
    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What it is compared with.
    #[must_use]
    pub fn values(&self) -> &BTreeSet<String> {
        &self.values
    }

    /// Whether `labels` fulfil this requirement.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.holds(labels.get(&self.key).map(String::as_str))
    }

    fn holds(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => {
                value.is_some_and(|value| self.values.contains(value))
            }
            Operator::NotEquals | Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compare(value).is_some_and(|(have, bound)| have > bound),
            Operator::LessThan => self.compare(value).is_some_and(|(have, bound)| have < bound),
        }
    }

    fn compare(&self, value: Option<&str>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = || {
            self.values
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(",")
        };
        let key = &self.key;
        match self.operator {
            Operator::Equals => write!(f, "{key}={}", values()),
            Operator::DoubleEquals => write!(f, "{key}=={}", values()),
            Operator::NotEquals => write!(f, "{key}!={}", values()),
            Operator::In => write!(f, "{key} in ({})", values()),
            Operator::NotIn => write!(f, "{key} notin ({})", values()),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{}", values()),
            Operator::LessThan => write!(f, "{key}<{}", values()),
        }
    }
}

impl FromStr for Selector {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first()) && ends(bytes.last()) && bytes.iter().copied().all(is_label_byte)
}

fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|part| {
            is_name(part)
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
}

fn check_key(key: &str) -> Result<(), ParseSelectorError> {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if prefix.is_none_or(is_dns_subdomain) && name.len() <= 63 && is_name(name) {
        return Ok(());
    }
    Err(ParseSelectorError::new(format!(
        "invalid label key {key:?}: must be a name of at most 63 characters out of letters, digits, '-', '_' and '.' \
         that starts and ends with a letter or digit, with an optional DNS subdomain and '/' in front"
    )))
}

fn check_value(key: &str, value: &str) -> Result<(), ParseSelectorError> {
    if value.is_empty() || (value.len() <= 63 && is_name(value)) {
        return Ok(());
    }
    Err(ParseSelectorError::new(format!(
        "invalid value {value:?} of label {key:?}: must be empty or at most 63 characters out of letters, digits, '-', \
         '_' and '.', and start and end with a letter or digit"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn valid_selectors_print_in_their_canonical_form() {
        for (text, canonical) in [
            ("", ""),
            ("x=a,y=b,z=c", "x=a,y=b,z=c"),
            ("z=c, y = b ,x==a", "x==a,y=b,z=c"),
            ("x!=a,y=b", "x!=a,y=b"),
            ("x=", "x="),
            ("x= ,z= ", "x=,z="),
            ("x= ,z", "x=,z"),
            ("x>1", "x>1"),
            ("x<7,y", "x<7,y"),
            ("!x", "!x"),
            ("! x , y", "!x,y"),
            ("x in (foo,,baz),y,z notin ()", "x in (,baz,foo),y,z notin ()"),
            ("x in (b,a)", "x in (a,b)"),
            ("x in (a,)", "x in (,a)"),
            ("x in (,a)", "x in (,a)"),
            ("x notin (in,notin)", "x notin (in,notin)"),
            ("in", "in"),
            ("notin=in", "notin=in"),
            ("x in()", "x in ()"),
            (
                "scaledobject.keda.sh/name=orders",
                "scaledobject.keda.sh/name=orders",
            ),
        ] {
            let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(selector.to_string(), canonical, "{text:?}");
            assert_eq!(
                Selector::parse(canonical).unwrap().to_string(),
                canonical,
                "{canonical:?} again"
            );
        }
    }

    #[test]
    fn invalid_selectors_say_what_was_found_and_expected() {
        for (text, message) in [
            ("x=a||y=b", "invalid value \"a||y\""),
            ("x==a==b", "found '==', expected: ',' or 'end of string'"),
            ("!x=a", "found '=', expected: ',' or 'end of string'"),
            ("x<a", "the value must be an integer"),
            ("x,", "found '', expected: identifier after ','"),
            (",", "found ',', expected: !, identifier, or 'end of string'"),
            ("x in a", "unable to parse requirement: found 'a' expected: '('"),
            ("x in (a", "found '', expected: ',' or ')'"),
            ("x in (a,", "found '', expected"),
            ("x in (", "found '', expected: ',', ')' or identifier"),
            ("x a", "found 'a', expected: in, notin, =, ==, !=, gt, lt"),
            ("x=(", "found '(', expected: identifier"),
            ("!", "found '', expected: identifier"),
            ("-x=a", "invalid label key \"-x\""),
            ("Example.com/x=a", "invalid label key \"Example.com/x\""),
            ("x=.a", "invalid value \".a\" of label \"x\""),
        ] {
            let error = Selector::parse(text).expect_err(text).to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
        let long = "x".repeat(64);
        assert!(Selector::parse(&long).is_err());
        assert!(Selector::parse(&format!("x={long}")).is_err());
    }

    #[test]
    fn selectors_match_as_kubernetes_does() {
        for (text, have, expected) in [
            ("", &[][..], true),
            ("x=y", &[("x", "y")], true),
            ("x=y,z=w", &[("x", "y"), ("z", "w")], true),
            ("x=y,z=w", &[("x", "y")], false),
            ("x!=y", &[("x", "z")], true),
            ("x!=y", &[], true),
            ("x!=y", &[("x", "y")], false),
            ("x", &[("x", "")], true),
            ("x", &[], false),
            ("!x", &[], true),
            ("!x", &[("x", "1")], false),
            ("x in (a,b)", &[("x", "b")], true),
            ("x in (a,b)", &[], false),
            ("x notin (a,b)", &[("x", "c")], true),
            ("x notin (a,b)", &[], true),
            ("x notin (a,b)", &[("x", "a")], false),
            ("x=", &[("x", "")], true),
            ("x=", &[], false),
            ("x>1", &[("x", "2")], true),
            ("x>1", &[("x", "1")], false),
            ("x<1", &[("x", "-1")], true),
            ("x<1", &[("x", "many")], false),
            ("x<1", &[], false),
        ] {
            assert_eq!(
                Selector::parse(text).unwrap().matches(&labels(have)),
                expected,
                "{text:?} on {have:?}"
            );
        }
    }

    #[test]
    fn the_exact_value_of_a_key_is_found_whatever_the_notation() {
        for (text, expected) in [
            ("a=1,scaledobject.keda.sh/name=orders", Some("orders")),
            ("scaledobject.keda.sh/name==orders", Some("orders")),
            ("scaledobject.keda.sh/name in (orders)", Some("orders")),
            ("scaledobject.keda.sh/name in (orders,bills)", None),
            ("scaledobject.keda.sh/name!=orders", None),
            ("scaledobject.keda.sh/name", None),
            ("", None),
        ] {
            assert_eq!(
                Selector::parse(text)
                    .unwrap()
                    .exact_value("scaledobject.keda.sh/name"),
                expected,
                "{text}"
            );
        }
    }
}
