//! Which trigger types there are.

use std::{collections::BTreeMap, fmt, marker::PhantomData, sync::Arc};

use async_trait::async_trait;

use crate::{
    Context, Error, Field, MetricSpec, Scaler, SourceKey, Trigger, TriggerInput,
    metadata::{self, Problems},
    reference::Reference,
    secret_store::SecretStores,
};

/// The trigger types that a program knows. An instance, not a global: a program registers what it wants.
///
/// ```
/// let mut registry = scaler_api::Registry::new();
/// registry.register_unavailable("kafka", "feature `kafka` of the crate `scalers`");
/// let problems = registry.parse("kafak", &Default::default()).unwrap_err();
/// assert!(problems.to_string().contains("did you mean \"kafka\"?"));
/// ```
#[derive(Default)]
pub struct Registry {
    entries: BTreeMap<&'static str, Box<dyn Factory>>,
    unavailable: BTreeMap<&'static str, &'static str>,
    secret_stores: SecretStores,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a trigger type; a later registration of the same type wins.
    pub fn register<T: Trigger>(&mut self) -> &mut Self {
        self.entries
            .insert(T::TYPE, Box::new(TypedFactory::<T>(PhantomData)));
        self
    }

    /// Names a type that is known but not built in, and what would add it.
    pub fn register_unavailable(&mut self, trigger_type: &'static str, needs: &'static str) -> &mut Self {
        self.unavailable.insert(trigger_type, needs);
        self
    }

    /// The stores of secrets that TriggerAuthentications can name.
    #[must_use]
    pub fn secret_stores(&self) -> &SecretStores {
        &self.secret_stores
    }

    /// The same, to register more of them.
    pub fn secret_stores_mut(&mut self) -> &mut SecretStores {
        &mut self.secret_stores
    }

    /// The registered types, sorted.
    pub fn types(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.entries.keys().copied()
    }

    /// The keys of a registered type.
    #[must_use]
    pub fn fields(&self, trigger_type: &str) -> Option<&'static [Field]> {
        self.entries.get(trigger_type).map(|factory| factory.fields())
    }

    /// The example of a registered type.
    #[must_use]
    pub fn example(&self, trigger_type: &str) -> Option<&'static str> {
        self.entries.get(trigger_type).map(|factory| factory.example())
    }

    /// Everything that can be said of a registered type.
    ///
    /// # Errors
    /// If it is not registered: with the name that was meant, or with what would add it.
    pub fn reference(&self, trigger_type: &str) -> Result<Reference, Problems> {
        match self.entries.get(trigger_type) {
            Some(factory) => Ok(factory.reference()),
            None => Err(self.unknown_type(trigger_type)),
        }
    }

    /// The types that are known but not built in, sorted, each with what would add it.
    pub fn unavailable(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        let all = self.unavailable.iter().map(|(name, needs)| (*name, *needs));
        all.filter(|(name, _)| !self.entries.contains_key(name))
    }

    /// Parses the metadata of a trigger.
    ///
    /// # Errors
    /// Every problem of the trigger at once, the unknown type included.
    pub fn parse(&self, trigger_type: &str, input: &TriggerInput) -> Result<ParsedTrigger, Problems> {
        let Some(factory) = self.entries.get(trigger_type) else {
            return Err(self.unknown_type(trigger_type));
        };
        factory.parse(input)
    }

    fn unknown_type(&self, trigger_type: &str) -> Problems {
        let mut problems = Problems::new();
        if let Some(needs) = self.unavailable.get(trigger_type) {
            problems.error(
                "type",
                trigger_type,
                format!("no scaler found for type: {trigger_type}: it is not built in, it needs {needs}"),
            );
            return problems;
        }
        let known = self.entries.keys().chain(self.unavailable.keys()).copied();
        let hint = metadata::nearest(trigger_type, known)
            .map_or_else(String::new, |nearest| format!(" (did you mean {nearest:?}?)"));
        problems.error(
            "type",
            trigger_type,
            format!(
                "no scaler found for type: {trigger_type}{hint}; expected one of {}",
                self.entries.keys().copied().collect::<Vec<_>>().join(", ")
            ),
        );
        problems
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.keys()).finish()
    }
}

/// A trigger whose metadata was understood.
#[derive(Debug)]
pub struct ParsedTrigger {
    /// The trigger.
    pub trigger: Box<dyn DynTrigger>,
    /// What was odd about it but not wrong, such as unknown keys.
    pub warnings: Problems,
}

/// A [`Trigger`] whose type was erased.
#[async_trait]
pub trait DynTrigger: fmt::Debug + Send + Sync {
    /// `Trigger::TYPE`.
    fn trigger_type(&self) -> &'static str;
    /// See [`Trigger::metrics`].
    fn metrics(&self) -> Vec<MetricSpec>;
    /// See [`Trigger::discover`].
    ///
    /// # Errors
    /// As there.
    async fn discover(&self, context: &Context) -> Result<Vec<MetricSpec>, Error>;
    /// See [`Trigger::source_key`].
    fn source_key(&self) -> SourceKey;
    /// See [`Trigger::connect`].
    ///
    /// # Errors
    /// As there.
    async fn connect(self: Box<Self>, context: &Context) -> Result<Arc<dyn Scaler>, Error>;
}

#[async_trait]
impl<T: Trigger> DynTrigger for T {
    fn trigger_type(&self) -> &'static str {
        T::TYPE
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        Trigger::metrics(self)
    }

    async fn discover(&self, context: &Context) -> Result<Vec<MetricSpec>, Error> {
        Trigger::discover(self, context).await
    }

    fn source_key(&self) -> SourceKey {
        Trigger::source_key(self)
    }

    async fn connect(self: Box<Self>, context: &Context) -> Result<Arc<dyn Scaler>, Error> {
        Ok(Arc::new(Trigger::connect(*self, context).await?))
    }
}

trait Factory: Send + Sync {
    fn fields(&self) -> &'static [Field];
    fn example(&self) -> &'static str;
    fn reference(&self) -> Reference;
    fn parse(&self, input: &TriggerInput) -> Result<ParsedTrigger, Problems>;
}

struct TypedFactory<T>(PhantomData<fn() -> T>);

impl<T: Trigger> Factory for TypedFactory<T> {
    fn fields(&self) -> &'static [Field] {
        T::fields()
    }

    fn example(&self) -> &'static str {
        T::example()
    }

    fn reference(&self) -> Reference {
        Reference::of::<T>()
    }

    fn parse(&self, input: &TriggerInput) -> Result<ParsedTrigger, Problems> {
        let (trigger, warnings) = metadata::parse::<T>(input)?;
        Ok(ParsedTrigger {
            trigger: Box::new(trigger),
            warnings,
        })
    }
}
