//! Asking the API server who somebody is and what they may do.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

use http::StatusCode;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{
        NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
    },
};
use kube::{Api, Client, Resource, api::PostParams};
use ring::hmac;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::warn;

use super::{User, attributes::Attributes};

/// Attempts at one review, the first included.
const ATTEMPTS: u32 = 5;
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// Reviews at a time: a flood of tokens must not become a flood at the API server.
const CONCURRENT: usize = 64;

/// The API server could not be asked.
#[derive(Clone, Debug)]
pub(super) struct Unanswered {
    /// 500 if it refused to answer, 503 if it could not be reached.
    pub(super) code: StatusCode,
    /// For the log and the client; never holds a token.
    pub(super) message: Arc<str>,
}

/// What the API server said about a token.
#[derive(Clone, Debug)]
pub(super) enum Authentication {
    /// Whose it is.
    Known(Arc<User>),
    /// Nobody's.
    Unknown,
    /// Nothing.
    Unanswered(Unanswered),
}

/// What the API server said about an attempt.
#[derive(Clone, Debug)]
pub(super) enum Authorization {
    /// Go on.
    Allowed,
    /// No, because.
    Denied(Arc<str>),
    /// Nothing.
    Unanswered(Unanswered),
}

/// Asks by TokenReview and SubjectAccessReview.
pub(super) struct Reviewer {
    client: Client,
    audiences: Vec<String>,
    timeout: Duration,
    slots: Semaphore,
}

impl Reviewer {
    pub(super) fn new(client: Client, audiences: Vec<String>, timeout: Duration) -> Self {
        Self {
            client,
            audiences,
            timeout,
            slots: Semaphore::new(CONCURRENT),
        }
    }

    /// Whose token it is.
    pub(super) async fn authenticate(&self, token: &str, key: &hmac::Key) -> Authentication {
        let audiences = Some(self.audiences.clone()).filter(|audiences| !audiences.is_empty());
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences,
            },
            ..TokenReview::default()
        };
        let status = match self.create(&review).await {
            Ok(review) => review.status.unwrap_or_default(),
            Err(unanswered) => return Authentication::Unanswered(unanswered),
        };
        let is_for_us = self.audiences.is_empty()
            || status
                .audiences
                .iter()
                .flatten()
                .any(|audience| self.audiences.contains(audience));
        match status.user {
            Some(user) if status.authenticated == Some(true) && is_for_us => {
                Authentication::Known(Arc::new(User::authenticated(
                    key,
                    user.username.unwrap_or_default(),
                    user.uid.unwrap_or_default(),
                    user.groups.unwrap_or_default(),
                    user.extra.unwrap_or_default(),
                )))
            }
            _ => Authentication::Unknown,
        }
    }

    /// Whether the user may do this.
    pub(super) async fn authorize(&self, user: &User, attributes: &Attributes) -> Authorization {
        let review = SubjectAccessReview {
            spec: spec(user, attributes),
            ..SubjectAccessReview::default()
        };
        let status = match self.create(&review).await {
            Ok(review) => review.status.unwrap_or_default(),
            Err(unanswered) => return Authorization::Unanswered(unanswered),
        };
        if status.allowed && status.denied != Some(true) {
            Authorization::Allowed
        } else {
            Authorization::Denied(status.reason.unwrap_or_default().into())
        }
    }

    async fn create<K>(&self, review: &K) -> Result<K, Unanswered>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let kind = K::kind(&());
        let answer = timeout(self.timeout, async {
            let _slot = self.slots.acquire().await;
            let api = Api::<K>::all(self.client.clone());
            let mut backoff = FIRST_BACKOFF;
            for _ in 1..ATTEMPTS {
                match api.create(&PostParams::default(), review).await {
                    Err(error) if is_passing(&error) => {
                        sleep(backoff).await;
                        backoff = backoff * 3 / 2;
                    }
                    answer => return answer,
                }
            }
            api.create(&PostParams::default(), review).await
        });
        let unanswered = match answer.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Unanswered {
                code: if is_passing(&error) {
                    StatusCode::SERVICE_UNAVAILABLE
                } else {
                    StatusCode::INTERNAL_SERVER_ERROR
                },
                message: format!("the API server did not answer a {kind}: {}", describe(&error)).into(),
            },
            Err(_) => Unanswered {
                code: StatusCode::SERVICE_UNAVAILABLE,
                message: format!("the API server did not answer a {kind} within {:?}", self.timeout).into(),
            },
        };
        warn!(message = %unanswered.message, "cannot authenticate or authorise a request");
        Err(unanswered)
    }
}

/// Whether asking again may help.
fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500..),
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        error => error.to_string(),
    }
}

fn spec(user: &User, attributes: &Attributes) -> SubjectAccessReviewSpec {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (resource_attributes, non_resource_attributes) = match attributes {
        Attributes::Resource(it) => {
            let resource = ResourceAttributes {
                group: text(&it.group),
                name: text(&it.name),
                namespace: text(&it.namespace),
                resource: text(&it.resource),
                subresource: text(&it.subresource),
                verb: text(&it.verb),
                version: text(&it.version),
                ..ResourceAttributes::default()
            };
            (Some(resource), None)
        }
        Attributes::Path { verb, path } => (
            None,
            Some(NonResourceAttributes {
                path: text(path),
                verb: text(verb),
            }),
        ),
    };
    SubjectAccessReviewSpec {
        extra: Some(user.extra.clone()).filter(|extra: &BTreeMap<_, _>| !extra.is_empty()),
        groups: Some(user.groups.clone()).filter(|groups| !groups.is_empty()),
        non_resource_attributes,
        resource_attributes,
        uid: text(&user.uid),
        user: text(&user.name),
    }
}
