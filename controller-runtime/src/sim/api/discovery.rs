//! What is served: the version, the groups and their resources, in the legacy and the aggregated form.

use http::Response;
use serde_json::{Value, json};

use super::{
    ApiBody, KUBERNETES_VERSION, aggregation, reply,
    resources::{Registry, Resource, Version},
    state::State,
};

/// `/version`.
pub(crate) fn version() -> Value {
    let mut parts = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    json!({
        "major": major,
        "minor": minor,
        "gitVersion": KUBERNETES_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": "linux/amd64",
    })
}

/// `/`: the paths there are.
pub(crate) fn paths(state: &State) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for group in state.registry.groups() {
        paths.push(format!("/apis/{group}"));
        paths.extend(
            state
                .registry
                .versions(group)
                .iter()
                .map(|version| format!("/apis/{group}/{version}")),
        );
    }
    for path in [
        "/healthz",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ] {
        paths.push(path.to_owned());
    }
    json!({"paths": paths})
}

/// The version of the aggregated documents that a client asks for, the newer one first.
fn aggregated_version(accept: &str) -> Option<(&'static str, &'static str)> {
    let wants = |version: &str| {
        accept.split(',').any(|clause| {
            let mut parameters = clause.split(';').map(str::trim);
            parameters.clone().any(|one| one == "as=APIGroupDiscoveryList")
                && parameters.any(|one| one == version)
        })
    };
    if wants("v=v2") {
        return Some((
            "v2",
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        ));
    }
    wants("v=v2beta1").then_some((
        "v2beta1",
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    ))
}

/// The documents below `/api` and `/apis`; `None` for other paths.
pub(crate) fn document(state: &State, segments: &[&str], accept: &str) -> Option<Response<ApiBody>> {
    if let (["api"] | ["apis"], Some((version, media))) = (segments, aggregated_version(accept)) {
        let mut list = if segments == ["api"] {
            aggregated_core(&state.registry)
        } else {
            aggregated_groups(state)
        };
        list["apiVersion"] = format!("apidiscovery.k8s.io/{version}").into();
        return Some(reply::json_as(media, &list));
    }
    let registry = &state.registry;
    let value = match segments {
        ["api"] => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
        }),
        ["apis"] => {
            let groups: Vec<Value> = all_groups(state)
                .iter()
                .map(|(name, versions)| group(name, versions))
                .collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["api", "v1"] => resource_list(registry, "", "v1"),
        ["apis", name] => {
            let (_, versions) = all_groups(state).into_iter().find(|(group, _)| group == name)?;
            let mut group = group(name, &versions);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        ["apis", name, version] if registry.versions(name).iter().any(|known| known == version) => {
            resource_list(registry, name, version)
        }
        _ => return None,
    };
    Some(reply::json(200, &value))
}

/// Named groups with their versions, those of aggregated APIs included.
fn all_groups(state: &State) -> Vec<(String, Vec<String>)> {
    let registry = &state.registry;
    let mut groups: Vec<(String, Vec<String>)> = registry
        .groups()
        .map(|group| (group.to_owned(), registry.versions(group)))
        .collect();
    for (group, version, _) in aggregation::registered(state) {
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, versions)) if !versions.contains(&version) => versions.push(version),
            Some(_) => {}
            None => groups.push((group, vec![version])),
        }
    }
    groups
}

fn group(name: &str, versions: &[String]) -> Value {
    let version = |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

/// The verbs that a resource answers to.
fn verbs(resource: &Resource) -> Vec<&'static str> {
    if resource.traits.old {
        return vec!["create", "patch"];
    }
    if resource.store.is_none() {
        return vec!["create"];
    }
    if resource.extension.is_some() {
        return vec![
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "create",
            "update",
            "watch",
        ];
    }
    let mut verbs = vec!["create", "delete"];
    if !resource.is("", "namespaces") {
        verbs.push("deletecollection");
    }
    verbs.extend(["get", "list", "patch", "update", "watch"]);
    verbs
}

/// A subresource: the group, version and kind of its objects, and its verbs.
fn subresource(
    name: &str,
    resource: &Resource,
    version: &Version,
) -> (String, String, String, Vec<&'static str>) {
    let own = || {
        (
            resource.group.clone(),
            version.name.clone(),
            resource.kind.clone(),
        )
    };
    let ((group, version, kind), verbs) = match name {
        "scale" => (
            ("autoscaling".into(), "v1".into(), "Scale".into()),
            vec!["get", "patch", "update"],
        ),
        "eviction" => (("policy".into(), "v1".into(), "Eviction".into()), vec!["create"]),
        "binding" => ((String::new(), "v1".into(), "Binding".into()), vec!["create"]),
        "token" => (
            ("authentication.k8s.io".into(), "v1".into(), "TokenRequest".into()),
            vec!["create"],
        ),
        "log" => (own(), vec!["get"]),
        "finalize" => (own(), vec!["update"]),
        _ => (own(), vec!["get", "patch", "update"]),
    };
    (group, version, kind, verbs)
}

fn resource_list(registry: &Registry, group: &str, version: &str) -> Value {
    let mut resources = Vec::new();
    for resource in registry.in_group(group) {
        let Some(served) = resource.version(version) else {
            continue;
        };
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": verbs(resource),
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        if resource.store.is_some() {
            entry["storageVersionHash"] = "".into();
        }
        resources.push(entry);
        for name in resource.subresources(served) {
            let (sub_group, sub_version, kind, verbs) = subresource(name, resource, served);
            let mut entry = json!({
                "name": format!("{}/{name}", resource.plural),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind,
                "verbs": verbs,
            });
            if sub_group != resource.group {
                entry["group"] = sub_group.into();
                entry["version"] = sub_version.into();
            }
            resources.push(entry);
        }
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

fn aggregated_core(registry: &Registry) -> Value {
    let core = aggregated_group(registry, "", &registry.versions(""));
    json!({"kind": "APIGroupDiscoveryList", "metadata": {}, "items": [core]})
}

fn aggregated_groups(state: &State) -> Value {
    let registry = &state.registry;
    let mut items: Vec<Value> = registry
        .groups()
        .map(|group| aggregated_group(registry, group, &registry.versions(group)))
        .collect();
    for (group, version, available) in aggregation::registered(state) {
        let freshness = if available { "Current" } else { "Stale" };
        let version = json!({"version": version, "freshness": freshness, "resources": []});
        items.push(json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": [version]}));
    }
    json!({"kind": "APIGroupDiscoveryList", "metadata": {}, "items": items})
}

fn aggregated_group(registry: &Registry, group: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| {
            let resources: Vec<Value> = registry
                .in_group(group)
                .filter_map(|resource| Some(aggregated_resource(resource, resource.version(version)?)))
                .collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let mut metadata = json!({"creationTimestamp": null});
    if !group.is_empty() {
        metadata["name"] = group.into();
    }
    json!({"metadata": metadata, "versions": versions})
}

/// The type of answers; that of a built-in's own group goes without saying.
fn response_kind(resource: &Resource, group: &str, version: &str, kind: &str) -> Value {
    if resource.extension.is_none() && !resource.traits.old && group == resource.group {
        return json!({"group": "", "version": "", "kind": kind});
    }
    json!({"group": group, "version": version, "kind": kind})
}

fn aggregated_resource(resource: &Resource, version: &Version) -> Value {
    let subresources: Vec<Value> = resource
        .subresources(version)
        .into_iter()
        .map(|name| {
            let (group, version, kind, verbs) = subresource(name, resource, version);
            let kind = response_kind(resource, &group, &version, &kind);
            json!({"subresource": name, "responseKind": kind, "verbs": verbs})
        })
        .collect();
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": response_kind(resource, &resource.group, &version.name, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": verbs(resource),
    });
    for (key, list) in [
        ("shortNames", &resource.short_names),
        ("categories", &resource.categories),
    ] {
        if !list.is_empty() {
            entry[key] = json!(list);
        }
    }
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}
