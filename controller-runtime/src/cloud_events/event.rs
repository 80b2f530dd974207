//! What is told, and how it looks: which Kubernetes events have a type, and the two forms of CloudEvents 1.0.

use std::{
    fmt::Write as _,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use http::{HeaderValue, Request, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::{Value, json};

/// What happened to an object, as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Its id, which is that of all CloudEvents that tell of it.
    pub id: String,
    /// The type of the CloudEvents.
    pub event_type: &'static str,
    /// When.
    pub time: Timestamp,
    /// The object's namespace; empty where it has none.
    pub namespace: String,
    /// The object's kind in small letters.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// The reason of the Kubernetes event.
    pub reason: String,
    /// The message of the Kubernetes event.
    pub message: String,
}

/// The type of what is said of an object by this reason; none where it is not told.
#[must_use]
pub fn event_type(kind: &str, reason: &str) -> Option<&'static str> {
    Some(match (kind, reason) {
        ("ScaledObject", "ScaledObjectReady") => "keda.scaledobject.ready.v1",
        ("ScaledObject", "ScaledObjectCheckFailed" | "ScaledObjectUpdateFailed") => {
            "keda.scaledobject.failed.v1"
        }
        ("ScaledObject", "ScaledObjectDeleted") => "keda.scaledobject.removed.v1",
        ("ScaledObject", "ScaledObjectPaused") => "keda.scaledobject.paused.v1",
        ("ScaledObject", "ScaledObjectUnpaused") => "keda.scaledobject.unpaused.v1",
        ("ScaledJob", "ScaledJobReady") => "keda.scaledjob.ready.v1",
        ("ScaledJob", "ScaledJobCheckFailed" | "ScaledJobUpdateFailed") => "keda.scaledjob.failed.v1",
        ("ScaledJob", "ScaledJobDeleted") => "keda.scaledjob.removed.v1",
        ("ScaledJob", "ScaledJobPaused") => "keda.scaledjob.paused.v1",
        ("ScaledJob", "ScaledJobUnpaused") => "keda.scaledjob.unpaused.v1",
        ("ScaledJob", "ScaledJobRolloutCleanupStarted") => "keda.scaledjob.rolloutcleanup.started.v1",
        ("ScaledJob", "ScaledJobRolloutCleanupCompleted") => "keda.scaledjob.rolloutcleanup.completed.v1",
        ("ScaledJob", "ScaledJobRolloutCleanupFailed") => "keda.scaledjob.rolloutcleanup.failed.v1",
        ("TriggerAuthentication", "TriggerAuthenticationAdded") => {
            "keda.authentication.triggerauthentication.created.v1"
        }
        ("TriggerAuthentication", "TriggerAuthenticationUpdated") => {
            "keda.authentication.triggerauthentication.updated.v1"
        }
        ("TriggerAuthentication", "TriggerAuthenticationDeleted") => {
            "keda.authentication.triggerauthentication.removed.v1"
        }
        ("ClusterTriggerAuthentication", "ClusterTriggerAuthenticationAdded") => {
            "keda.authentication.clustertriggerauthentication.created.v1"
        }
        ("ClusterTriggerAuthentication", "ClusterTriggerAuthenticationUpdated") => {
            "keda.authentication.clustertriggerauthentication.updated.v1"
        }
        ("ClusterTriggerAuthentication", "ClusterTriggerAuthenticationDeleted") => {
            "keda.authentication.clustertriggerauthentication.removed.v1"
        }
        _ => return None,
    })
}

impl Happening {
    /// What a Kubernetes event tells, if it is told; `number` is different each time.
    pub(super) fn of(
        about: &ObjectReference,
        reason: &str,
        message: &str,
        time: Timestamp,
        number: u64,
    ) -> Option<Self> {
        let kind = about.kind.as_deref().unwrap_or_default();
        let event_type = event_type(kind, reason)?;
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        Some(Self {
            id: id(about, reason, time, number),
            event_type,
            time,
            namespace: text(&about.namespace),
            kind: kind.to_lowercase(),
            name: text(&about.name),
            reason: reason.to_owned(),
            message: message.to_owned(),
        })
    }

    /// The CloudEvent of a cluster and of a process in this namespace.
    #[must_use]
    pub fn event(&self, cluster: &str, namespace: &str) -> CloudEvent {
        CloudEvent {
            id: self.id.clone(),
            event_type: self.event_type,
            source: format!("/{cluster}/{namespace}/keda"),
            subject: format!("/{cluster}/{}/{}/{}", self.namespace, self.kind, self.name),
            time: self.time.to_string(),
            data: json!({"reason": self.reason, "message": self.message}),
        }
    }
}

/// A UUID (version 7) of a moment and of what makes it differ from others of that moment: another object, process or
/// number. Nothing is drawn by lot, so that the same story tells the same.
fn id(about: &ObjectReference, reason: &str, time: Timestamp, number: u64) -> String {
    let mut hasher = DefaultHasher::new();
    (&about.uid, &about.kind, &about.namespace, &about.name).hash(&mut hasher);
    (reason, time.as_nanosecond(), number).hash(&mut hasher);
    let rest = u128::from(hasher.finish() & ((1 << 62) - 1));
    let millis = u128::from(time.as_millisecond().unsigned_abs()) & ((1 << 48) - 1);
    let bits = (millis << 80) | (7 << 76) | (u128::from(number & 0xfff) << 64) | (2 << 62) | rest;
    let digits = format!("{bits:032x}");
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    parts.join("-")
}

/// A CloudEvent 1.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvent {
    /// Tells it from every other one of the same source.
    pub id: String,
    /// What it tells.
    pub event_type: &'static str,
    /// Who tells it: `/<cluster>/<namespace>/keda`.
    pub source: String,
    /// What it is about: `/<cluster>/<namespace>/<kind>/<name>`.
    pub subject: String,
    /// When it happened, RFC 3339.
    pub time: String,
    /// Reason and message.
    pub data: Value,
}

impl CloudEvent {
    /// The request in binary mode, in which KEDA sends: attributes as headers, the data as the body.
    ///
    /// # Errors
    /// If `uri` is none.
    pub fn binary(&self, uri: &str) -> Result<Request<Vec<u8>>, http::Error> {
        Request::post(uri)
            .header("ce-specversion", "1.0")
            .header("ce-id", escaped(&self.id))
            .header("ce-source", escaped(&self.source))
            .header("ce-subject", escaped(&self.subject))
            .header("ce-type", self.event_type)
            .header("ce-time", escaped(&self.time))
            .header(header::CONTENT_TYPE, "application/json")
            .body(self.data.to_string().into_bytes())
    }

    /// The event as one JSON object.
    #[must_use]
    pub fn structured(&self) -> Value {
        json!({
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "subject": self.subject,
            "type": self.event_type,
            "time": self.time,
            "datacontenttype": "application/json",
            "data": self.data,
        })
    }

    /// The request that publishes it to a topic of Azure Event Grid, which takes batches.
    ///
    /// # Errors
    /// If `uri` is none, or the key can stand in no header.
    pub fn to_event_grid(&self, uri: &str, access_key: &str) -> Result<Request<Vec<u8>>, http::Error> {
        let mut key = HeaderValue::try_from(access_key)?;
        key.set_sensitive(true);
        Request::post(uri)
            .header("aeg-sas-key", key)
            .header(
                header::CONTENT_TYPE,
                "application/cloudevents-batch+json; charset=utf-8",
            )
            .body(json!([self.structured()]).to_string().into_bytes())
    }
}

/// The value of a header as the binding to HTTP wants it: what is not printable ASCII, spaces, quotes and percent signs
/// are written in percent.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'%' => {
                // Writing to a String cannot fail.
                let _infallible = write!(escaped, "%{byte:02X}");
            }
            0x21..=0x7e => escaped.push(char::from(byte)),
            _ => {
                let _infallible = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use scaler_api::keda::CLOUD_EVENT_TYPES;

    use super::*;

    fn about(kind: &str) -> ObjectReference {
        ObjectReference {
            kind: Some(kind.to_owned()),
            namespace: Some("shop".to_owned()),
            name: Some("Web".to_owned()),
            ..ObjectReference::default()
        }
    }

    fn happening(number: u64) -> Happening {
        let time = "2026-01-01T00:00:00Z".parse().unwrap();
        Happening::of(&about("ScaledObject"), "ScaledObjectReady", "it is", time, number).unwrap()
    }

    #[test]
    fn every_type_that_can_be_subscribed_to_has_a_reason() {
        let kinds = [
            (
                "ScaledObject",
                &["Ready", "CheckFailed", "Deleted", "Paused", "Unpaused"][..],
            ),
            (
                "ScaledJob",
                &[
                    "Ready",
                    "CheckFailed",
                    "Deleted",
                    "Paused",
                    "Unpaused",
                    "RolloutCleanupStarted",
                    "RolloutCleanupCompleted",
                    "RolloutCleanupFailed",
                ],
            ),
            ("TriggerAuthentication", &["Added", "Updated", "Deleted"]),
            ("ClusterTriggerAuthentication", &["Added", "Updated", "Deleted"]),
        ];
        let all = kinds.iter().flat_map(|(kind, what)| {
            what.iter()
                .map(move |what| event_type(kind, &format!("{kind}{what}")).unwrap())
        });
        assert_eq!(all.collect::<Vec<_>>(), CLOUD_EVENT_TYPES);
        assert_eq!(event_type("ScaledObject", "KEDAScalersStarted"), None);
    }

    #[test]
    fn an_event_is_sent_as_keda_sends_it() {
        let event = happening(1).event("my cluster", "keda");
        let request = event.binary("http://receiver/path").unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("ce-specversion"), "1.0");
        assert_eq!(header("ce-source"), "/my%20cluster/keda/keda");
        assert_eq!(header("ce-subject"), "/my%20cluster/shop/scaledobject/Web");
        assert_eq!(header("ce-type"), "keda.scaledobject.ready.v1");
        assert_eq!(header("ce-time"), "2026-01-01T00:00:00Z");
        assert_eq!(header("content-type"), "application/json");
        let data: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(data, json!({"reason": "ScaledObjectReady", "message": "it is"}));
        let id = header("ce-id");
        assert!(id.starts_with("019b76da-a800-7001-"), "{id}");
        assert_eq!(id.len(), 36);
        assert_ne!(id, happening(2).id);
    }

    #[test]
    fn event_grid_gets_a_batch_and_its_key_is_not_shown() {
        let event = happening(1).event("c", "keda");
        let request = event.to_event_grid("https://topic/api/events", "s3cret").unwrap();
        assert!(!format!("{request:?}").contains("s3cret"));
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body[0]["subject"], "/c/shop/scaledobject/Web");
        assert_eq!(body[0]["data"]["reason"], "ScaledObjectReady");
    }
}
