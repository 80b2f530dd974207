//! Values of settings: how they are read, and how they are printed.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use provisioner::karpenter::parse_go_duration;
use scaler_api::metadata::go;

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Yes or no, in the words of Go.
    Switch,
    /// A whole number, at least this one.
    Count(u64),
    /// A duration above zero, as Go writes it.
    Duration,
    /// An address to listen on.
    Address,
    /// An address to listen on, or `0` for none.
    OptionalAddress,
    /// An IPv4 address.
    Ip,
    /// Any text.
    Text,
    /// A file or folder.
    Path,
    /// Several texts, comma separated; a list in the file.
    List,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// A level, or a filter of `tracing` such as `info,kube=debug`.
    LogFilter,
}

/// How the value of an alias reads, where it differs from the setting's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// As the setting's own.
    Same,
    /// A switch that says the contrary.
    Inverted,
    /// A number of milliseconds.
    Milliseconds,
    /// A port, on every address.
    Port,
    /// A level of zap: its words, or a number from 1 for more and more detail.
    ZapLevel,
    /// `console` or `json`.
    ZapEncoder,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing was said and there is no default.
    Absent,
    /// Of a switch.
    Switch(bool),
    /// Of a count.
    Count(u64),
    /// Of a duration.
    Duration(Duration),
    /// Of an address; none where nothing shall be listened on.
    Address(Option<SocketAddr>),
    /// Of an IPv4 address.
    Ip(Ipv4Addr),
    /// Of a text, a path, a choice or a filter.
    Text(String),
    /// Of a list.
    List(Vec<String>),
}

impl fmt::Display for Value {
    /// As the file takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("\"\""),
            Self::Switch(on) => write!(f, "{on}"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Duration(duration) => f.write_str(&go_duration(*duration)),
            Self::Address(Some(address)) => write!(f, "\"{address}\""),
            Self::Address(None) => f.write_str("\"0\""),
            Self::Ip(address) => write!(f, "\"{address}\""),
            Self::Text(text) => f.write_str(&scalar(text)),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(|item| scalar(item)).collect();
                write!(f, "[{}]", items.join(", "))
            }
        }
    }
}

/// A text as a YAML scalar: plain where that is safe.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "-_./".contains(letter))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if plain {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

/// A duration as Go reads it, without empty parts: `15s`, `1m30s`, `250ms`.
#[must_use]
pub fn go_duration(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(millis), "ms"),
    ];
    let text: String = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

impl Kind {
    /// What is expected, in words.
    #[must_use]
    pub fn expected(self) -> String {
        match self {
            Self::Switch => "true or false".to_owned(),
            Self::Count(least) => format!("a whole number from {least}"),
            Self::Duration => "a duration above zero such as 500ms, 15s or 1m30s".to_owned(),
            Self::Address => "an address and a port such as 127.0.0.1:8080 or :8080".to_owned(),
            Self::OptionalAddress => {
                "an address and a port such as 127.0.0.1:8080 or :8080, or 0 for none".to_owned()
            }
            Self::Ip => "an IPv4 address such as 127.0.0.1".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::List => "a comma-separated list".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::LogFilter => {
                "error, warn, info, debug, trace or off, or a filter such as info,kube=debug".to_owned()
            }
        }
    }

    /// Reads a text; nothing means [`Value::Absent`], but of a list the empty one.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        if self == Self::List {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            return Ok(Value::List(items.map(str::to_owned).collect()));
        }
        if text.is_empty() {
            return Ok(Value::Absent);
        }
        let value = match self {
            Self::Switch => go::parse_bool(text).map(Value::Switch),
            Self::Count(least) => text
                .parse()
                .ok()
                .filter(|count| *count >= least)
                .map(Value::Count),
            Self::Duration => parse_go_duration(text)
                .filter(|duration| !duration.is_zero())
                .map(Value::Duration),
            Self::OptionalAddress if text == "0" => Some(Value::Address(None)),
            Self::Address | Self::OptionalAddress => {
                address(text).map(|address| Value::Address(Some(address)))
            }
            Self::Ip => text.parse().ok().map(Value::Ip),
            Self::Choice(words) => {
                let known = words.iter().find(|word| word.eq_ignore_ascii_case(text));
                known.map(|word| Value::Text((*word).to_owned()))
            }
            Self::LogFilter => {
                let filter: Result<tracing_subscriber::EnvFilter, _> = text.parse();
                // A lone word that is no level would be read as a module's name.
                let plausible =
                    text.contains([',', '=']) || text.parse::<tracing::metadata::LevelFilter>().is_ok();
                filter
                    .ok()
                    .filter(|_| plausible)
                    .map(|_| Value::Text(text.to_owned()))
            }
            Self::Text | Self::Path => Some(Value::Text(text.to_owned())),
            Self::List => None,
        };
        value.ok_or_else(|| self.expected())
    }
}

impl Reads {
    /// Reads a text for a setting of `kind`.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(self, kind: Kind, text: &str) -> Result<Value, String> {
        let text = text.trim();
        if self != Self::Same && text.is_empty() {
            return Ok(Value::Absent);
        }
        match self {
            Self::Same => kind.parse(text),
            Self::Inverted => match kind.parse(text)? {
                Value::Switch(on) => Ok(Value::Switch(!on)),
                other => Ok(other),
            },
            Self::Milliseconds => match text.parse() {
                Ok(millis) if millis > 0 => Ok(Value::Duration(Duration::from_millis(millis))),
                _ => Err("a number of milliseconds from 1".to_owned()),
            },
            Self::Port => match text.parse() {
                Ok(port) => Ok(Value::Address(Some((Ipv4Addr::UNSPECIFIED, port).into()))),
                Err(_) => Err("a port from 0 to 65535".to_owned()),
            },
            Self::ZapLevel => match (text.parse::<u8>(), text) {
                (Ok(1), _) => Ok(Value::Text("debug".to_owned())),
                (Ok(2..), _) => Ok(Value::Text("trace".to_owned())),
                (_, "panic" | "dpanic" | "fatal") => Ok(Value::Text("error".to_owned())),
                (_, "debug" | "info" | "warn" | "error") => kind.parse(text),
                _ => Err("debug, info, warn, error or panic, or a number from 1".to_owned()),
            },
            Self::ZapEncoder => match text {
                "console" => Ok(Value::Text("text".to_owned())),
                "json" => Ok(Value::Text("json".to_owned())),
                _ => Err("console or json".to_owned()),
            },
        }
    }
}

/// `host:port` or, as Go has it, `:port` for every address.
fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix(':') {
        Some(port) => Some((Ipv4Addr::UNSPECIFIED, port.parse().ok()?).into()),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_printed_so_that_they_read_the_same_again() {
        for (kind, text, printed) in [
            (Kind::Switch, "T", "true"),
            (Kind::Count(1), "7", "7"),
            (Kind::Duration, "90s", "1m30s"),
            (Kind::Duration, "1500ms", "1s500ms"),
            (Kind::Duration, "48h", "48h"),
            (Kind::Address, ":8080", "\"0.0.0.0:8080\""),
            (Kind::Address, "[::1]:0", "\"[::1]:0\""),
            (Kind::OptionalAddress, "0", "\"0\""),
            (Kind::Ip, "127.0.0.1", "\"127.0.0.1\""),
            (Kind::Text, "no", "\"no\""),
            (Kind::Text, "a b", "\"a b\""),
            (Kind::Path, "/etc/x.yaml", "/etc/x.yaml"),
            (Kind::Choice(&["pods", "nodes"]), "Pods", "pods"),
            (Kind::LogFilter, "INFO,kube=debug", "\"INFO,kube=debug\""),
        ] {
            let value = kind.parse(text).unwrap();
            assert_eq!(value.to_string(), printed, "{text}");
            let again = kind.parse(printed.trim_matches('"')).unwrap();
            assert_eq!(again, value, "{printed}");
        }
        assert_eq!(Kind::List.parse(" a, b,,").unwrap().to_string(), "[a, b]");
        assert_eq!(Kind::List.parse("").unwrap(), Value::List(Vec::new()));
        assert_eq!(Kind::Duration.parse("").unwrap(), Value::Absent);
    }

    #[test]
    fn what_cannot_be_read_says_what_was_expected() {
        for (kind, text) in [
            (Kind::Switch, "yes"),
            (Kind::Count(1), "0"),
            (Kind::Count(1), "-1"),
            (Kind::Duration, "15"),
            (Kind::Duration, "0s"),
            (Kind::Address, "8080"),
            (Kind::Address, "0"),
            (Kind::Address, "localhost:80"),
            (Kind::Address, ":99999"),
            (Kind::Ip, "localhost"),
            (Kind::Ip, "::1"),
            (Kind::Choice(&["pods"]), "pod"),
            (Kind::LogFilter, "loud"),
            (Kind::LogFilter, "info,=="),
        ] {
            assert_eq!(kind.parse(text), Err(kind.expected()), "{kind:?} {text}");
        }
    }

    #[test]
    fn aliases_read_as_their_owners_do() {
        let text = |text: &str| Ok(Value::Text(text.to_owned()));
        for (reads, kind, given, expected) in [
            (Reads::Inverted, Kind::Switch, "true", Ok(Value::Switch(false))),
            (
                Reads::Milliseconds,
                Kind::Duration,
                "3000",
                Ok(Value::Duration(Duration::from_secs(3))),
            ),
            (
                Reads::Port,
                Kind::Address,
                "8000",
                Ok(Value::Address(Some(([0, 0, 0, 0], 8000).into()))),
            ),
            (Reads::ZapLevel, Kind::LogFilter, "1", text("debug")),
            (Reads::ZapLevel, Kind::LogFilter, "5", text("trace")),
            (Reads::ZapLevel, Kind::LogFilter, "panic", text("error")),
            (Reads::ZapEncoder, Kind::Text, "console", text("text")),
            (Reads::Port, Kind::Address, "", Ok(Value::Absent)),
            (
                Reads::Milliseconds,
                Kind::Duration,
                "3s",
                Err("a number of milliseconds from 1".to_owned()),
            ),
        ] {
            assert_eq!(reads.parse(kind, given), expected, "{reads:?} {given}");
        }
    }
}
