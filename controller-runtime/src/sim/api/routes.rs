//! From an HTTP request to what it asks for.

use percent_encoding::percent_decode_str;

/// A parsed query string, in its order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let decode = |part: &str| {
            let spaced = part.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key), decode(value))
                })
                .collect(),
        )
    }

    /// The parameter's value; `None` if it is absent or empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Sets a parameter that the path implies.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.0.retain(|(name, _)| name != key);
        self.0.push((key.to_owned(), value.to_owned()));
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.is_some_and(|(_, value)| !matches!(value.as_str(), "false" | "0"))
    }
}

/// What a path names below `/api/v1` or `/apis/<group>/<version>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

/// The non-empty segments of a path, decoded.
pub(crate) fn segments(path: &str) -> Vec<String> {
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect()
}

/// The path without the `watch` of the deprecated watch paths, `/api/v1/watch/...`, and whether it was there.
pub(crate) fn without_watch(mut segments: Vec<String>) -> (Vec<String>, bool) {
    let at = match segments.first().map(String::as_str) {
        Some("api") => 2,
        Some("apis") => 3,
        _ => return (segments, false),
    };
    let found = segments.len() > at + 1 && segments[at] == "watch";
    if found {
        segments.remove(at);
    }
    (segments, found)
}

impl Target {
    /// The resource that `segments` name; `None` for paths of other kinds.
    pub(crate) fn parse(segments: &[String]) -> Option<Self> {
        let (group, version, rest) = match segments {
            [root, version, rest @ ..] if root == "api" => (String::new(), version, rest),
            [root, group, version, rest @ ..] if root == "apis" => (group.clone(), version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            [word, namespace, resource, more @ ..]
                if word == "namespaces" && !is_namespace_subresource(&group, resource, more) =>
            {
                (Some(namespace.clone()), &rest[2..])
            }
            _ => (None, rest),
        };
        let (resource, rest) = rest.split_first()?;
        let (name, subresource) = match rest {
            [] => (None, None),
            [name] => (Some(name.clone()), None),
            [name, subresource] => (Some(name.clone()), Some(subresource.clone())),
            // A proxy's or a scale's deeper path is nothing that is served here.
            _ => return None,
        };
        let version = version.clone();
        Some(Self {
            group,
            version,
            namespace,
            resource: resource.clone(),
            name,
            subresource,
        })
    }
}

fn is_namespace_subresource(group: &str, word: &str, more: &[String]) -> bool {
    group.is_empty() && more.is_empty() && matches!(word, "status" | "finalize")
}

/// The form in which a client wants objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    #[default]
    Full,
    /// `Table`, the columns that `kubectl get` prints.
    Table,
    /// `PartialObjectMetadata`.
    Metadata,
}

impl Form {
    /// Reads an Accept header; the first clause that can be served wins. `None` if none can.
    pub(crate) fn negotiate(accept: &str) -> Option<Self> {
        if accept.trim().is_empty() {
            return Some(Self::Full);
        }
        accept.split(',').find_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            if !matches!(
                media,
                "application/json" | "application/*" | "*/*" | "application/yaml"
            ) {
                return None;
            }
            let mut form = Some(Self::Full);
            for part in parts {
                match part.split_once('=') {
                    Some(("as", "Table")) => form = Some(Self::Table),
                    Some(("as", "PartialObjectMetadata" | "PartialObjectMetadataList")) => {
                        form = Some(Self::Metadata);
                    }
                    Some(("as", _)) => form = None,
                    Some(("v", "v1beta1")) if form != Some(Self::Full) => form = None,
                    _ => {}
                }
            }
            form
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Option<Target> {
        Target::parse(&segments(path))
    }

    #[test]
    fn paths_name_their_target() {
        let cases = [
            ("/api/v1/pods", ("", "v1", None, "pods", None, None)),
            ("/api/v1/namespaces", ("", "v1", None, "namespaces", None, None)),
            (
                "/api/v1/namespaces/a",
                ("", "v1", None, "namespaces", Some("a"), None),
            ),
            (
                "/api/v1/namespaces/a/status",
                ("", "v1", None, "namespaces", Some("a"), Some("status")),
            ),
            (
                "/api/v1/namespaces/a/pods/b/eviction",
                ("", "v1", Some("a"), "pods", Some("b"), Some("eviction")),
            ),
            (
                "/apis/apps/v1/namespaces/a/deployments/b/scale",
                ("apps", "v1", Some("a"), "deployments", Some("b"), Some("scale")),
            ),
            (
                "/apis/keda.sh/v1alpha1/scaledobjects",
                ("keda.sh", "v1alpha1", None, "scaledobjects", None, None),
            ),
            (
                "/api/v1/nodes/n%3A1",
                ("", "v1", None, "nodes", Some("n:1"), None),
            ),
        ];
        for (path, (group, version, namespace, resource, name, subresource)) in cases {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let expected = Target {
                group: group.to_owned(),
                version: version.to_owned(),
                namespace: own(namespace),
                resource: resource.to_owned(),
                name: own(name),
                subresource: own(subresource),
            };
            assert_eq!(target(path), Some(expected), "{path}");
        }
        for path in ["/", "/api/v1", "/apis/apps/v1", "/version", "/openapi/v2"] {
            assert_eq!(target(path), None, "{path}");
        }
    }

    #[test]
    fn accept_headers_choose_the_form() {
        let cases = [
            ("", Some(Form::Full)),
            ("application/json", Some(Form::Full)),
            ("application/vnd.kubernetes.protobuf, */*", Some(Form::Full)),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Some(Form::Table),
            ),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Some(Form::Metadata),
            ),
            ("application/vnd.kubernetes.protobuf", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(Form::negotiate(accept), expected, "{accept}");
        }
    }

    #[test]
    fn query_parameters_are_decoded() {
        let query = Query::parse("labelSelector=app%3Dweb%2Ctier+in+%28a%29&watch=1&limit=&dryRun");
        assert_eq!(query.get("labelSelector"), Some("app=web,tier in (a)"));
        assert!(query.flag("watch"));
        assert_eq!(query.get("limit"), None);
    }
}
