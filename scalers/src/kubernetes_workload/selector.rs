//! The syntax of label selectors, so that a bad one is reported with the other problems and not by the API server later.

/// Checks `a=b,c!=d,e in (f,g),h,!i,j>1`.
///
/// # Errors
/// What is wrong.
pub(super) fn check(selector: &str) -> Result<(), String> {
    let mut depth = 0_u8;
    let mut start = 0;
    for (at, letter) in selector.char_indices() {
        match letter {
            '(' if depth == 0 => depth = 1,
            ')' if depth == 1 => depth = 0,
            '(' | ')' => return Err(format!("unexpected {letter:?}")),
            ',' if depth == 0 => {
                requirement(selector.get(start..at).unwrap_or_default())?;
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err("a parenthesis is not closed".to_owned());
    }
    match selector.get(start..).unwrap_or_default() {
        "" if start == 0 => Ok(()),
        last => requirement(last),
    }
}

fn requirement(text: &str) -> Result<(), String> {
    let text = text.trim();
    if let Some(name) = text.strip_prefix('!') {
        return key(name);
    }
    if let Some((left, set)) = text.split_once('(') {
        let mut words = left.split_whitespace();
        let (Some(name), Some("in" | "notin"), None) = (words.next(), words.next(), words.next()) else {
            return Err(format!(
                "expected `key in (...)` or `key notin (...)`, got {text:?}"
            ));
        };
        key(name)?;
        let set = set
            .strip_suffix(')')
            .ok_or_else(|| format!("unexpected text after {text:?}"))?;
        return set.split(',').try_for_each(value);
    }
    for operator in ["!=", "==", "="] {
        if let Some((name, word)) = text.split_once(operator) {
            key(name)?;
            return value(word);
        }
    }
    if let Some((name, number)) = text.split_once(['<', '>']) {
        key(name)?;
        let number = number.trim();
        return number
            .parse::<i64>()
            .map(|_| ())
            .map_err(|_| format!("{number:?} is not an integer"));
    }
    key(text)
}

/// A label key: `[prefix/]name`.
fn key(text: &str) -> Result<(), String> {
    let text = text.trim();
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let is_prefix = |prefix: &str| {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        (1..=253).contains(&prefix.len()) && prefix.chars().all(letters)
    };
    if prefix.is_none_or(is_prefix) && !name.is_empty() && is_word(name) {
        Ok(())
    } else {
        Err(format!("{text:?} is not a label key"))
    }
}

fn value(text: &str) -> Result<(), String> {
    let text = text.trim();
    if is_word(text) {
        Ok(())
    } else {
        Err(format!("{text:?} is not a label value"))
    }
}

/// Up to 63 letters, digits, `-`, `_` and `.`, the ends being letters or digits; or nothing.
fn is_word(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_alphanumeric();
    let inner = |c: char| ends(c) || matches!(c, '-' | '_' | '.');
    text.len() <= 63
        && text.chars().all(inner)
        && (text.is_empty() || (text.starts_with(ends) && text.ends_with(ends)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_kubectl_are_accepted() {
        for selector in [
            "",
            "app=backend",
            "app == backend",
            "app!=backend,tier",
            "!legacy",
            "app in (a, b),tier notin (c)",
            "app.kubernetes.io/name=x",
            "app=",
            "app in (a,)",
            "priority>5,priority<10",
        ] {
            assert_eq!(check(selector), Ok(()), "{selector:?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for selector in [
            "app=back end",
            "app in",
            "app in (a",
            "app on (a)",
            "app in (a) x",
            "app=a,",
            ",app=a",
            "=a",
            "app=-a",
            "Prefix/app=a",
            "a/b/c=d",
            "app=(a)",
            "priority>high",
            "app in ((a))",
        ] {
            assert!(check(selector).is_err(), "{selector:?}");
        }
    }
}
