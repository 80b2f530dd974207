//! What a request does, in the terms of an authoriser.

use http::{Method, request::Parts};
use percent_encoding::percent_decode_str;

use super::user::Hasher;
use crate::service::path_segments;

/// What is done to what: a resource of an API group, or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attributes {
    /// Of an API group.
    Resource(ResourceAttributes),
    /// Anything else, e.g. discovery.
    Path {
        /// The method in lower case.
        verb: String,
        /// The path.
        path: String,
    },
}

/// A resource of an API group. Empty texts are what the request does not name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ResourceAttributes {
    pub(super) verb: String,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: String,
    pub(super) resource: String,
    pub(super) subresource: String,
    pub(super) name: String,
}

impl Attributes {
    /// What the request with this head does.
    pub(super) fn of(head: &Parts) -> Self {
        let segments = path_segments(head.uri.path());
        match segments.as_slice() {
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                Self::Resource(resource(head, group, version, rest))
            }
            ["api", version, rest @ ..] if !rest.is_empty() => {
                Self::Resource(resource(head, "", version, rest))
            }
            _ => Self::Path {
                verb: head.method.as_str().to_ascii_lowercase(),
                path: percent_decode_str(head.uri.path())
                    .decode_utf8_lossy()
                    .into_owned(),
            },
        }
    }

    /// Adds all of it to a hash.
    pub(super) fn hash(&self, hasher: &mut Hasher) {
        match self {
            Self::Resource(resource) => hasher
                .text("resource")
                .text(&resource.verb)
                .text(&resource.group)
                .text(&resource.version)
                .text(&resource.namespace)
                .text(&resource.resource)
                .text(&resource.subresource)
                .text(&resource.name),
            Self::Path { verb, path } => hasher.text("path").text(verb).text(path),
        };
    }

    /// The API server's sentence about somebody who may not do this.
    pub(super) fn forbidden(&self, user: &str, reason: &str) -> String {
        let (subject, mut sentence) = match self {
            Self::Path { verb, path } => (
                "forbidden".to_owned(),
                format!("User {user:?} cannot {verb} path {path:?}"),
            ),
            Self::Resource(resource) => (resource.subject(), resource.sentence(user)),
        };
        if !reason.is_empty() {
            sentence = format!("{sentence}: {reason}");
        }
        format!(
            "{subject}: {}",
            sentence
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
        )
    }
}

impl ResourceAttributes {
    fn subject(&self) -> String {
        let Self {
            resource,
            group,
            name,
            ..
        } = self;
        let dot = if group.is_empty() { "" } else { "." };
        if name.is_empty() {
            format!("{resource}{dot}{group} is forbidden")
        } else {
            format!("{resource}{dot}{group} {name:?} is forbidden")
        }
    }

    fn sentence(&self, user: &str) -> String {
        let Self {
            verb,
            group,
            namespace,
            ..
        } = self;
        let resource = if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        };
        let place = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {namespace:?}")
        };
        format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}")
    }
}

/// `namespaces/{namespace}/{resource}/{name}/{subresource}` and its shorter forms.
fn resource(head: &Parts, group: &str, version: &str, rest: &[&str]) -> ResourceAttributes {
    let (namespace, rest) = match rest {
        ["namespaces", namespace, "status" | "finalize", ..] => (*namespace, rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        ["namespaces", namespace] => (*namespace, rest),
        _ => ("", rest),
    };
    let part = |index: usize| decode(rest.get(index).copied().unwrap_or_default());
    let name = part(1);
    ResourceAttributes {
        verb: verb(head, !name.is_empty()).to_owned(),
        group: decode(group),
        version: decode(version),
        namespace: decode(namespace),
        // Names of metrics are served without regard to case; the same name has to be authorised.
        resource: part(0).to_lowercase(),
        subresource: part(2),
        name,
    }
}

fn verb(head: &Parts, is_named: bool) -> &'static str {
    match head.method {
        Method::GET | Method::HEAD if is_named => "get",
        Method::GET | Method::HEAD if watches(head) => "watch",
        Method::GET | Method::HEAD => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if is_named => "delete",
        Method::DELETE => "deletecollection",
        _ => "",
    }
}

fn watches(head: &Parts) -> bool {
    crate::service::query_value(head.uri.query().unwrap_or_default(), "watch")
        .is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
}

fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, uri: &str) -> Attributes {
        let request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
        Attributes::of(&request.into_parts().0)
    }

    #[test]
    fn a_metric_is_a_resource_that_is_listed() {
        let metric = ResourceAttributes {
            verb: "list".into(),
            group: "external.metrics.k8s.io".into(),
            version: "v1beta1".into(),
            namespace: "shop".into(),
            resource: "s0-orders".into(),
            ..ResourceAttributes::default()
        };
        for uri in [
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/s0-orders?labelSelector=a%3Db",
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/S0-Orders",
            "//apis/external.metrics.k8s.io//v1beta1/namespaces/sho%70/s0-orders/",
        ] {
            assert_eq!(of("GET", uri), Attributes::Resource(metric.clone()), "{uri}");
        }
    }

    #[test]
    fn verbs_and_parts_are_those_of_the_api_server() {
        for (method, path, expected) in [
            ("GET", "/apis/g/v/namespaces/n/r/x", "get r x  n"),
            ("GET", "/apis/g/v/namespaces/n/r/x/s", "get r x s n"),
            ("GET", "/apis/g/v/namespaces/n/r?watch=true", "watch r   n"),
            ("GET", "/apis/g/v/namespaces/n/r?watch=False", "list r   n"),
            ("HEAD", "/apis/g/v/r", "list r   "),
            ("POST", "/apis/g/v/namespaces/n/r", "create r   n"),
            ("PUT", "/apis/g/v/r/x", "update r x  "),
            ("PATCH", "/apis/g/v/r/x", "patch r x  "),
            ("DELETE", "/apis/g/v/r/x", "delete r x  "),
            ("DELETE", "/apis/g/v/r", "deletecollection r   "),
            ("GET", "/apis/g/v/namespaces/n", "get namespaces n  n"),
            (
                "GET",
                "/apis/g/v/namespaces/n/status",
                "get namespaces n status n",
            ),
            ("GET", "/api/v1/namespaces/n/pods", "list pods   n"),
        ] {
            let Attributes::Resource(it) = of(method, path) else {
                panic!("{path} is no resource")
            };
            let found = format!(
                "{} {} {} {} {}",
                it.verb, it.resource, it.name, it.subresource, it.namespace
            );
            assert_eq!(found, expected, "{method} {path}");
        }
        for path in [
            "/",
            "/apis",
            "/apis/g",
            "/apis/g/v",
            "/openapi/v2",
            "/version",
            "/readyz/x",
            "/api/v1",
        ] {
            let expected = Attributes::Path {
                verb: "get".into(),
                path: path.into(),
            };
            assert_eq!(of("GET", path), expected);
        }
    }

    #[test]
    fn refusals_have_the_api_servers_words() {
        let metric = of(
            "GET",
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/orders",
        );
        assert_eq!(
            metric.forbidden("ann", ""),
            "orders.external.metrics.k8s.io is forbidden: User \"ann\" cannot list resource \"orders\" in API group \
             \"external.metrics.k8s.io\" in the namespace \"shop\""
        );
        let named = of("GET", "/apis/g/v/r/x/s");
        assert_eq!(
            named.forbidden("ann", "no role"),
            "r.g \"x\" is forbidden: User \"ann\" cannot get resource \"r/s\" in API group \"g\" at the cluster \
             scope: no role"
        );
        assert_eq!(
            of("GET", "/apis").forbidden("a<b>", ""),
            "forbidden: User \"a&lt;b&gt;\" cannot get path \"/apis\""
        );
    }
}
