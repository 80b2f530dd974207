//! OpenAPI documents: as little as kubectl needs to go on.

use http::Response;
use serde_json::{Map, Value, json};

use super::{ApiBody, KUBERNETES_VERSION, reply, state::State};

/// What kubectl before 1.27 asks for, and nothing else.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The document without any path as an `openapi.v2.Document`: 1 swagger, 2 info (1 title, 2 version), 8 paths.
fn protobuf() -> Vec<u8> {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        // Every content here is shorter than 128 bytes, so its length is one byte.
        let length = u8::try_from(content.len()).unwrap_or(0);
        [&[number << 3 | 2, length], content].concat()
    }
    let info = [field(1, b"Kubernetes"), field(2, KUBERNETES_VERSION.as_bytes())].concat();
    [field(1, b"2.0"), field(2, &info), field(8, b"")].concat()
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": KUBERNETES_VERSION})
}

/// `/openapi/v2`, `/openapi/v3` and what is below; `None` for other paths.
pub(crate) fn document(state: &State, path: &[&str], accept: &str) -> Option<Response<ApiBody>> {
    match path {
        ["v2"] if accept.contains(PROTOBUF) && !accept.contains("json") && !accept.contains("*/*") => {
            // With the `@` of the request it would be no media type.
            Some(reply::bytes(
                "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
                protobuf(),
            ))
        }
        ["v2"] => Some(reply::json(
            200,
            &json!({"swagger": "2.0", "info": info(), "paths": {}, "definitions": {}}),
        )),
        ["v3"] => Some(reply::json(200, &index(state))),
        ["v3", "api", "v1"] => Some(reply::json(200, &group_document(state, "", "v1"))),
        ["v3", "apis", group, version] => Some(reply::json(200, &group_document(state, group, version))),
        _ => None,
    }
}

fn index(state: &State) -> Value {
    let mut paths = Map::new();
    let mut add = |path: String| {
        let url = format!("/openapi/v3/{path}?hash={KUBERNETES_VERSION}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    };
    add("api/v1".to_owned());
    for group in state.registry.groups() {
        for version in state.registry.versions(group) {
            add(format!("apis/{group}/{version}"));
        }
    }
    json!({"paths": paths})
}

/// The paths of a version with their kinds, so that a client finds which verbs take `fieldValidation` or a dry run.
fn group_document(state: &State, group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    for resource in state
        .registry
        .in_group(group)
        .filter(|resource| resource.version(version).is_some())
    {
        let root = if group.is_empty() {
            "/api/v1".to_owned()
        } else {
            format!("/apis/{group}/{version}")
        };
        let scope = if resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let kind = json!({"group": group, "version": version, "kind": resource.kind});
        let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
        let parameters = json!([
            parameter("dryRun"),
            parameter("fieldManager"),
            parameter("fieldValidation"),
            parameter("force")
        ]);
        let operation = |action: &str| {
            json!({
                "parameters": parameters,
                "responses": {},
                "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": kind,
            })
        };
        let path = format!("{root}{scope}/{}", resource.plural);
        paths.insert(path.clone(), json!({"post": operation("post")}));
        paths.insert(
            format!("{path}/{{name}}"),
            json!({"put": operation("put"), "patch": operation("patch")}),
        );
    }
    json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": {}}})
}
