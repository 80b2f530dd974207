//! Formulas of `scalingModifiers`: expr-lang, the language that KEDA's formulas are written in, over trigger names.
//!
//! A formula comes with the object of whoever may create one, and is evaluated for every check and query. So it is
//! bounded before it is parsed: its length, its nesting, its words; ranges (`1..1000000000`) and `repeat` are refused,
//! as they make values of any size. What is left is evaluated in micro- to milliseconds.

use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use expr::{Context, Program, Value};

/// Most bytes of a formula.
const LONGEST: usize = 2048;
/// Most words and signs.
const MOST_TOKENS: usize = 256;
/// How much stack the largest formulas need, as the parser and the interpreter call themselves for each level.
const STACK_NEEDED: usize = if cfg!(debug_assertions) { 4 << 20 } else { 1 << 20 };
/// How much they get where there is less.
const STACK: usize = 8 << 20;
/// How deep brackets may be nested.
const DEEPEST: usize = 16;
/// How deep predicates (`{# > 1}`) may be nested: each level multiplies the work.
const DEEPEST_PREDICATE: usize = 2;
/// Words of the language that are no names.
const KEYWORDS: [&str; 15] = [
    "and",
    "or",
    "not",
    "in",
    "let",
    "true",
    "false",
    "nil",
    "if",
    "else",
    "matches",
    "contains",
    "startsWith",
    "endsWith",
    "$env",
];
/// What each trigger is taken to measure when a formula is tried out. KEDA takes -1; one that only works for other
/// values is fine as well.
const TRIAL: [f64; 4] = [-1.0, 0.0, 1.0, 2.0];

/// Why a formula cannot be used, or has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormulaError(String);

/// A formula that was parsed and tried out. Clones share it.
#[derive(Clone)]
pub struct Formula {
    text: Arc<str>,
    program: Arc<Program>,
}

impl fmt::Debug for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Formula").field(&self.text).finish()
    }
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Formula {
    /// Parses a formula over these names.
    ///
    /// # Errors
    /// If it is too large, is not of the language, uses other names or does not give a number.
    pub fn parse(text: &str, names: &BTreeSet<&str>) -> Result<Self, FormulaError> {
        bounded(text, names)?;
        let program =
            guarded(|| expr::compile(text))?.map_err(|error| FormulaError(one_line(&error.to_string())))?;
        let formula = Self {
            text: text.into(),
            program: Arc::new(program),
        };
        let mut problem = None;
        for value in TRIAL {
            match formula.result(names.iter().map(|name| (*name, Some(value)))) {
                Ok(_) => return Ok(formula),
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        Err(problem.unwrap_or_else(|| FormulaError("gives no value".to_owned())))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its value where the names have these; a name without a value is `nil`, and so is the result if the formula says
    /// nothing else (`a ?? 1`).
    ///
    /// # Errors
    /// If it cannot be evaluated, or gives something else than a finite number or `nil`.
    pub fn evaluate<'a>(
        &self,
        values: impl IntoIterator<Item = (&'a str, Option<f64>)>,
    ) -> Result<Option<f64>, FormulaError> {
        match self.result(values)? {
            Some(value) if !value.is_finite() => Err(FormulaError(format!(
                "the formula gives {value}, expected a finite number"
            ))),
            result => Ok(result),
        }
    }

    fn result<'a>(
        &self,
        values: impl IntoIterator<Item = (&'a str, Option<f64>)>,
    ) -> Result<Option<f64>, FormulaError> {
        let mut context = Context::default();
        for (name, value) in values {
            context.insert(name, value.map_or(Value::Nil, Value::Float));
        }
        let result = guarded(|| expr::run(&self.program, &context))?
            .map_err(|error| FormulaError(error.to_string()))?;
        number(&result)
    }
}

/// Runs the library with enough stack; it asserts where it should refuse.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, FormulaError> {
    let work = AssertUnwindSafe(|| stacker::maybe_grow(STACK_NEEDED, STACK, work));
    catch_unwind(work).map_err(|_| FormulaError("is not understood".to_owned()))
}

/// A result in the words of `float(...)`, which KEDA puts around a formula.
fn number(value: &Value) -> Result<Option<f64>, FormulaError> {
    #[allow(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
    let number = match value {
        Value::Nil => None,
        Value::Integer(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        Value::String(text) => Some(text.parse().map_err(|_| not_a_number(value))?),
        _ => return Err(not_a_number(value)),
    };
    Ok(number)
}

fn not_a_number(value: &Value) -> FormulaError {
    FormulaError(format!("the formula gives {value}, expected a number"))
}

/// The parser's message without its drawing of the place.
fn one_line(message: &str) -> String {
    let place = message.lines().next().unwrap_or_default().trim();
    let place = place.trim_start_matches("-->").trim();
    let expected = message.lines().last().unwrap_or_default().trim();
    format!(
        "is not a formula at {place}: {}",
        expected.trim_start_matches(['=', ' '])
    )
}

/// A word or sign of a formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A name or a keyword.
    Word(&'a str),
    /// `.` or `?.`: a word after it is a member.
    Member,
    /// `..`
    Range,
    /// A string or number.
    Literal,
    /// Anything else, by its first character.
    Sign(char),
}

/// Refuses what would cost too much, and names that nobody has.
fn bounded(text: &str, names: &BTreeSet<&str>) -> Result<(), FormulaError> {
    if text.len() > LONGEST {
        let length = text.len();
        return refuse(format!("has {length} bytes, expected at most {LONGEST}"));
    }
    let tokens = tokens(text);
    if tokens.len() > MOST_TOKENS {
        let count = tokens.len();
        return refuse(format!(
            "has {count} words and signs, expected at most {MOST_TOKENS}"
        ));
    }
    nesting(&tokens)?;
    let mut bound = BTreeSet::new();
    for (index, token) in tokens.iter().enumerate() {
        let previous = index.checked_sub(1).map(|index| tokens[index]);
        let next = tokens.get(index + 1).copied();
        match token {
            Token::Range => return refuse("has a range, expected the values themselves"),
            Token::Word("repeat") if next == Some(Token::Sign('(')) => {
                return refuse("calls repeat, which makes texts of any length");
            }
            Token::Sign('{') if is_map(&tokens[index + 1..]) => {
                return refuse("has a map, expected numbers");
            }
            Token::Word(word) => {
                if previous == Some(Token::Word("let")) {
                    bound.insert(*word);
                }
                let is_other = previous == Some(Token::Member)
                    || next == Some(Token::Sign('('))
                    || word.starts_with('#')
                    || KEYWORDS.contains(word);
                if !is_other && !names.contains(word) && !bound.contains(word) {
                    let known: Vec<_> = names.iter().copied().collect();
                    return refuse(format!(
                        "uses {word:?}, expected the names of triggers: {}",
                        known.join(", ")
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether braces that contain this hold keys and values, no predicate.
fn is_map(content: &[Token<'_>]) -> bool {
    matches!(
        content,
        [Token::Sign('}'), ..] | [Token::Word(_) | Token::Literal, Token::Sign(':'), ..]
    )
}

fn refuse<T>(problem: impl Into<String>) -> Result<T, FormulaError> {
    Err(FormulaError(problem.into()))
}

fn nesting(tokens: &[Token<'_>]) -> Result<(), FormulaError> {
    let (mut depth, mut predicates) = (0_usize, 0_usize);
    for token in tokens {
        match token {
            Token::Sign('(' | '[') => depth += 1,
            Token::Sign('{') => (depth, predicates) = (depth + 1, predicates + 1),
            Token::Sign(')' | ']') => depth = depth.saturating_sub(1),
            Token::Sign('}') => {
                (depth, predicates) = (depth.saturating_sub(1), predicates.saturating_sub(1));
            }
            _ => {}
        }
        if depth > DEEPEST {
            return refuse(format!("has brackets in more than {DEEPEST} others"));
        }
        if predicates > DEEPEST_PREDICATE {
            return refuse(format!("has braces in more than {DEEPEST_PREDICATE} others"));
        }
    }
    Ok(())
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = token(rest, first);
        tokens.extend(token);
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    tokens
}

/// The token at the start of `rest`, none for a comment, and its length.
fn token(rest: &str, first: char) -> (Option<Token<'_>>, usize) {
    let while_true = |is_part: fn(char) -> bool| rest.find(|part| !is_part(part)).unwrap_or(rest.len());
    match first {
        '/' if rest.starts_with("//") => (None, rest.find('\n').unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => (None, rest.find("*/").map_or(rest.len(), |end| end + 2)),
        '\'' | '"' | '`' => (Some(Token::Literal), string(rest, first)),
        '0'..='9' => (
            Some(Token::Literal),
            // A range begins where two points do.
            while_true(|part| part.is_ascii_alphanumeric() || matches!(part, '_' | '.'))
                .min(rest.find("..").unwrap_or(rest.len())),
        ),
        _ if rest.starts_with("..") => (Some(Token::Range), 2),
        _ if rest.starts_with("?.") => (Some(Token::Member), 2),
        '.' => (Some(Token::Member), 1),
        '_' | '$' | '#' | 'a'..='z' | 'A'..='Z' => {
            let length = while_true(|part| part.is_ascii_alphanumeric() || matches!(part, '_' | '$' | '#'));
            (Some(Token::Word(&rest[..length])), length)
        }
        sign => (Some(Token::Sign(sign)), sign.len_utf8()),
    }
}

/// The length of the string at the start of `rest`.
fn string(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (index, part) in rest.char_indices().skip(1) {
        if part == quote && !is_escaped {
            return index + 1;
        }
        is_escaped = part == '\\' && !is_escaped && quote != '`';
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    //! keda.md §2.3.
    use super::*;

    fn parse(text: &str) -> Result<Formula, FormulaError> {
        Formula::parse(text, &BTreeSet::from(["a", "b", "c", "trig_one"]))
    }

    fn value(text: &str, values: &[(&str, Option<f64>)]) -> Result<Option<f64>, FormulaError> {
        parse(text).unwrap().evaluate(values.iter().copied())
    }

    #[test]
    fn formulas_of_section_2_3_have_kedas_values() {
        let given = [
            ("a", Some(8.0)),
            ("b", Some(3.0)),
            ("c", Some(0.5)),
            ("trig_one", Some(2.0)),
        ];
        let cases = [
            ("a + b", 11.0),
            ("(a + b) / 2", 5.5),
            ("a > 2 ? a + b : 1", 11.0),
            ("a < 2 ? a + b : 1", 1.0),
            ("a < 2 ? 1 : b < 2 ? 2 : 7", 7.0),
            ("count([a, b, c], {# > 1}) > 1 ? 5 : 0", 5.0),
            ("count([a, b, c], {# > 5})", 1.0),
            ("sum([a, b, c])", 11.5),
            ("mean([a, b])", 5.5),
            ("max(a, b, c)", 8.0),
            ("max([a, b, c])", 8.0),
            ("min(a, b, c)", 0.5),
            ("float(a)", 8.0),
            ("int(c)", 0.0),
            ("round(5.5)", 6.0),
            ("ceil(c) + floor(5.5)", 6.0),
            ("abs(b - a)", 5.0),
            ("a ** 2", 64.0),
            ("a - b * c", 6.5),
            ("a >= 8 && b != 4 or c == 1 ? 1 : 0", 1.0),
            ("not (a > b) ? 1 : 2", 2.0),
            ("let x = a * 2; x + b", 19.0),
            ("trig_one ?? 5", 2.0),
            ("[a, b] | max()", 8.0),
            ("a /* of the first */ + b // and the second", 11.0),
            ("7", 7.0),
            ("-a", -8.0),
            ("string(a)", 8.0),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text, &given), Ok(Some(expected)), "{text}");
        }
    }

    #[test]
    fn section_2_3_a_missing_value_is_nil_until_the_formula_gives_another() {
        let cases = [
            ("a ?? 8", None, Ok(Some(8.0))),
            ("a ?? 8", Some(3.0), Ok(Some(3.0))),
            ("a", None, Ok(None)),
            ("(a ?? b) / 2", None, Ok(Some(2.0))),
            ("a == nil ? 1 : 2", None, Ok(Some(1.0))),
        ];
        for (text, a, expected) in cases {
            assert_eq!(value(text, &[("a", a), ("b", Some(4.0))]), expected, "{text}");
        }
        assert!(
            value("a + b", &[("a", None), ("b", Some(4.0))]).is_err(),
            "nothing and four is not four"
        );
    }

    #[test]
    fn section_2_3_what_is_not_finite_is_no_value() {
        for b in [0.0, -0.0] {
            let error = value("a / b", &[("a", Some(1.0)), ("b", Some(b))]).unwrap_err();
            assert!(error.to_string().contains("expected a finite number"), "{error}");
        }
        assert!(value("a / b", &[("a", Some(0.0)), ("b", Some(0.0))]).is_err());
    }

    #[test]
    fn section_2_3_what_is_no_formula_is_refused_with_the_reason() {
        let cases = [
            ("", "is not a formula"),
            ("a +", "is not a formula"),
            (
                "a + d",
                "uses \"d\", expected the names of triggers: a, b, c, trig_one",
            ),
            ("false ? d : a", "uses \"d\""),
            ("a > b", "expected a number"),
            ("[a]", "expected a number"),
            ("\"many\"", "expected a number"),
            ("fetch(a)", "fetch"),
            ("a + \"x\"", ""),
            ("count(1..1000000000)", "range"),
            ("len(repeat(\"x\", 1000000000))", "repeat"),
            ("{b: a}.b", "has a map"),
            ("{\"b\": a}.b", "has a map"),
            ("len({}) + a", "has a map"),
            ("map([a],{map([a],{map([a],{#})})})", "braces"),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn section_2_3_words_in_strings_and_comments_are_no_names() {
        for text in [
            "len(\"d..e\") + a",
            "len('it\\'s d') + a",
            "len(`d`) + a /* d */",
            "[1.5, .5] | sum() // d",
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
        }
    }

    #[test]
    fn section_2_3_what_is_too_large_is_refused_before_it_is_parsed() {
        let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(DEEPEST)).is_ok());
        for text in [
            nested(DEEPEST + 1),
            nested(900),
            format!("a{}", " + a".repeat(MOST_TOKENS / 2)),
            format!("a{}", " ".repeat(LONGEST)),
        ] {
            assert!(parse(&text).is_err(), "{text:.40}");
        }
    }

    #[test]
    fn section_2_3_the_largest_formulas_fit_into_a_small_stack() {
        let largest = || {
            let chains = [
                (" + a", true),
                (" ?? a", true),
                (" ** a", true),
                (" > a ? a : a", true),
                ("[0]", false),
                (" | float()", true),
            ];
            for (chain, has_value) in chains {
                let mut text = "a".to_owned();
                while tokens(&text).len() + tokens(chain).len() <= MOST_TOKENS
                    && text.len() + chain.len() <= LONGEST
                {
                    text += chain;
                }
                let value = parse(&text).and_then(|formula| formula.evaluate([("a", Some(1.0))]));
                assert_eq!(value.is_ok(), has_value, "{chain}: {value:?}");
            }
        };
        let thread = std::thread::Builder::new().stack_size(512 << 10);
        thread.spawn(largest).unwrap().join().unwrap();
    }

    #[test]
    fn section_2_3_arithmetic_at_the_edges_is_an_error_or_a_finite_number() {
        for text in [
            "1 % 0",
            "int(a) % 0",
            "1 / 0",
            "9223372036854775807 + 1",
            "9223372036854775807 * 2",
            "-9223372036854775807 - 2",
            "2 ** 100",
            "[1][5]",
            "[1][-7]",
            "int(1e300)",
            "round(1e300)",
            "max([])",
            "bitshl(1, 100)",
            "bitshl(1, -1)",
        ] {
            let value = parse(text).and_then(|formula| formula.evaluate([("a", Some(1.0))]));
            assert!(
                value.as_ref().is_ok_and(|value| value.is_none_or(f64::is_finite)) || value.is_err(),
                "{text}: {value:?}"
            );
        }
    }
}
