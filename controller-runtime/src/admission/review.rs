//! `admission.k8s.io/v1`: what an API server asks, and what it is told.

use kube::{Resource, core::ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) const API_VERSION: &str = "admission.k8s.io/v1";
pub(super) const KIND: &str = "AdmissionReview";

/// A question.
#[derive(Debug, Deserialize)]
pub(super) struct Question {
    #[serde(rename = "apiVersion")]
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) request: Request,
}

/// What is to be done to an object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub(super) uid: String,
    #[serde(default)]
    pub(super) sub_resource: String,
    #[serde(default)]
    pub(super) namespace: String,
    pub(super) operation: String,
    #[serde(default)]
    pub(super) object: Value,
    #[serde(default)]
    pub(super) old_object: Value,
    #[serde(default)]
    pub(super) dry_run: bool,
}

impl Request {
    /// The metadata of the object as it shall be, and of the object as it is. What cannot be read says nothing.
    fn metadata(&self) -> (ObjectMeta, ObjectMeta) {
        let read = |object: &Value| serde_json::from_value(object["metadata"].clone()).unwrap_or_default();
        (read(&self.object), read(&self.old_object))
    }

    /// The object in question, as `Kind namespace/name`.
    pub(super) fn about<T: Resource<DynamicType = ()>>(&self, object: &T) -> String {
        super::label(object, &self.namespace)
    }

    pub(super) fn is_update(&self) -> bool {
        self.operation == "UPDATE"
    }

    /// Whether there is nothing to check: the object goes away, or is only let go.
    pub(super) fn is_exempt(&self) -> bool {
        let (new, old) = self.metadata();
        let is_checked =
            matches!(self.operation.as_str(), "CREATE" | "UPDATE") && self.sub_resource.is_empty();
        let finalizers = |metadata: &ObjectMeta| metadata.finalizers.clone().unwrap_or_default();
        let (left, were) = (finalizers(&new), finalizers(&old));
        let is_let_go = self.is_update()
            && left.len() < were.len()
            && left.iter().all(|finalizer| were.contains(finalizer))
            && self.object["spec"] == self.old_object["spec"];
        !is_checked || new.deletion_timestamp.is_some() || is_let_go
    }

    /// Whether an update leaves alone what the rules look at: the specification and the annotations.
    pub(super) fn is_beside_the_rules(&self) -> bool {
        let (new, old) = self.metadata();
        self.is_update()
            && self.object["spec"] == self.old_object["spec"]
            && new.annotations.unwrap_or_default() == old.annotations.unwrap_or_default()
    }
}

/// An answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Debug, Serialize)]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Debug, Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'static str,
    message: &'a str,
}

/// What was found about an object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why it is refused, if it is.
    pub(super) refusal: Option<String>,
    /// What is odd about it.
    pub(super) warnings: Vec<String>,
}

impl Verdict {
    /// The answer to a question of this uid.
    pub(super) fn answer<'a>(&'a self, uid: &'a str) -> Answer<'a> {
        let status = self.refusal.as_deref().map(|message| Status {
            code: 403,
            reason: "Forbidden",
            message,
        });
        Answer {
            api_version: API_VERSION,
            kind: KIND,
            response: Response {
                uid,
                allowed: status.is_none(),
                status,
                warnings: &self.warnings,
            },
        }
    }
}
