//! Where the events of a source go, and with which credentials.

use http::Uri;
use scaler_api::{Secret, keda::CloudEventSourceSpec};

use super::event::CloudEvent;
use crate::trigger_auth::Resolver;

/// A destination that events can be sent to.
#[derive(Clone, Debug)]
pub(super) enum Destination {
    /// An HTTP endpoint that takes CloudEvents.
    Http(String),
    /// A topic of Azure Event Grid.
    EventGrid { uri: String, access_key: Secret },
}

/// The version of Event Grid's API for publishing.
const EVENT_GRID_VERSION: &str = "2018-01-01";

impl Destination {
    /// The destination of a source; its authentication is read in `namespace`.
    ///
    /// # Errors
    /// In words: what is wrong, or cannot be read.
    pub(super) async fn of(
        spec: &CloudEventSourceSpec,
        namespace: &str,
        resolver: &Resolver,
    ) -> Result<Self, String> {
        let destination = &spec.destination;
        match (&destination.http, &destination.azure_event_grid_topic) {
            (Some(_), Some(_)) => {
                Err("spec.destination names both http and azureEventGridTopic, expected one".to_owned())
            }
            (None, None) => {
                Err("spec.destination names neither http nor azureEventGridTopic, expected one".to_owned())
            }
            (Some(http), None) => {
                check_uri("spec.destination.http.uri", &http.uri)?;
                Ok(Self::Http(http.uri.clone()))
            }
            (None, Some(topic)) => {
                check_uri("spec.destination.azureEventGridTopic.endpoint", &topic.endpoint)?;
                let access_key = access_key(spec, namespace, resolver).await?;
                let separator = if topic.endpoint.contains('?') { '&' } else { '?' };
                let uri = format!("{}{separator}api-version={EVENT_GRID_VERSION}", topic.endpoint);
                Ok(Self::EventGrid { uri, access_key })
            }
        }
    }

    /// KEDA's word for its kind.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::EventGrid { .. } => "azureEventGridTopic",
        }
    }

    /// The request that sends an event.
    pub(super) fn request(&self, event: &CloudEvent) -> Result<http::Request<Vec<u8>>, http::Error> {
        match self {
            Self::Http(uri) => event.binary(uri),
            Self::EventGrid { uri, access_key } => event.to_event_grid(uri, access_key.expose()),
        }
    }
}

fn check_uri(field: &str, text: &str) -> Result<(), String> {
    let uri: Uri = text
        .parse()
        .map_err(|error| format!("{field} {text:?} is no URI: {error}"))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some() => Ok(()),
        _ => Err(format!("{field} {text:?} is no URI of http or https")),
    }
}

async fn access_key(
    spec: &CloudEventSourceSpec,
    namespace: &str,
    resolver: &Resolver,
) -> Result<Secret, String> {
    let Some(reference) = &spec.authentication_ref else {
        return Err("azureEventGridTopic needs an authenticationRef with the parameter accessKey".to_owned());
    };
    let mut resolution = resolver
        .resolve(namespace, reference, None)
        .await
        .map_err(|error| format!("cannot read what the authentication refers to: {error}"))?;
    if let Some(identity) = &resolution.pod_identity {
        return Err(format!(
            "podIdentity.provider {} is not supported by azureEventGridTopic, expected the parameter accessKey",
            identity.provider
        ));
    }
    match resolution.parameters.remove("accessKey") {
        Some(key) if !key.expose().is_empty() => Ok(key),
        _ => {
            let mut problems = resolution.missing;
            problems.append(&mut resolution.refused);
            problems.insert(
                0,
                format!("{} {:?} gives no accessKey", reference.kind(), reference.name),
            );
            Err(problems.join("; "))
        }
    }
}
