//! Delegated authentication and authorisation against an API server that a test controls.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use metrics_adapter::server::{Delegated, DelegatedOptions, User};
use serde_json::{Value, json};

use crate::support::{Authority, Pair, Server, get, read};

const METRIC: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/s0-orders";

/// An API server that knows the token `good`, allows what is done in the namespace `shop` by anybody but `eve`, and
/// notes what it was asked.
#[derive(Clone, Default)]
struct ApiServer {
    config_map: Arc<Mutex<BTreeMap<String, String>>>,
    is_down: Arc<Mutex<bool>>,
    reviews: Arc<Mutex<Vec<Value>>>,
}

impl ApiServer {
    fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(
        &self,
        request: Request<kube::client::Body>,
    ) -> Result<Response<Full<Bytes>>, tower::BoxError> {
        let (head, body) = request.into_parts();
        if head.uri.path().ends_with("/configmaps") {
            if head.uri.query().unwrap_or_default().contains("watch=true") {
                std::future::pending::<()>().await;
            }
            assert!(
                head.uri
                    .query()
                    .unwrap()
                    .contains("metadata.name%3Dextension-apiserver-authentication")
            );
            let data = self.config_map.lock().unwrap().clone();
            let item = json!({ "metadata": { "name": "extension-apiserver-authentication" }, "data": data });
            let list = json!({ "metadata": { "resourceVersion": "1" }, "items": [item] });
            return Ok(Response::new(Full::from(list.to_string())));
        }
        if *self.is_down.lock().unwrap() {
            return Err("connection refused".into());
        }
        let mut review: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
        self.reviews.lock().unwrap().push(review.clone());
        let spec = &review["spec"];
        review["status"] = match review["kind"].as_str() {
            Some("TokenReview") if spec["token"] == "good" => {
                json!({ "authenticated": true, "user": { "username": "ann", "groups": ["dev"] } })
            }
            Some("TokenReview") => json!({ "authenticated": false, "error": "no such token" }),
            _ => {
                let is_ours = spec["resourceAttributes"]["namespace"] == "shop";
                let is_known = !matches!(spec["user"].as_str(), Some("eve" | "system:anonymous"));
                json!({ "allowed": is_ours && is_known })
            }
        };
        Ok(Response::new(Full::from(review.to_string())))
    }

    fn asked(&self, kind: &str) -> usize {
        self.reviews
            .lock()
            .unwrap()
            .iter()
            .filter(|review| review["kind"] == kind)
            .count()
    }
}

/// Says who the user is and which of the claims in the headers came through.
async fn whoami(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let user = request.extensions().get::<Arc<User>>();
    let claims = request
        .headers()
        .keys()
        .filter(|name| name.as_str().starts_with("x-remote") || *name == http::header::AUTHORIZATION);
    let text = match user {
        Some(user) => format!(
            "{} {:?} {:?} {}",
            user.name,
            user.groups,
            user.extra,
            claims.count()
        ),
        None => format!("nobody {}", claims.count()),
    };
    Ok(Response::new(Full::from(text)))
}

struct World {
    api: ApiServer,
    delegated: Delegated,
    server: Server,
    front_proxy: Authority,
    clients: Authority,
}

impl World {
    async fn new() -> Self {
        Self::with(DelegatedOptions::default()).await
    }

    async fn with(options: DelegatedOptions) -> Self {
        let (front_proxy, clients) = (Authority::new("front-proxy"), Authority::new("clients"));
        let api = ApiServer::default();
        *api.config_map.lock().unwrap() = [
            ("client-ca-file", clients.pem.as_str()),
            ("requestheader-client-ca-file", front_proxy.pem.as_str()),
            ("requestheader-allowed-names", r#"["aggregator"]"#),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let delegated = Delegated::new(api.client(), options);
        let server = Server::start(
            &delegated.client_authorities(),
            delegated.layer(tower::service_fn(whoami)),
        );
        let running = delegated.clone();
        tokio::spawn(async move { running.run().await });
        delegated.until_ready().await;
        Self {
            api,
            delegated,
            server,
            front_proxy,
            clients,
        }
    }

    async fn send(&self, identity: Option<&Pair>, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = get(path);
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let response = self
            .server
            .http1(identity)
            .await
            .send_request(request)
            .await
            .unwrap();
        read(response).await
    }
}

const ANN: &[(&str, &str)] = &[
    ("X-Remote-User", "ann"),
    ("X-Remote-Group", "dev"),
    ("X-Remote-Group", "ops"),
    ("X-Remote-Extra-Acme.com%2fteam", "a"),
];

#[tokio::test]
async fn the_front_proxy_speaks_for_users_and_nobody_else_does() {
    let world = World::new().await;
    let aggregator = world.front_proxy.client("aggregator", &[]);
    let expected = r#"ann ["dev", "ops", "system:authenticated"] {"acme.com/team": ["a"]} 0"#;
    assert_eq!(
        world.send(Some(&aggregator), METRIC, ANN).await,
        (200, expected.to_owned())
    );
    // The right authority, but a name that is not allowed: no identity, and no anonymous one either.
    let other = world.front_proxy.client("other", &[]);
    assert_eq!(world.send(Some(&other), METRIC, ANN).await.0, 401);
    // The front proxy's name, signed by the authority for clients: a user of that name.
    let namesake = world.clients.client("aggregator", &[]);
    let (code, text) = world.send(Some(&namesake), METRIC, ANN).await;
    assert!(
        code == 200 && text.starts_with(r#"aggregator ["system:authenticated"]"#),
        "{code} {text}"
    );
    assert!(text.ends_with(" 0"), "claims reached the service: {text}");
    let (code, text) = world.send(None, METRIC, ANN).await;
    assert!(
        code == 403 && text.contains(r#"User \"system:anonymous\" cannot list resource \"s0-orders\""#),
        "{text}"
    );
}

#[tokio::test]
async fn a_client_certificate_names_user_and_groups() {
    let world = World::new().await;
    let ann = world.clients.client("ann", &["dev"]);
    let (code, text) = world.send(Some(&ann), METRIC, &[]).await;
    assert_eq!(code, 200);
    assert!(text.starts_with(
        r#"ann ["dev", "system:authenticated"] {"authentication.kubernetes.io/credential-id": ["X509SHA256="#
    ));
    let eve = world.clients.client("eve", &["dev"]);
    let (code, text) = world.send(Some(&eve), METRIC, &[]).await;
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &status["reason"], &status["code"]),
        (403, &json!("Forbidden"), &json!(403))
    );
    assert_eq!(
        status["message"],
        "s0-orders.external.metrics.k8s.io is forbidden: User \"eve\" cannot list resource \"s0-orders\" in API group \
         \"external.metrics.k8s.io\" in the namespace \"shop\""
    );
    // Eve in the group of those who may do everything is not asked about.
    let root = world.clients.client("eve", &["system:masters"]);
    let before = world.api.asked("SubjectAccessReview");
    assert_eq!(world.send(Some(&root), "/anything", &[]).await.0, 200);
    assert_eq!(world.api.asked("SubjectAccessReview"), before);
}

#[tokio::test]
async fn a_token_is_reviewed_once_for_all_who_show_it() {
    let world = World::new().await;
    let good = [("authorization", "Bearer good")];
    let answers = join_all((0..20).map(|_| world.send(None, METRIC, &good))).await;
    for (code, text) in answers {
        assert_eq!(
            (code, text.as_str()),
            (200, r#"ann ["dev", "system:authenticated"] {} 0"#)
        );
    }
    assert_eq!(
        (
            world.api.asked("TokenReview"),
            world.api.asked("SubjectAccessReview")
        ),
        (1, 1)
    );
    let review = world.api.reviews.lock().unwrap()[1]["spec"].clone();
    let expected = json!({
        "user": "ann",
        "groups": ["dev", "system:authenticated"],
        "resourceAttributes": {
            "verb": "list", "group": "external.metrics.k8s.io", "version": "v1beta1", "namespace": "shop",
            "resource": "s0-orders",
        },
    });
    assert_eq!(review, expected);
    let (code, text) = world.send(None, METRIC, &[("authorization", "bearer bad")]).await;
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &status["kind"], &status["message"]),
        (401, &json!("Status"), &json!("Unauthorized"))
    );
    assert!(!format!("{:?}", world.delegated).contains("good"));
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_lets_nobody_through() {
    let mut options = DelegatedOptions::default();
    options.timeout = Duration::from_millis(200);
    let world = World::with(options).await;
    *world.api.is_down.lock().unwrap() = true;
    let (code, text) = world
        .send(None, METRIC, &[("authorization", "Bearer good")])
        .await;
    assert_eq!(code, 503);
    assert!(
        text.contains(r#""reason":"ServiceUnavailable""#) && !text.contains("good"),
        "{text}"
    );
    let ann = world.clients.client("ann", &[]);
    assert_eq!(world.send(Some(&ann), METRIC, &[]).await.0, 503);
    // Probes and those who may do everything do not depend on it.
    assert_eq!(
        world.send(None, "/readyz", &[]).await,
        (200, "nobody 0".to_owned())
    );
    let root = world.clients.client("root", &["system:masters"]);
    assert_eq!(world.send(Some(&root), METRIC, &[]).await.0, 200);
    *world.api.is_down.lock().unwrap() = false;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(
        world
            .send(None, METRIC, &[("authorization", "Bearer good")])
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn nobody_in_particular_can_be_refused_at_once() {
    let mut options = DelegatedOptions::default();
    options.anonymous = false;
    let world = World::with(options).await;
    assert_eq!(world.send(None, METRIC, &[]).await.0, 401);
    assert_eq!(world.api.asked("SubjectAccessReview"), 0);
    assert_eq!(world.send(None, "/healthz", &[]).await.0, 200);
}
