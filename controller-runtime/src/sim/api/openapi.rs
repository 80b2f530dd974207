//! OpenAPI documents: as little as kubectl needs to go on.

use http::Response;
use serde_json::{Map, Value, json};

use super::{ApiBody, KUBERNETES_VERSION, reply, state::State};

fn info() -> Value {
    json!({"title": "Kubernetes", "version": KUBERNETES_VERSION})
}

/// `/openapi/v2`, `/openapi/v3` and what is below; `None` for other paths.
pub(crate) fn document(state: &State, path: &[&str], accept: &str) -> Option<Response<ApiBody>> {
    match path {
        // A client that reads protobuf only is told so, and goes on without.
        ["v2"] if accept.contains("protobuf") && !accept.contains("json") && !accept.contains("*/*") => {
            Some(reply::text(406, "only application/json is served\n"))
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
