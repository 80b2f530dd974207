//! Old forms of KEDA's and Karpenter's resources: taken, and kept as what they are today.
//!
//! Where the kinds of today are defined, those of old are served as well: discovery shows them, and a creation or an
//! apply of one is the same of what it is converted to, with a warning that says so and what has no counterpart. Nothing
//! is kept under an old name, so there is nothing to read, patch or delete there. A definition of an old kind that
//! somebody installs is served as it is, and nothing of that kind is converted.

use bytes::Bytes;
use http::{Method, Request, header, request::Parts};
use http_body_util::Full;
use provisioner::karpenter;
use scaler_api::{Converted, keda};
use serde_json::Value;

use super::{
    resources::{Conversion, Registry, Resource, Traits, Version},
    routes::{Query, Target},
    state::State,
    status::ApiError,
    value,
    verbs::Call,
};

/// An old kind, and the resource of today whose definition brings it along.
#[derive(Clone, Copy)]
struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
    today: (&'static str, &'static str),
}

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    today: (&'static str, &'static str),
) -> Kind {
    Kind {
        group,
        version,
        kind,
        plural,
        namespaced: false,
        today,
    }
}

const KEDA: &str = keda::GROUP;
const KARPENTER: &str = karpenter::labels::GROUP;
const AWS: &str = karpenter::labels::AWS_GROUP;
const OLD_KEDA: &str = keda::old::OLD_GROUP;

const KINDS: [Kind; 7] = [
    Kind {
        namespaced: true,
        ..kind(
            OLD_KEDA,
            "v1alpha1",
            "ScaledObject",
            "scaledobjects",
            (KEDA, "scaledobjects"),
        )
    },
    Kind {
        namespaced: true,
        ..kind(
            OLD_KEDA,
            "v1alpha1",
            "TriggerAuthentication",
            "triggerauthentications",
            (KEDA, "triggerauthentications"),
        )
    },
    kind(
        KARPENTER,
        "v1alpha5",
        "Provisioner",
        "provisioners",
        (KARPENTER, "nodepools"),
    ),
    kind(
        KARPENTER,
        "v1beta1",
        "NodePool",
        "nodepools",
        (KARPENTER, "nodepools"),
    ),
    kind(
        KARPENTER,
        "v1beta1",
        "NodeClaim",
        "nodeclaims",
        (KARPENTER, "nodeclaims"),
    ),
    kind(
        AWS,
        "v1alpha1",
        "AWSNodeTemplate",
        "awsnodetemplates",
        (AWS, "ec2nodeclasses"),
    ),
    kind(
        AWS,
        "v1beta1",
        "EC2NodeClass",
        "ec2nodeclasses",
        (AWS, "ec2nodeclasses"),
    ),
];

impl Kind {
    /// Its place in the registry, where no path leads: its resource may be there in a version of today.
    fn place(&self) -> String {
        format!("{} {}", self.plural, self.version)
    }

    fn to_resource(self) -> Resource {
        Resource {
            group: self.group.to_owned(),
            kind: self.kind.to_owned(),
            list_kind: format!("{}List", self.kind),
            plural: self.plural.to_owned(),
            singular: self.kind.to_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: self.namespaced,
            versions: vec![Version {
                name: self.version.to_owned(),
                status: false,
                scale: None,
            }],
            storage_version: self.version.to_owned(),
            store: None,
            traits: Traits {
                old: true,
                ..Traits::default()
            },
            conversion: Conversion::None,
            extension: None,
        }
    }
}

/// Serves the old kinds whose definition of today there is, unless they have a definition of their own.
pub(crate) fn serve(registry: &mut Registry) {
    for kind in KINDS {
        let serves = |group: &str, plural: &str| registry.get(group, plural);
        let has_own = serves(kind.group, kind.plural).is_some_and(|own| own.version(kind.version).is_some());
        let is_served = serves(kind.today.0, kind.today.1).is_some() && !has_own;
        let place = kind.place();
        match (is_served, registry.get(kind.group, &place).is_some()) {
            (true, false) => registry.insert_at(place, kind.to_resource()),
            (false, true) => registry.remove(kind.group, &place),
            _ => {}
        }
    }
}

/// What an object is today, given those beside it; empty for an object that is not old, or of a kind that is served as it
/// is.
pub(crate) fn convert(registry: &Registry, object: &Value, beside: &[Value]) -> Vec<Converted> {
    let api_version = value::text(object, &["apiVersion"]);
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let own = registry.by_kind(group, value::text(object, &["kind"]));
    if own.is_some_and(|own| own.version(version).is_some()) {
        return Vec::new();
    }
    match keda::old::convert(object) {
        Some(converted) => vec![converted],
        None => karpenter::old::convert(object, beside),
    }
}

/// What a request for an old kind comes to.
pub(crate) struct Redirected {
    /// The same for what the object is today, one after the other; the first one's answer is the answer.
    pub(crate) requests: Vec<Request<Full<Bytes>>>,
    pub(crate) warnings: Vec<String>,
}

/// The old kind that a path names, as a resource.
fn resource<'a>(state: &'a State, target: &Target) -> Option<(&'a std::sync::Arc<Resource>, &'a Version)> {
    let place = format!("{} {}", target.resource, target.version);
    let resource = state.registry.get(&target.group, &place)?;
    let is_there = resource.namespaced || target.namespace.is_none();
    Some((resource, resource.version(&target.version).filter(|_| is_there)?))
}

/// What comes of a request, if it is for an old kind.
///
/// # Errors
/// Where there is nothing to do it to, or the object cannot be read.
pub(crate) fn redirect(
    state: &State,
    target: &Target,
    parts: &Parts,
    body: &Bytes,
) -> Result<Option<Redirected>, ApiError> {
    let Some((resource, version)) = resource(state, target) else {
        return Ok(None);
    };
    let mut call = Call::new(resource.clone(), version.clone(), target.clone());
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    content_type
        .unwrap_or_default()
        .clone_into(&mut call.content_type);
    call.body = body.clone();
    let is_apply = call.content_type.starts_with("application/apply-patch");
    let object = match (&parts.method, &target.name, &target.subresource) {
        (&Method::POST, None, None) => call.json()?,
        (&Method::PATCH, Some(_), None) if is_apply => super::verbs::yaml(body)?,
        (_, Some(name), _) => return Err(ApiError::not_found(resource.subject(), name)),
        _ => return Err(ApiError::method_not_allowed()),
    };
    redirected(state, &call, parts, object, is_apply).map(Some)
}

fn redirected(
    state: &State,
    call: &Call,
    parts: &Parts,
    mut object: Value,
    is_apply: bool,
) -> Result<Redirected, ApiError> {
    let (expected, found) = (call.api_version(), object["apiVersion"].as_str());
    let is_kind = found == Some(&expected) && object["kind"] == call.resource.kind.as_str();
    if !is_kind || !object.is_object() {
        let kind = &call.resource.kind;
        return Err(ApiError::bad_request(format!(
            "the object is {} {}, expected {expected} {kind}",
            found.unwrap_or("nothing"),
            object["kind"].as_str().unwrap_or("nothing"),
        )));
    }
    // kubectl apply looks for the object first, finds none, and creates one: it may be there as what it is today.
    let is_applied_by_client = take_last_applied(&mut object);
    let mut requests = Vec::new();
    let mut warnings = Vec::new();
    let from = format!("{expected} {}", call.resource.kind);
    for converted in convert(&state.registry, &object, std::slice::from_ref(&object)) {
        let today = &converted.object;
        let text = |path: &[&str]| value::text(today, path);
        let (api_version, kind) = (text(&["apiVersion"]), text(&["kind"]));
        warnings.push(format!(
            "{from} is an old form, taken as {api_version} {kind} {}",
            value::name(today)
        ));
        warnings.extend(converted.notes.iter().map(ToString::to_string));
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let Some(resource) = state.registry.by_kind(group, kind) else {
            let message = format!("{from} is an old form of {api_version} {kind}, which is not served");
            return Err(ApiError::new(404, "NotFound", message));
        };
        let namespace = call.target.namespace.as_deref().filter(|_| resource.namespaced);
        let namespace = namespace.map_or_else(String::new, |namespace| format!("/namespaces/{namespace}"));
        let collection = format!("/apis/{api_version}{namespace}/{}", resource.plural);
        let applies = is_apply || (is_applied_by_client && !value::name(today).is_empty());
        requests.push(request(&collection, parts, today, applies, is_apply)?);
    }
    Ok(Redirected { requests, warnings })
}

/// Takes away what kubectl notes of what it applied, which is of the old form; whether it was there.
fn take_last_applied(object: &mut Value) -> bool {
    const NOTE: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let Some(annotations) =
        value::at_mut(object, &["metadata", "annotations"]).and_then(Value::as_object_mut)
    else {
        return false;
    };
    let was_there = annotations.remove(NOTE).is_some();
    if annotations.is_empty() {
        value::remove(object, &["metadata", "annotations"]);
    }
    was_there
}

/// The request about an object of today; `as_asked` keeps the parameters of an apply.
fn request(
    collection: &str,
    parts: &Parts,
    object: &Value,
    applies: bool,
    as_asked: bool,
) -> Result<Request<Full<Bytes>>, ApiError> {
    let query = parts.uri.query().unwrap_or_default();
    let (method, path, query, media) = if applies {
        let path = format!("{collection}/{}", value::name(object));
        let query = match (as_asked, Query::parse(query).get("fieldManager")) {
            (true, _) => query.to_owned(),
            (false, Some(_)) => format!("{query}&force=true"),
            (false, None) => format!("{query}&fieldManager=kubectl&force=true"),
        };
        (Method::PATCH, path, query, "application/apply-patch+yaml")
    } else {
        (
            Method::POST,
            collection.to_owned(),
            query.to_owned(),
            "application/json",
        )
    };
    let mut request = Request::builder().method(method).uri(format!("{path}?{query}"));
    for (name, content) in &parts.headers {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            request = request.header(name, content);
        }
    }
    request
        .header(header::CONTENT_TYPE, media)
        .body(Full::new(object.to_string().into()))
        .map_err(|error| ApiError::bad_request(error.to_string()))
}
