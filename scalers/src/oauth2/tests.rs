use scaler_api::Context;

use super::*;
use crate::http::{
    HttpEnvironment, Tls,
    test_server::{Reply, TestServer},
};

fn source(server: &TestServer, secret: &str) -> TokenSource {
    let context = Context::new().with(HttpEnvironment::new());
    let caller = Caller::new(&context, &Tls::default(), None).unwrap();
    TokenSource::new(
        caller,
        ClientCredentials {
            token_url: server.url("/token").parse().unwrap(),
            client_id: "me".into(),
            client_secret: Secret::new(secret),
            scopes: vec!["read".into(), "write".into()],
            parameters: parameters("audience=a%20b&x=1"),
        },
    )
}

#[tokio::test]
async fn a_token_is_asked_for_once_by_the_rules_of_the_standard() {
    let issued = r#"{"access_token": "t1", "token_type": "bearer", "expires_in": 3600}"#;
    let server = TestServer::start(Reply::Body(200, issued.into())).await;
    let source = source(&server, "p%w d");
    let (first, second) = futures_join(source.token(), source.token()).await;
    assert_eq!(first.unwrap(), Secret::new("t1"));
    assert_eq!(second.unwrap(), Secret::new("t1"));
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let request = &requests[0];
    assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
    // me:p%25w+d
    assert!(
        request.contains("authorization: Basic bWU6cCUyNXcrZA=="),
        "{request}"
    );
    source.forget(&Secret::new("another")).await;
    source.token().await.unwrap();
    assert_eq!(server.requests().len(), 1);
    source.forget(&Secret::new("t1")).await;
    source.token().await.unwrap();
    assert_eq!(server.requests().len(), 2);
}

async fn futures_join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    tokio::join!(a, b)
}

#[tokio::test]
async fn a_refused_client_and_an_outage_differ_and_show_no_secret() {
    for (status, kind) in [
        (400, ErrorKind::Unauthorized),
        (401, ErrorKind::Unauthorized),
        (503, ErrorKind::Unavailable),
    ] {
        let server = TestServer::start(Reply::Body(status, "hunter2".into())).await;
        let error = source(&server, "hunter2").token().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_wants_the_secret_in_the_body_gets_it_there() {
    let issued = r#"{"access_token": "t1", "expires_in": "60"}"#;
    let server = TestServer::start(Reply::Body(200, issued.into())).await;
    let body =
        "grant_type=client_credentials&scope=read+write&audience=a+b&x=1&client_id=me&client_secret=word";
    server.require(body);
    let source = source(&server, "word");
    assert_eq!(source.token().await.unwrap(), Secret::new("t1"));
    assert_eq!(server.requests().len(), 2);
}
