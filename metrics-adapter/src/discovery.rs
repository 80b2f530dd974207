//! The documents by which clients and the aggregator find the API.
//!
//! Every document is made once. The resource is the stub that KEDA and custom-metrics-apiserver serve: names of
//! metrics are not listed, because nobody reads them from here (the HPA's client knows the data path).

use bytes::Bytes;
use serde_json::{Value, json};

/// The API group.
pub const GROUP: &str = "external.metrics.k8s.io";
/// The version of the API group.
pub const VERSION: &str = "v1beta1";
/// The API group and its version.
pub(crate) const GROUP_VERSION: &str = "external.metrics.k8s.io/v1beta1";
/// The kind of the answer.
pub const LIST_KIND: &str = "ExternalMetricValueList";

const RESOURCE: &str = "externalmetrics";

/// A constant document with its entity tag.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// The JSON text.
    pub(crate) body: Bytes,
    /// A quoted hash of the text.
    pub(crate) etag: String,
    /// The media type with its parameters.
    pub(crate) content_type: &'static str,
}

/// Every document of the service.
#[derive(Clone, Debug)]
pub(crate) struct Documents {
    pub(crate) root: Document,
    pub(crate) groups: Document,
    pub(crate) group: Document,
    pub(crate) resources: Document,
    pub(crate) aggregated_v2: Document,
    pub(crate) aggregated_v2beta1: Document,
    pub(crate) openapi_v2: Document,
    pub(crate) openapi_v3: Document,
    pub(crate) openapi_v3_group: Document,
    pub(crate) version: Document,
}

const JSON: &str = "application/json";
const AGGREGATED_V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_V2BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

impl Document {
    fn new(content_type: &'static str, value: &Value) -> Self {
        let body = Bytes::from(value.to_string());
        let etag = format!("\"{:016X}\"", fnv1a(&body));
        Self {
            body,
            etag,
            content_type,
        }
    }
}

impl Documents {
    /// The documents of a server that says it is `git_version`.
    pub(crate) fn new(git_version: &str) -> Self {
        let openapi_v3_group = Document::new(JSON, &openapi_v3_group());
        let hash = openapi_v3_group.etag.trim_matches('"');
        Self {
            root: Document::new(JSON, &root()),
            groups: Document::new(JSON, &groups()),
            group: Document::new(JSON, &group("APIGroup")),
            resources: Document::new(JSON, &resources()),
            aggregated_v2: Document::new(AGGREGATED_V2, &aggregated("v2")),
            aggregated_v2beta1: Document::new(AGGREGATED_V2BETA1, &aggregated("v2beta1")),
            openapi_v2: Document::new(JSON, &openapi_v2()),
            openapi_v3: Document::new(JSON, &openapi_v3(hash)),
            version: Document::new(JSON, &version(git_version)),
            openapi_v3_group,
        }
    }

    /// The answer to `/apis`: aggregated if the client prefers it, else the legacy list of groups.
    pub(crate) fn apis(&self, accept: Option<&str>) -> &Document {
        for range in accept.unwrap_or_default().split(',') {
            match aggregated_version(range) {
                Some("v2") => return &self.aggregated_v2,
                Some("v2beta1") => return &self.aggregated_v2beta1,
                _ if is_json(range) => return &self.groups,
                _ => {}
            }
        }
        &self.groups
    }
}

/// The version that a media range like `application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList` asks for.
fn aggregated_version(range: &str) -> Option<&str> {
    let mut parts = range.split(';').map(str::trim);
    let json = parts.next()? == JSON;
    let mut version = None;
    let (mut group, mut list) = (false, false);
    for part in parts {
        match part.split_once('=')? {
            ("g", value) => group = value == "apidiscovery.k8s.io",
            ("v", value) => version = Some(value),
            ("as", value) => list = value == "APIGroupDiscoveryList",
            _ => {}
        }
    }
    version.filter(|_| json && group && list)
}

/// Whether a media range is plain JSON or a wildcard that includes it.
fn is_json(range: &str) -> bool {
    let plain = !range.contains(";as=") && !range.contains("; as=");
    let media = range.split(';').next().unwrap_or_default().trim();
    plain && matches!(media, JSON | "application/*" | "*/*")
}

/// Whether a client that sent this `Accept` header can be answered in JSON.
pub(crate) fn accepts_json(accept: Option<&str>) -> bool {
    accept.is_none_or(|accept| {
        accept.trim().is_empty()
            || accept
                .split(',')
                .any(|range| is_json(range) || aggregated_version(range).is_some())
    })
}

fn root() -> Value {
    json!({ "paths": [
        "/apis", format!("/apis/{GROUP}"), format!("/apis/{}", GROUP_VERSION),
        "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version",
    ]})
}

fn group(kind: &str) -> Value {
    let version = json!({ "groupVersion": GROUP_VERSION, "version": VERSION });
    let mut group = json!({ "name": GROUP, "versions": [version], "preferredVersion": version });
    if !kind.is_empty() {
        group["kind"] = json!(kind);
        group["apiVersion"] = json!("v1");
    }
    group
}

fn groups() -> Value {
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [group("")] })
}

fn resources() -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": GROUP_VERSION,
        "resources": [{
            "name": RESOURCE, "singularName": "", "namespaced": true, "kind": LIST_KIND, "verbs": ["get"],
        }],
    })
}

fn aggregated(version: &str) -> Value {
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": [{
            "metadata": { "name": GROUP, "creationTimestamp": null },
            "versions": [{
                "version": VERSION,
                "freshness": "Current",
                "resources": [{
                    "resource": RESOURCE,
                    "responseKind": { "group": GROUP, "version": VERSION, "kind": LIST_KIND },
                    "scope": "Namespaced",
                    "singularResource": "",
                    "verbs": ["get"],
                }],
            }],
        }],
    })
}

fn info() -> Value {
    json!({ "title": "External metrics", "version": VERSION })
}

fn openapi_v2() -> Value {
    json!({ "swagger": "2.0", "info": info(), "paths": {} })
}

fn openapi_v3(hash: &str) -> Value {
    let path = format!("apis/{}", GROUP_VERSION);
    let url = format!("/openapi/v3/{path}?hash={hash}");
    json!({ "paths": { path: { "serverRelativeURL": url } } })
}

fn openapi_v3_group() -> Value {
    json!({ "openapi": "3.0.0", "info": info(), "paths": {} })
}

fn version(git_version: &str) -> Value {
    let mut numbers = git_version.trim_start_matches('v').split('.');
    json!({
        "major": numbers.next().unwrap_or_default(),
        "minor": numbers.next().unwrap_or_default(),
        "gitVersion": git_version,
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": "",
    })
}

/// FNV-1a: a hash that is the same in every build, for entity tags.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
