//! Authentication and authorisation by the cluster's API server.
//!
//! As every aggregated API server does it: a request that comes through the aggregation layer carries the front
//! proxy's certificate and the user's name in headers; one that comes directly has a client certificate or a bearer
//! token of the cluster. The API server says who a token belongs to (TokenReview) and what anybody may do
//! (SubjectAccessReview). Its answers are kept for ten seconds.

mod attributes;
mod cache;
mod reviews;
mod service;
mod trust;
mod user;

use std::{
    fmt,
    num::NonZeroUsize,
    pin::pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::StreamExt as _;
use http::{StatusCode, header, request::Parts};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt as _, watcher::watch_object},
};
use ring::{hmac, rand::SystemRandom};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use self::{
    attributes::Attributes,
    cache::AnswerCache,
    reviews::{Authentication, Authorization, Reviewer, Unanswered},
    trust::{CONFIG_MAP, Trust},
    user::Hasher,
};
use super::{ClientAuthorities, Peer};
use crate::status::Status;

pub use self::service::DelegatedService;
pub(super) use self::trust::CertificateIdentity;
pub use self::user::User;

/// How [`Delegated`] asks and what it lets through unasked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DelegatedOptions {
    /// How long it is believed whose token it is. 10 s.
    pub token_ttl: Duration,
    /// How long a token that is nobody's is refused unasked. 2 s.
    pub unknown_token_ttl: Duration,
    /// How long a permission holds. 10 s.
    pub allowed_ttl: Duration,
    /// How long a refusal holds. 10 s.
    pub denied_ttl: Duration,
    /// How long the API server is left alone after it did not answer a question, which fails meanwhile. 500 ms.
    pub unanswered_ttl: Duration,
    /// Answers kept, of each kind. 8,192.
    pub cache_capacity: NonZeroUsize,
    /// Time for one answer of the API server, attempts included. 10 s.
    pub timeout: Duration,
    /// The audiences that a token may be for; the API server's own if there are none.
    pub audiences: Vec<String>,
    /// Whether somebody without credentials is `system:anonymous` (who may do little) or refused at once. Yes.
    pub anonymous: bool,
    /// Paths that are served to everybody, unauthenticated. `/healthz`, `/livez`, `/readyz`.
    pub open_paths: Vec<String>,
    /// Groups that may do everything. `system:masters`.
    pub privileged_groups: Vec<String>,
}

impl Default for DelegatedOptions {
    fn default() -> Self {
        Self {
            token_ttl: Duration::from_secs(10),
            unknown_token_ttl: Duration::from_secs(2),
            allowed_ttl: Duration::from_secs(10),
            denied_ttl: Duration::from_secs(10),
            unanswered_ttl: Duration::from_millis(500),
            cache_capacity: NonZeroUsize::new(8192).unwrap_or(NonZeroUsize::MIN),
            timeout: Duration::from_secs(10),
            audiences: Vec::new(),
            anonymous: true,
            open_paths: ["/healthz", "/livez", "/readyz"].map(str::to_owned).to_vec(),
            privileged_groups: vec!["system:masters".to_owned()],
        }
    }
}

/// Authentication and authorisation by the cluster's API server, around any service. Cheap to clone.
///
/// Nobody is let through because the API server could not be asked: such a request fails with 500 or 503.
///
/// ```no_run
/// # async fn run(client: kube::Client, adapter: metrics_adapter::MetricsAdapter) -> std::io::Result<()> {
/// use metrics_adapter::server::{Delegated, DelegatedOptions, ServingCertificate, serve};
///
/// let delegated = Delegated::new(client, DelegatedOptions::default());
/// let listener = std::net::TcpListener::bind("0.0.0.0:6443")?;
/// let certificate = ServingCertificate::empty();
/// let service = delegated.layer(adapter);
/// let serving = serve(listener, certificate, delegated.client_authorities(), service, std::future::pending());
/// tokio::select! {
///     biased;
///     () = delegated.run() => Ok(()),
///     result = serving => result,
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Delegated {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    options: DelegatedOptions,
    key: hmac::Key,
    anonymous: Arc<User>,
    authorities: ClientAuthorities,
    trust: RwLock<Arc<Trust>>,
    is_ready: watch::Sender<bool>,
    reviewer: Reviewer,
    users: AnswerCache<Authentication>,
    decisions: AnswerCache<Authorization>,
}

impl fmt::Debug for Delegated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delegated")
            .field("options", &self.shared.options)
            .field("ready", &self.ready())
            .finish_non_exhaustive()
    }
}

/// Why a request is not let through.
#[derive(Debug)]
enum Refusal {
    Unauthorized,
    Forbidden(String),
    Unanswered(Unanswered),
}

impl Delegated {
    /// Asks the API server behind `client`, which needs the ClusterRole `system:auth-delegator` and, in `kube-system`,
    /// the Role `extension-apiserver-authentication-reader`.
    #[must_use]
    pub fn new(client: Client, options: DelegatedOptions) -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .expect("the operating system's source of randomness answers");
        let reviewer = Reviewer::new(client.clone(), options.audiences.clone(), options.timeout);
        Self {
            shared: Arc::new(Shared {
                client,
                anonymous: Arc::new(User::anonymous(&key)),
                authorities: ClientAuthorities::none(),
                trust: RwLock::default(),
                is_ready: watch::Sender::new(false),
                reviewer,
                users: AnswerCache::new(options.cache_capacity),
                decisions: AnswerCache::new(options.cache_capacity),
                options,
                key,
            }),
        }
    }

    /// Keeps up with whom the cluster trusts (ConfigMap `kube-system/extension-apiserver-authentication`), for ever.
    pub async fn run(&self) {
        let api: Api<ConfigMap> = Api::namespaced(self.shared.client.clone(), "kube-system");
        let mut states = pin!(watch_object(api, CONFIG_MAP).default_backoff());
        while let Some(state) = states.next().await {
            match state {
                Ok(config_map) => self.apply(config_map.as_ref()),
                Err(error) => warn!(%error, "cannot watch the ConfigMap {CONFIG_MAP} in kube-system"),
            }
        }
    }

    /// Whether it is known whom the cluster trusts, so that the aggregation layer's requests are recognised.
    #[must_use]
    pub fn ready(&self) -> bool {
        *self.shared.is_ready.borrow()
    }

    /// Waits until it is [`ready`](Self::ready).
    pub async fn until_ready(&self) {
        // There is always a sender: `self` holds it.
        if self
            .shared
            .is_ready
            .subscribe()
            .wait_for(|ready| *ready)
            .await
            .is_err()
        {
            debug!("nobody keeps up with the trust of the cluster");
        }
    }

    /// Whose client certificates a listener has to accept: those of the front proxy and those of the cluster's users.
    #[must_use]
    pub fn client_authorities(&self) -> ClientAuthorities {
        self.shared.authorities.clone()
    }

    /// `service` behind authentication and authorisation.
    pub fn layer<S>(&self, service: S) -> DelegatedService<S> {
        DelegatedService::new(self.clone(), service)
    }

    fn apply(&self, config_map: Option<&ConfigMap>) {
        let data = config_map
            .and_then(|config_map| config_map.data.clone())
            .unwrap_or_default();
        let trust = match Trust::parse(&data) {
            Ok(trust) => trust,
            Err(error) => {
                return warn!(%error, "keeping the former trust: {CONFIG_MAP} in kube-system is unusable");
            }
        };
        if let Err(error) = self.shared.authorities.replace(&trust.authorities) {
            return warn!(%error, "keeping the former trust: {CONFIG_MAP} in kube-system is unusable");
        }
        info!(?trust, "read whom the cluster trusts");
        *self.shared.trust.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trust);
        self.shared.is_ready.send_replace(true);
    }

    fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.shared.trust.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets a request through, with its user among the extensions and without its credentials.
    async fn admit(&self, head: &mut Parts) -> Result<(), Refusal> {
        let options = &self.shared.options;
        let trust = self.trust();
        if !options.open_paths.iter().any(|path| path == head.uri.path()) {
            let user = self.authenticate(&trust, head).await?;
            self.authorize(&user, head).await?;
            head.extensions.insert(user);
        }
        trust.strip(&mut head.headers);
        Ok(())
    }

    async fn authenticate(&self, trust: &Arc<Trust>, head: &Parts) -> Result<Arc<User>, Refusal> {
        let key = &self.shared.key;
        let peer = head.extensions.get::<Peer>();
        let identity = peer.and_then(|peer| trust.identify(peer, key));
        if let Some(identity) = &identity {
            if identity.is_front_proxy
                && let Some(user) = trust.forwarded_user(&head.headers, key)
            {
                return Ok(Arc::new(user));
            }
            if let Some(user) = &identity.user {
                return Ok(Arc::clone(user));
            }
        }
        if let Some(token) = bearer_token(head) {
            return self.token_user(token).await;
        }
        // Somebody with a certificate that proves nothing is not nobody.
        if identity.is_none() && self.shared.options.anonymous {
            return Ok(Arc::clone(&self.shared.anonymous));
        }
        Err(Refusal::Unauthorized)
    }

    async fn token_user(&self, token: &str) -> Result<Arc<User>, Refusal> {
        let Shared {
            options,
            key,
            reviewer,
            users,
            ..
        } = &*self.shared;
        let mut hasher = Hasher::new(key, "token");
        hasher.text(token);
        let answer = users.get_or_ask(hasher.finish(), async {
            let answer = reviewer.authenticate(token, key).await;
            let holds = match &answer {
                Authentication::Known(_) => options.token_ttl,
                Authentication::Unknown => options.unknown_token_ttl,
                Authentication::Unanswered(_) => options.unanswered_ttl,
            };
            (answer, holds)
        });
        match answer.await {
            Authentication::Known(user) => Ok(user),
            Authentication::Unknown => Err(Refusal::Unauthorized),
            Authentication::Unanswered(unanswered) => Err(Refusal::Unanswered(unanswered)),
        }
    }

    async fn authorize(&self, user: &User, head: &Parts) -> Result<(), Refusal> {
        let Shared {
            options,
            key,
            reviewer,
            decisions,
            ..
        } = &*self.shared;
        if user
            .groups
            .iter()
            .any(|group| options.privileged_groups.contains(group))
        {
            return Ok(());
        }
        let attributes = Attributes::of(head);
        let mut hasher = Hasher::new(key, "decision");
        hasher.octets(&user.fingerprint);
        attributes.hash(&mut hasher);
        let answer = decisions.get_or_ask(hasher.finish(), async {
            let answer = reviewer.authorize(user, &attributes).await;
            let holds = match &answer {
                Authorization::Allowed => options.allowed_ttl,
                Authorization::Denied(_) => options.denied_ttl,
                Authorization::Unanswered(_) => options.unanswered_ttl,
            };
            (answer, holds)
        });
        match answer.await {
            Authorization::Allowed => Ok(()),
            Authorization::Denied(reason) => {
                Err(Refusal::Forbidden(attributes.forbidden(&user.name, &reason)))
            }
            Authorization::Unanswered(unanswered) => Err(Refusal::Unanswered(unanswered)),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unauthorized => Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized"),
            Refusal::Forbidden(message) => Self::new(StatusCode::FORBIDDEN, "Forbidden", message),
            Refusal::Unanswered(Unanswered { code, message }) => {
                let reason = match code {
                    StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
                    _ => "InternalError",
                };
                Self::new(code, reason, &*message)
            }
        }
    }
}

/// The token of an `Authorization: Bearer` header.
fn bearer_token(head: &Parts) -> Option<&str> {
    let value = head.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
