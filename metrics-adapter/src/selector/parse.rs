//! The grammar of label selectors.

use std::collections::BTreeSet;

use super::{Operator, ParseSelectorError, Requirement, Selector, check_key};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenKind {
    Identifier,
    In,
    NotIn,
    Open,
    Close,
    Comma,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    End,
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    kind: TokenKind,
    literal: &'a str,
}

fn scan(text: &str) -> Vec<Token<'_>> {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let is_special = |c: char| "=!(),><".contains(c);
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let (kind, length) = match (first, rest.as_bytes().get(1)) {
            ('=', Some(b'=')) => (TokenKind::DoubleEquals, 2),
            ('!', Some(b'=')) => (TokenKind::NotEquals, 2),
            ('=', _) => (TokenKind::Equals, 1),
            ('!', _) => (TokenKind::Not, 1),
            ('(', _) => (TokenKind::Open, 1),
            (')', _) => (TokenKind::Close, 1),
            (',', _) => (TokenKind::Comma, 1),
            ('>', _) => (TokenKind::Greater, 1),
            ('<', _) => (TokenKind::Less, 1),
            _ => {
                let end = rest.find(|c| is_special(c) || is_space(c)).unwrap_or(rest.len());
                let kind = match rest.split_at(end).0 {
                    "in" => TokenKind::In,
                    "notin" => TokenKind::NotIn,
                    _ => TokenKind::Identifier,
                };
                (kind, end)
            }
        };
        let (literal, tail) = rest.split_at(length);
        tokens.push(Token { kind, literal });
        rest = tail.trim_start_matches(is_space);
    }
    tokens
}

/// Parses the string form of a selector.
pub(super) fn parse(text: &str) -> Result<Selector, ParseSelectorError> {
    Parser {
        tokens: scan(text),
        position: 0,
    }
    .parse()
}

/// Recursive descent, one method per rule of the grammar.
struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    position: usize,
}

impl<'a> Parser<'a> {
    const END: Token<'static> = Token {
        kind: TokenKind::End,
        literal: "",
    };

    fn peek_operator(&self) -> Token<'a> {
        self.tokens.get(self.position).copied().unwrap_or(Self::END)
    }

    /// Where a key or a value is expected, `in` and `notin` are words like any other.
    fn peek(&self) -> Token<'a> {
        let mut token = self.peek_operator();
        if matches!(token.kind, TokenKind::In | TokenKind::NotIn) {
            token.kind = TokenKind::Identifier;
        }
        token
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.position += 1;
        token
    }

    fn parse(mut self) -> Result<Selector, ParseSelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek().kind {
                TokenKind::Identifier | TokenKind::Not => {
                    let requirement = self.requirement().map_err(|error| {
                        ParseSelectorError::new(format!("unable to parse requirement: {error}"))
                    })?;
                    requirements.push(requirement);
                    let token = self.next();
                    match token.kind {
                        TokenKind::End => break,
                        TokenKind::Comma => {
                            let after = self.peek();
                            if !matches!(after.kind, TokenKind::Identifier | TokenKind::Not) {
                                return Err(ParseSelectorError::found(after.literal, "identifier after ','"));
                            }
                        }
                        _ => return Err(ParseSelectorError::found(token.literal, "',' or 'end of string'")),
                    }
                }
                TokenKind::End => break,
                _ => {
                    return Err(ParseSelectorError::found(
                        self.peek().literal,
                        "!, identifier, or 'end of string'",
                    ));
                }
            }
        }
        Ok(Selector::new(requirements))
    }

    fn requirement(&mut self) -> Result<Requirement, ParseSelectorError> {
        let mut token = self.next();
        let negated = token.kind == TokenKind::Not;
        if negated {
            token = self.next();
        }
        if token.kind != TokenKind::Identifier {
            return Err(ParseSelectorError::found(token.literal, "identifier"));
        }
        let key = token.literal;
        check_key(key)?;
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, []);
        }
        if matches!(self.peek().kind, TokenKind::End | TokenKind::Comma) {
            return Requirement::new(key, Operator::Exists, []);
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        Requirement::new(key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, ParseSelectorError> {
        let token = self.peek_operator();
        self.position += 1;
        Ok(match token.kind {
            TokenKind::In => Operator::In,
            TokenKind::NotIn => Operator::NotIn,
            TokenKind::Equals => Operator::Equals,
            TokenKind::DoubleEquals => Operator::DoubleEquals,
            TokenKind::NotEquals => Operator::NotEquals,
            TokenKind::Greater => Operator::GreaterThan,
            TokenKind::Less => Operator::LessThan,
            _ => {
                return Err(ParseSelectorError::found(
                    token.literal,
                    "in, notin, =, ==, !=, gt, lt",
                ));
            }
        })
    }

    fn exact_value(&mut self) -> Result<String, ParseSelectorError> {
        if matches!(self.peek().kind, TokenKind::End | TokenKind::Comma) {
            return Ok(String::new());
        }
        let token = self.next();
        if token.kind == TokenKind::Identifier {
            return Ok(token.literal.to_owned());
        }
        Err(ParseSelectorError::found(token.literal, "identifier"))
    }

    /// `(a,b)`; a missing value between commas is the empty value.
    fn values(&mut self) -> Result<BTreeSet<String>, ParseSelectorError> {
        let open = self.next();
        if open.kind != TokenKind::Open {
            return Err(ParseSelectorError::new(format!(
                "found '{}' expected: '('",
                open.literal
            )));
        }
        let mut values = BTreeSet::new();
        loop {
            let token = self.next();
            match token.kind {
                TokenKind::Close | TokenKind::Comma => {
                    values.insert(String::new());
                }
                TokenKind::Identifier => {
                    values.insert(token.literal.to_owned());
                }
                _ => return Err(ParseSelectorError::found(token.literal, "',', ')' or identifier")),
            }
            if token.kind == TokenKind::Close {
                return Ok(values);
            }
            if token.kind == TokenKind::Identifier {
                let separator = self.next();
                match separator.kind {
                    TokenKind::Close => return Ok(values),
                    TokenKind::Comma if self.peek().kind == TokenKind::End => {
                        return Err(ParseSelectorError::found("", "',', or identifier"));
                    }
                    TokenKind::Comma => {}
                    _ => return Err(ParseSelectorError::found(separator.literal, "',' or ')'")),
                }
            }
        }
    }
}
