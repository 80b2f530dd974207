//! A trigger: typed metadata that knows its metrics and connects to its source.

use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, MetricSpec, MetricType, Scaler, Secret, SharedClock, SystemClock, metadata::Problems};

/// The metadata of one kind of trigger. The typed metadata is the factory of the scaler.
///
/// # Contract
/// - The struct is deserialized from strings that were resolved by [`fields`](Trigger::fields): a key's value comes
///   from the first of its [sources](Source) that has one, trimmed, empty meaning absent.
/// - No `#[serde(flatten)]`, untagged or internally tagged enums: they break string-to-number parsing.
/// - [`metrics`](Trigger::metrics) and [`source_key`](Trigger::source_key) are pure and cheap.
pub trait Trigger: DeserializeOwned + fmt::Debug + Send + Sync + 'static {
    /// The `type` of the trigger in a ScaledObject, e.g. `aws-sqs-queue`.
    const TYPE: &'static str;
    /// The scaler that [`connect`](Trigger::connect) makes.
    type Scaler: Scaler;

    /// Every key, with aliases, source order, default and documentation.
    fn fields() -> &'static [Field];

    /// An example of `metadata`, as YAML that the documentation shows and a test parses.
    fn example() -> &'static str;

    /// What is measured, in one line without full stop: "the number of messages in an Amazon SQS queue". It stands in
    /// lists of types.
    fn summary() -> &'static str {
        ""
    }

    /// Whether keys beside those of [`fields`](Trigger::fields) are welcome, because they are somebody else's; they are not
    /// warned of then, and [`input`](Trigger::input) sees them.
    #[must_use]
    fn takes_any_key() -> bool {
        false
    }

    /// Takes what it was built from as it was given, for triggers that pass it on.
    fn input(&mut self, input: &TriggerInput) {
        let _: &TriggerInput = input;
    }

    /// Rules across fields; every problem is added, none returns early.
    fn check(&self, problems: &mut Problems) {
        let _: &mut Problems = problems;
    }

    /// Takes what stands beside the metadata in the ScaledObject: metric type, identity, names.
    fn settings(&mut self, settings: &TriggerSettings) {
        let _: &TriggerSettings = settings;
    }

    /// The metrics, from metadata alone; none where only [`discover`](Trigger::discover) tells.
    fn metrics(&self) -> Vec<MetricSpec>;

    /// The metrics, where they are the source's to say; everywhere else those of [`metrics`](Trigger::metrics), without any
    /// traffic. Whoever asks a source keeps its answer, so that the HPA and the fallback outlive an outage.
    ///
    /// # Errors
    /// If the source does not say, and never has.
    fn discover(&self, context: &Context) -> impl Future<Output = Result<Vec<MetricSpec>, Error>> + Send {
        let _: &Context = context;
        async { Ok(self.metrics()) }
    }

    /// What is read: connection, query, credentials, and what decides [`Sample::active`](crate::Sample::active) such as
    /// the activation threshold; targets are no part of it. Equal keys share one sample.
    fn source_key(&self) -> SourceKey;

    /// Makes the scaler. No traffic is needed: a source that is down now may come later.
    ///
    /// # Errors
    /// If no scaler can ever come of this metadata and context, such as missing credentials.
    fn connect(self, context: &Context) -> impl Future<Output = Result<Self::Scaler, Error>> + Send;
}

/// What stands beside a trigger's metadata.
#[derive(Clone, Debug, Default)]
pub struct TriggerSettings {
    /// `triggers[].metricType`.
    pub metric_type: MetricType,
    /// `podIdentity` of the TriggerAuthentication.
    pub pod_identity: Option<PodIdentity>,
    /// Namespace of the object that has the trigger.
    pub namespace: String,
    /// Name of the object that has the trigger.
    pub name: String,
    /// Whether the value feeds a formula, so that a target may be left out.
    pub as_metric_source: bool,
}

/// Who a scaler is when it talks to its source (`podIdentity` of a TriggerAuthentication).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodIdentity {
    /// `aws`, `aws-eks`, `azure-workload`, `gcp` or `none`.
    pub provider: String,
    /// `identityId`.
    pub identity_id: Option<String>,
    /// `identityTenantId`.
    pub identity_tenant_id: Option<String>,
    /// `identityAuthorityHost`.
    pub identity_authority_host: Option<String>,
    /// `roleArn`.
    pub role_arn: Option<String>,
    /// `externalID`.
    pub external_id: Option<String>,
    /// `identityOwner`: `keda` or `workload`.
    pub identity_owner: Option<String>,
}

impl PodIdentity {
    /// The annotation of the ServiceAccount of the target's pods that names the role, where the scaler is to be who the
    /// target is and no role is named here.
    #[must_use]
    pub fn role_annotation(&self) -> Option<&'static str> {
        let is_the_targets = match self.provider.as_str() {
            "aws" => self.identity_owner.as_deref() == Some("workload"),
            "aws-eks" => true,
            _ => false,
        };
        (is_the_targets && self.role_arn.is_none()).then_some("eks.amazonaws.com/role-arn")
    }
}

/// One key of a trigger's metadata.
#[derive(Clone, Debug, Serialize)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// Other spellings that are accepted.
    pub aliases: &'static [&'static str],
    /// Where its value may come from, first match wins.
    pub sources: &'static [Source],
    /// Whether it must be given.
    pub required: bool,
    /// The value where none is given.
    pub default: Option<&'static str>,
    /// The words that are allowed; empty for any.
    pub allowed: &'static [&'static str],
    /// Whether it is a credential.
    pub secret: bool,
    /// One sentence.
    pub doc: &'static str,
}

impl Field {
    /// An optional key of the metadata; refine it with the other methods.
    #[must_use]
    pub const fn new(name: &'static str, doc: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            sources: &[Source::Metadata],
            required: false,
            default: None,
            allowed: &[],
            secret: false,
            doc,
        }
    }

    /// Marks the key as required.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Sets the default value.
    #[must_use]
    pub const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    /// Sets where the value may come from, in order.
    #[must_use]
    pub const fn from(mut self, sources: &'static [Source]) -> Self {
        self.sources = sources;
        self
    }

    /// Adds other spellings.
    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Restricts the value to these words.
    #[must_use]
    pub const fn allowed(mut self, words: &'static [&'static str]) -> Self {
        self.allowed = words;
        self
    }

    /// Marks the key as a credential.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// Where a value of a key may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `triggers[].metadata`.
    Metadata,
    /// `<key>FromEnv` in the metadata names an environment variable of the target's container.
    Environment,
    /// A parameter of the TriggerAuthentication.
    Authentication,
}

/// What a trigger is built from: strings by source.
#[derive(Clone, Debug, Default)]
pub struct TriggerInput {
    /// `triggers[].metadata`.
    pub metadata: BTreeMap<String, String>,
    /// Parameters of the TriggerAuthentication.
    pub authentication: BTreeMap<String, Secret>,
    /// Environment of the target's container.
    pub environment: BTreeMap<String, String>,
    /// What stands beside the metadata.
    pub settings: TriggerSettings,
}

/// Names a source: triggers with equal keys read the same thing with the same credentials.
///
/// Credentials go into it through [`SourceKey::secret`], which keeps a digest only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey(String);

impl SourceKey {
    /// The key of a source of `trigger_type`.
    #[must_use]
    pub fn new(trigger_type: &str) -> Self {
        Self(trigger_type.to_owned())
    }

    /// Adds a part.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        use fmt::Write as _;
        // Escaping keeps `a=b|c` apart from the two parts `a=b` and `c`.
        let value = value.to_string().replace('\\', "\\\\").replace('|', "\\|");
        if write!(self.0, "|{name}={value}").is_err() {
            unreachable!("writing to a String cannot fail")
        }
        self
    }

    /// Adds a credential as a digest.
    #[must_use]
    pub fn secret(self, name: &str, value: &Secret) -> Self {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        value.expose().hash(&mut hasher);
        let digest = hasher.finish();
        self.with(name, format_args!("#{digest:016x}"))
    }

    /// The key as text, for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What [`Trigger::connect`] may use of its surroundings.
///
/// Beyond the fixed fields it carries extensions by type: a binary puts in what its scalers need (an AWS environment,
/// a client for counting pods), a simulator puts in its in-memory ones, and neither is named here.
#[derive(Clone)]
pub struct Context {
    /// Wall-clock time.
    pub clock: SharedClock,
    /// Default deadline of one sample (KEDA's `KEDA_HTTP_DEFAULT_TIMEOUT`, 3 s).
    pub timeout: Duration,
    extensions: BTreeMap<ExtensionKey, Arc<dyn Any + Send + Sync>>,
}

type ExtensionKey = (TypeId, &'static str);

impl Context {
    /// A context with the system's clock and KEDA's default timeout.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            timeout: Duration::from_secs(3),
            extensions: BTreeMap::new(),
        }
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the default deadline of one sample.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds an extension; one value per type.
    #[must_use]
    pub fn with<T: Any + Send + Sync>(mut self, extension: T) -> Self {
        self.extensions.insert(
            (TypeId::of::<T>(), std::any::type_name::<T>()),
            Arc::new(extension),
        );
        self
    }

    /// The extension of type `T`, if there is one.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let extension = self
            .extensions
            .get(&(TypeId::of::<T>(), std::any::type_name::<T>()))?;
        Arc::clone(extension).downcast().ok()
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("clock", &self.clock)
            .field("timeout", &self.timeout)
            .field(
                "extensions",
                &self.extensions.keys().map(|(_, name)| *name).collect::<Vec<_>>(),
            )
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_keys_differ_by_credential_without_showing_it() {
        let key = |secret: &str| {
            SourceKey::new("redis")
                .with("address", "a:1")
                .secret("password", &Secret::new(secret))
        };
        assert_ne!(key("one"), key("two"));
        assert_eq!(key("one"), key("one"));
        assert!(!key("hunter2").as_str().contains("hunter2"));
    }

    #[test]
    fn source_key_parts_cannot_run_into_each_other() {
        assert_ne!(
            SourceKey::new("x").with("a", "1|b=2"),
            SourceKey::new("x").with("a", "1").with("b", "2")
        );
    }

    #[test]
    fn extensions_are_found_by_type() {
        let context = Context::new().with(7_u32).with("word");
        assert_eq!(context.get::<u32>().as_deref(), Some(&7));
        assert!(context.get::<u64>().is_none());
    }
}
