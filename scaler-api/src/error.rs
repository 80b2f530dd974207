//! One error for everything a scaler can meet, with a kind that callers act on.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc, time::Duration};

/// What a caller can do about an [`Error`].
///
/// Kinds answer "what now", not "what broke": retry, ask for credentials, fix the metadata, wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The source cannot be reached or answered with a server error. Transient.
    Unavailable,
    /// The source did not answer in time. Transient.
    Timeout,
    /// The source asked us to slow down. Transient.
    Throttled,
    /// Credentials are missing, wrong or expired.
    Unauthorized,
    /// The queue, topic, table or object does not exist.
    NotFound,
    /// The metadata, or an answer of the source, does not make sense.
    Invalid,
    /// This build or this scaler cannot do what was asked.
    Unsupported,
    /// A bug on our side.
    Internal,
}

impl ErrorKind {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::Timeout | Self::Throttled)
    }

    /// The kind as one lower-case word, for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Throttled => "throttled",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
        }
    }
}

/// An error of a scaler, cheap to clone because one sample is shared by many readers.
///
/// `Display` is one line: the message, then the context in the order it was added, then the source.
/// Messages start in lower case, have no full stop, and name the value that was met.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A new error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                kind,
                message: message.into(),
                context: Vec::new(),
                retry_after: None,
                source: None,
            }),
        }
    }

    /// [`ErrorKind::Unavailable`] with `message`.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// [`ErrorKind::Invalid`] with `message`.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// [`ErrorKind::NotFound`] with `message`.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Adds what was being done or to what, e.g. `("queue", "orders")`.
    #[must_use]
    pub fn with_context(mut self, key: &'static str, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.inner).context.push((key, value.into()));
        self
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.inner).source = Some(Arc::from(source.into()));
        self
    }

    /// Adds how long the source asked us to wait.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        Arc::make_mut(&mut self.inner).retry_after = Some(after);
        self
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The message without context and source.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// How long the source asked us to wait, if it said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.retry_after
    }

    /// Whether the same call may succeed later; see [`ErrorKind::is_transient`].
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.inner.kind.is_transient()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        for (index, (key, value)) in self.inner.context.iter().enumerate() {
            write!(f, "{}{key}={value}", if index == 0 { " (" } else { ", " })?;
        }
        if !self.inner.context.is_empty() {
            f.write_str(")")?;
        }
        if let Some(source) = &self.inner.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.inner.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_message_context_and_source_on_one_line() {
        let error = Error::unavailable("cannot read the queue")
            .with_context("queue", "orders")
            .with_context("region", "eu-west-1")
            .with_source("connection refused");
        assert_eq!(
            error.to_string(),
            "cannot read the queue (queue=orders, region=eu-west-1): connection refused"
        );
        assert!(error.is_transient());
    }

    #[test]
    fn adding_context_to_a_clone_leaves_the_original_alone() {
        let error = Error::invalid("bad answer");
        let clone = error.clone().with_context("field", "x");
        assert_eq!(error.to_string(), "bad answer");
        assert_eq!(clone.to_string(), "bad answer (field=x)");
    }
}
