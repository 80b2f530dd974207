//! The transport against a server on loopback.

use std::time::Instant;

use super::{
    test_server::{Reply, TestServer},
    *,
};

fn authentication(pairs: &[(&str, &str)]) -> Authentication {
    let mut map = serde_json::Map::new();
    for (key, value) in pairs {
        let value = if *key == "authModes" {
            value.split(',').collect::<Vec<_>>().into()
        } else {
            serde_json::Value::from(*value)
        };
        map.insert((*key).to_owned(), value);
    }
    serde_json::from_value(map.into()).unwrap()
}

fn source(authentication: Authentication, timeout: Duration) -> Source {
    let context = Context::new().with(HttpEnvironment::new()).with_timeout(timeout);
    Source::new(&context, authentication, false, None).unwrap()
}

async fn get(source: &Source, url: &str) -> Result<Answer, Error> {
    source.get(url.parse().unwrap(), &BTreeMap::new()).await
}

const PATIENT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn each_mode_puts_its_credentials_where_they_belong() {
    let server = TestServer::start(Reply::Body(200, "{}".into())).await;
    let cases = [
        (
            &[("authModes", "bearer"), ("bearerToken", "t0k")][..],
            "authorization: Bearer t0k",
        ),
        (
            &[("authModes", "basic"), ("username", "user"), ("password", "pass")],
            "authorization: Basic dXNlcjpwYXNz",
        ),
        (
            &[
                ("authModes", "custom"),
                ("customAuthHeader", "x-mine"),
                ("customAuthValue", "v"),
            ],
            "x-mine: v",
        ),
        (&[("authModes", "apiKey"), ("apiKey", "k3y")], "x-api-key: k3y"),
        (
            &[
                ("authModes", "apiKey"),
                ("apiKey", "k3y"),
                ("keyParamName", "x-k"),
            ],
            "x-k: k3y",
        ),
        (
            &[("authModes", "apiKey"), ("apiKey", "k 3"), ("method", "query")],
            "GET /v?a=1&api_key=k+3 HTTP",
        ),
        (
            &[
                ("authModes", "apiKey"),
                ("apiKey", "k"),
                ("method", "query"),
                ("keyParamName", "key"),
            ],
            "GET /v?a=1&key=k HTTP",
        ),
    ];
    for (pairs, expected) in cases {
        let source = source(authentication(pairs), PATIENT);
        get(&source, &server.url("/v?a=1")).await.unwrap();
        assert!(
            server.last_request().contains(expected),
            "{expected:?} is not in {}",
            server.last_request()
        );
    }
    // Credentials without their mode are not sent.
    get(
        &source(authentication(&[("bearerToken", "t0k")]), PATIENT),
        &server.url("/"),
    )
    .await
    .unwrap();
    assert!(!server.last_request().contains("t0k"));
}

#[test]
fn what_a_mode_lacks_is_reported() {
    for (pairs, expected) in [
        (
            &[("authModes", "bearer")][..],
            "authModes bearer needs bearerToken",
        ),
        (&[("authModes", "basic")], "authModes basic needs username"),
        (&[("authModes", "apiKey")], "authModes apiKey needs apiKey"),
        (
            &[("authModes", "custom")],
            "authModes custom needs customAuthHeader; authModes custom needs customAuthValue",
        ),
        (
            &[("authModes", "tls")],
            "authModes tls needs cert; authModes tls needs key",
        ),
        (
            &[("authModes", "oauth")],
            "authModes oauth needs oauthTokenURI; authModes oauth needs clientID",
        ),
        (
            &[
                ("authModes", "bearer,basic"),
                ("bearerToken", "t"),
                ("username", "u"),
            ],
            "authModes can name only one of bearer, basic and oauth",
        ),
        (&[("ca", "no certificate")], "ca is not a PEM certificate"),
        (
            &[("authModes", "tls"), ("cert", "x"), ("key", "y")],
            "cert and key are not a PEM certificate and its key",
        ),
        (
            &[("authModes", "bearer"), ("bearerToken", "a\nb")],
            "bearerToken cannot stand in a header",
        ),
        (
            &[
                ("authModes", "custom"),
                ("customAuthHeader", "a b"),
                ("customAuthValue", "v"),
            ],
            "customAuthHeader \"a b\" is not the name of a header",
        ),
    ] {
        let mut problems = Problems::new();
        authentication(pairs).check(&mut problems);
        assert_eq!(problems.to_string(), expected);
    }
}

#[tokio::test]
async fn statuses_become_kinds_and_carry_how_long_to_wait() {
    let server = TestServer::start(Reply::Silence).await;
    let source = source(Authentication::default(), PATIENT);
    for (status, kind) in [
        (400, ErrorKind::Invalid),
        (401, ErrorKind::Unauthorized),
        (403, ErrorKind::Unauthorized),
        (404, ErrorKind::NotFound),
        (429, ErrorKind::Throttled),
        (500, ErrorKind::Unavailable),
        (503, ErrorKind::Unavailable),
    ] {
        server.reply(Reply::Header(status, "Retry-After: 7", String::new()));
        let error = get(&source, &server.url("/"))
            .await
            .unwrap()
            .error("refused".into());
        assert_eq!(
            (error.kind(), error.retry_after()),
            (kind, Some(Duration::from_secs(7))),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_silent_server_is_a_timeout_and_a_closed_port_is_unavailable() {
    let server = TestServer::start(Reply::Silence).await;
    let impatient = source(Authentication::default(), Duration::from_millis(200));
    let before = Instant::now();
    let error = get(&impatient, &server.url("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(before.elapsed() < PATIENT);

    let url = server.url("/?api_key=hunter2");
    drop(server);
    tokio::task::yield_now().await;
    let error = get(&impatient, &url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let server = TestServer::start(Reply::Body(200, "x".repeat(MAX_ANSWER + 1))).await;
    let source = source(Authentication::default(), Duration::from_secs(30));
    let error = get(&source, &server.url("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[test]
fn clients_are_shared_by_tls_identity() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let environment = HttpEnvironment::new();
    let count = || environment.clients.lock().unwrap().len();
    environment.client(&Authentication::default().tls(false)).unwrap();
    environment.client(&Authentication::default().tls(false)).unwrap();
    assert_eq!(count(), 1);
    environment.client(&Authentication::default().tls(true)).unwrap();
    assert_eq!(count(), 2);
}

#[test]
fn urls_are_checked() {
    assert!(url("url", "https://example.com/a?b=c").is_ok());
    for (text, expected) in [
        (
            "example.com",
            "url \"example.com\" is not a URL: relative URL without a base",
        ),
        (
            "ftp://example.com",
            "url \"ftp://example.com\" is not a URL of http or https",
        ),
    ] {
        assert_eq!(url("url", text).unwrap_err(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_environment_is_an_outage_at_once() {
    let context = Context::new().with(HttpEnvironment::closed());
    let source = Source::new(&context, Authentication::default(), false, None).unwrap();
    let before = tokio::time::Instant::now();
    let error = get(&source, "http://127.0.0.1:1/").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(before.elapsed(), Duration::ZERO);
}
