//! What is fetched for authentications and not watched: secrets of stores, tokens of ServiceAccounts, files.
//!
//! Equal questions share one answer, which is fetched once, kept in memory, and asked for again from time to time. When it
//! changes, whoever was built from it is told. A source that is out keeps its last answer; one that was never answered is
//! asked again with back-off, however many want to know.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};
use scaler_api::{
    Context, Error, ErrorKind, Secret,
    secret_store::{SecretRequest, SecretStores, StoredSecrets},
};
use tokio::{sync::Notify, time::Instant};

use super::{Dependency, DependencyKind, Settings, dependents::Listener, file};
use crate::{queue::Backoff, store::ObjectKey};

/// The name under which a token stands in its answer.
const TOKEN: &str = "token";
/// How often a file is read again.
const FILE_REFRESH: Duration = Duration::from_secs(5);
/// How many are asked again at once.
const AT_ONCE: usize = 64;
/// How soon a source is asked again that has failed.
const RETRY: Backoff = Backoff {
    first: Duration::from_secs(1),
    last: Duration::from_secs(30),
};

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Question {
    /// A store of secrets.
    Store(Box<SecretRequest>),
    /// A token of a ServiceAccount.
    Token { namespace: String, name: String },
    /// A file of the process.
    File(PathBuf),
}

impl Question {
    /// Where to look for equal ones.
    fn group(&self) -> String {
        match self {
            // Credentials show in no `Debug`.
            Self::Store(request) => format!("{:?}", request.block),
            Self::Token { namespace, name } => format!("token {namespace}/{name}"),
            Self::File(path) => format!("file {}", path.display()),
        }
    }
}

/// Everything that is kept. Clones share it.
#[derive(Clone)]
pub(super) struct Kept {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    stores: SecretStores,
    context: Context,
    settings: Settings,
    entries: Mutex<Entries>,
    changed: Notify,
}

#[derive(Default)]
struct Entries {
    by_group: BTreeMap<String, Vec<Arc<Entry>>>,
    made: u64,
}

struct Entry {
    question: Question,
    dependency: Dependency,
    /// When to ask again.
    due: Mutex<Option<Instant>>,
    /// Locked while it is asked.
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    answer: Option<Arc<StoredSecrets>>,
    /// When the answer must no longer be used.
    expires: Option<Instant>,
    /// The last question's failure, if it failed, and until when it holds.
    failure: Option<(Error, Instant)>,
    failures: u32,
}

/// An answer, and how long it holds.
struct Answer {
    secrets: StoredSecrets,
    ask_again: Duration,
    expires: Option<Duration>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl Kept {
    pub(super) fn new(client: Client, stores: SecretStores, context: Context, settings: Settings) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                stores,
                context,
                settings,
                entries: Mutex::default(),
                changed: Notify::new(),
            }),
        }
    }

    /// Whether a block of this field can be asked for.
    pub(super) fn has_store(&self, field: &str) -> bool {
        self.shared.stores.get(field).is_some()
    }

    /// The answer to a question, and what to name as its dependency.
    pub(super) async fn get(&self, question: Question) -> (Dependency, Result<Arc<StoredSecrets>, Error>) {
        let entry = self.entry(question);
        let mut state = entry.state.lock().await;
        let now = Instant::now();
        let is_usable = state.expires.is_none_or(|expires| expires > now);
        if let Some(answer) = state.answer.as_ref().filter(|_| is_usable) {
            return (entry.dependency.clone(), Ok(Arc::clone(answer)));
        }
        if let Some((error, _)) = state.failure.as_ref().filter(|(_, until)| *until > now) {
            return (entry.dependency.clone(), Err(error.clone()));
        }
        self.ask(&entry, &mut state).await;
        let result = match (&state.answer, &state.failure) {
            (_, Some((error, _))) => Err(error.clone()),
            (Some(answer), None) => Ok(Arc::clone(answer)),
            (None, None) => Err(Error::new(ErrorKind::Internal, "nothing was answered")),
        };
        drop(state);
        self.shared.changed.notify_one();
        (entry.dependency.clone(), result)
    }

    /// The token of a ServiceAccount.
    pub(super) fn token_in(answer: &StoredSecrets) -> Option<Secret> {
        answer.parameters.get(TOKEN).cloned()
    }

    fn entry(&self, question: Question) -> Arc<Entry> {
        self.with(|entries| {
            let group = entries.by_group.entry(question.group()).or_default();
            if let Some(known) = group.iter().find(|entry| entry.question == question) {
                return Arc::clone(known);
            }
            entries.made += 1;
            let key = ObjectKey::cluster(format!("kept-{}", entries.made));
            let entry = Arc::new(Entry {
                question,
                dependency: (DependencyKind::Kept, key),
                due: Mutex::default(),
                state: tokio::sync::Mutex::default(),
            });
            group.push(Arc::clone(&entry));
            entry
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Entries) -> T) -> T {
        let mut entries = self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut entries)
    }

    /// Asks, and says whether the answer is another one than before. A source that is out keeps its answer until that
    /// expires.
    async fn ask(&self, entry: &Entry, state: &mut State) -> bool {
        let result = self.shared.ask(&entry.question).await;
        let now = Instant::now();
        match result {
            Ok(answer) => {
                let is_other = state.answer.as_deref() != Some(&answer.secrets);
                state.answer = Some(Arc::new(answer.secrets));
                state.expires = answer.expires.map(|after| now + after);
                state.failure = None;
                state.failures = 0;
                entry.set_due(now + answer.ask_again);
                is_other
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                let until = now + RETRY.after(state.failures);
                tracing::warn!(source = %entry.question.group(), %error, "a source of credentials failed");
                let is_lost = !error.is_transient() && state.answer.is_some();
                if is_lost {
                    state.answer = None;
                }
                state.failure = Some((error, until));
                entry.set_due(until);
                is_lost
            }
        }
    }

    /// Asks again whatever is due, and tells those who use what has changed, until dropped. What nobody uses is let go.
    pub(super) async fn run(&self, users: &Listener) {
        loop {
            let due = self.with(|entries| entries.all().filter_map(|entry| entry.due()).min());
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.shared.changed.notified() => {}
                () = wait => self.refresh(users).await,
            }
        }
    }

    async fn refresh(&self, users: &Listener) {
        let now = Instant::now();
        let is_due = |entry: &Arc<Entry>| entry.due().is_some_and(|due| due <= now);
        let due = self.with(|entries| {
            let due: Vec<_> = entries.all().filter(|entry| is_due(entry)).cloned().collect();
            let is_kept = |entry: &Arc<Entry>| !is_due(entry) || users.uses(&entry.dependency);
            entries.by_group.retain(|_, group| {
                group.retain(is_kept);
                !group.is_empty()
            });
            due
        });
        let asked = due.into_iter().filter(|entry| users.uses(&entry.dependency));
        stream::iter(asked)
            .for_each_concurrent(AT_ONCE, |entry| async move {
                let mut state = entry.state.lock().await;
                let changed = self.ask(&entry, &mut state).await;
                drop(state);
                if changed {
                    users.tell(&entry.dependency);
                }
            })
            .await;
    }
}

impl Entries {
    fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_group.values().flatten()
    }
}

impl Entry {
    fn due(&self) -> Option<Instant> {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_due(&self, at: Instant) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

impl Shared {
    async fn ask(&self, question: &Question) -> Result<Answer, Error> {
        match question {
            Question::Store(request) => self.ask_store(request).await,
            Question::Token { namespace, name } => self.ask_token(namespace, name).await,
            Question::File(file) => {
                let root = self.settings.file_root.as_deref().unwrap_or(Path::new("/"));
                let parameters = file::read(root, file)?;
                Ok(Answer {
                    secrets: StoredSecrets {
                        parameters,
                        ..StoredSecrets::default()
                    },
                    ask_again: FILE_REFRESH,
                    expires: None,
                })
            }
        }
    }

    async fn ask_store(&self, request: &SecretRequest) -> Result<Answer, Error> {
        let field = request.block.field();
        let Some(store) = self.stores.get(field) else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("spec.{field}: this build has no such store"),
            ));
        };
        // A login and some secrets are several requests, each with the timeout itself.
        let patience = self.context.timeout * 4;
        let read = tokio::time::timeout(patience, store.read(request, &self.context)).await;
        let secrets = read.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Timeout,
                format!("spec.{field}: the store did not answer in time"),
            ))
        })?;
        let refresh = self.settings.secret_refresh;
        let ask_again = secrets.ask_again.map_or(refresh, |again| again.min(refresh));
        Ok(Answer {
            secrets,
            ask_again: ask_again.max(Duration::from_secs(1)),
            expires: None,
        })
    }

    async fn ask_token(&self, namespace: &str, name: &str) -> Result<Answer, Error> {
        let lifetime = self.settings.token_lifetime();
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: i64::try_from(lifetime.as_secs()).ok(),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let issued = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await;
        let issued = issued.map_err(|error| {
            let kind = match &error {
                kube::Error::Api(status) if status.is_not_found() => ErrorKind::NotFound,
                kube::Error::Api(status) if status.is_forbidden() => ErrorKind::Unauthorized,
                kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => {
                    ErrorKind::Invalid
                }
                _ => ErrorKind::Unavailable,
            };
            Error::new(
                kind,
                format!("no token for ServiceAccount {name:?} (namespace {namespace:?})"),
            )
            .with_source(error.to_string())
        })?;
        let Some(status) = issued.status.filter(|status| !status.token.is_empty()) else {
            return Err(Error::unavailable("the API server answered no token"));
        };
        // An API server may give tokens another lifetime than was asked for.
        let left = status
            .expiration_timestamp
            .0
            .duration_since(self.context.clock.now());
        let left = Duration::try_from(left).unwrap_or_default().min(lifetime);
        Ok(Answer {
            secrets: StoredSecrets {
                parameters: BTreeMap::from([(TOKEN.to_owned(), Secret::new(status.token))]),
                ..StoredSecrets::default()
            },
            ask_again: left.mul_f64(0.8).max(Duration::from_secs(1)),
            expires: Some(left),
        })
    }
}
