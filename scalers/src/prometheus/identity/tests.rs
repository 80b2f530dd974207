//! The identities of clouds, each against a server on loopback that gives tokens and answers queries in one.

use std::sync::Arc;

use scaler_api::{
    Clock, Context, ErrorKind, PodIdentity, Scaler as _, Secret, Trigger as _, TriggerInput, metadata,
};

use super::super::PrometheusTrigger;
use crate::{
    azure::{AzureEnvironment, WorkloadIdentity},
    gcp::GcpEnvironment,
    http::{
        HttpEnvironment,
        test_server::{Reply, TestServer},
    },
};

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> jiff::Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }
}

fn input(server: &str, provider: &str, pairs: &[(&str, &str)]) -> TriggerInput {
    let mut input = TriggerInput::default();
    let given = [
        ("serverAddress", server),
        ("query", "sum(up) * 2"),
        ("threshold", "8"),
    ];
    for (key, value) in given.iter().chain(pairs) {
        input.metadata.insert((*key).to_owned(), (*value).to_owned());
    }
    input.settings.pod_identity = (!provider.is_empty()).then(|| PodIdentity {
        provider: provider.to_owned(),
        ..PodIdentity::default()
    });
    input
}

fn context() -> Context {
    Context::new()
        .with(HttpEnvironment::new())
        .with_clock(Arc::new(Noon))
}

async fn value(input: &TriggerInput, context: &Context) -> Result<f64, scaler_api::Error> {
    let (trigger, _) = metadata::parse::<PrometheusTrigger>(input).unwrap();
    let sample = trigger.connect(context).await?.sample().await?;
    Ok(sample.values[0].value)
}

/// A token and a result in one, of which each request reads its own.
fn both() -> Reply {
    let body =
        r#"{"access_token":"t0ken","expires_in":3600,"data":{"result":[{"metric":{},"value":[1,"7"]}]}}"#;
    Reply::Body(200, body.to_owned())
}

#[tokio::test]
async fn a_workload_identity_of_azure_carries_a_token_for_managed_prometheus() {
    let server = TestServer::start(both()).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "service-account-token").unwrap();
    let workload = WorkloadIdentity {
        client_id: Some("app".to_owned()),
        tenant_id: Some("tenant".to_owned()),
        authority_host: None,
        token_file: Some(file.path().to_owned()),
    };
    let context = context().with(AzureEnvironment::new(workload));
    let mut input = input(&server.url(""), "azure-workload", &[]);
    let identity = input.settings.pod_identity.as_mut().unwrap();
    identity.identity_id = Some("other".to_owned());
    identity.identity_tenant_id = Some("abroad".to_owned());
    identity.identity_authority_host = Some(server.url("/"));
    for _ in 0..2 {
        assert_eq!(value(&input, &context).await.unwrap(), 7.0);
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "one login");
    assert!(
        requests[0].starts_with("POST /abroad/oauth2/v2.0/token "),
        "{}",
        requests[0]
    );
    for expected in [
        "client_id=other",
        "scope=https%3A%2F%2Fprometheus.monitor.azure.com%2F.default",
        "client_assertion=service-account-token",
    ] {
        assert!(requests[0].contains(expected), "{}", requests[0]);
    }
    assert!(
        requests[1].starts_with("GET /api/v1/query?query="),
        "{}",
        requests[1]
    );
    assert!(
        requests[1].contains("authorization: Bearer t0ken\r\n"),
        "{}",
        requests[1]
    );
}

#[tokio::test]
async fn the_machine_of_google_cloud_carries_its_token() {
    let server = TestServer::start(both()).await;
    let environment = GcpEnvironment::new().with_metadata_server(server.url("/"));
    let context = context().with(environment);
    let input = input(
        &server.url("/v1/projects/shop/location/global/prometheus"),
        "gcp",
        &[],
    );
    assert_eq!(value(&input, &context).await.unwrap(), 7.0);
    let requests = server.requests();
    let token = "GET /computeMetadata/v1/instance/service-accounts/default/token ";
    assert!(requests[0].starts_with(token), "{}", requests[0]);
    let query = "GET /v1/projects/shop/location/global/prometheus/api/v1/query?";
    assert!(requests[1].starts_with(query), "{}", requests[1]);
    assert!(
        requests[1].contains("authorization: Bearer t0ken\r\n"),
        "{}",
        requests[1]
    );
    server.reply(Reply::Body(403, String::new()));
    let error = value(&input, &context).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
}

#[test]
fn what_an_identity_lacks_is_told() {
    let key = |input: TriggerInput| {
        let mut input = input;
        let name = "GoogleApplicationCredentials".to_owned();
        input.authentication.insert(name, Secret::new("hunter2"));
        input
    };
    let server = "https://prometheus.example";
    let private = [("cloud", "Private")];
    for (input, expected) in [
        (
            input(server, "azure-workload", &private),
            "azureManagedPrometheusResourceURL must be provided",
        ),
        (
            input(server, "gcp", &[("authModes", "bearer")]),
            "authModes and podIdentity exclude each other",
        ),
        (key(input(server, "", &[])), "not its JSON"),
        (
            input(server, "", &[("credentialsFromEnvFile", "KEY")]),
            "credentialsFromEnvFile is not supported",
        ),
        #[cfg(feature = "prometheus-aws")]
        (input(server, "aws", &[]), "no awsRegion given"),
        #[cfg(not(feature = "prometheus-aws"))]
        (input(server, "aws", &[]), "the feature `prometheus-aws`"),
    ] {
        let problems = metadata::parse::<PrometheusTrigger>(&input).unwrap_err();
        assert!(problems.to_string().contains(expected), "{expected}: {problems}");
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }
    let unsigned = input(server, "", &[("awsRegion", "eu-west-1")]);
    metadata::parse::<PrometheusTrigger>(&unsigned).expect("a region alone signs nothing, as in KEDA");
}

#[cfg(feature = "prometheus-aws")]
#[tokio::test]
async fn keys_of_aws_sign_each_request() {
    let server = TestServer::start(both()).await;
    let mut input = input(&server.url("/workspaces/ws-1"), "", &[("awsRegion", "eu-west-1")]);
    for (key, value) in [
        ("awsAccessKeyID", "AKIDEXAMPLE"),
        ("awsSecretAccessKey", "hunter2"),
    ] {
        input.authentication.insert(key.to_owned(), Secret::new(value));
    }
    let context = context().with(crate::aws::AwsEnvironment::new());
    assert_eq!(value(&input, &context).await.unwrap(), 7.0);
    let request = server.last_request();
    let line = "GET /workspaces/ws-1/api/v1/query?query=sum%28up%29%20%2A%202&time=2026-01-01T12%3A00%3A00Z HTTP/1.1";
    assert!(request.starts_with(line), "{request}");
    let signature = "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-west-1/aps/aws4_request, \
                     SignedHeaders=host;x-amz-date, Signature=";
    assert!(request.contains(signature), "{request}");
    assert!(request.contains("x-amz-date: 20260101T120000Z\r\n"), "{request}");
    // Modes stand in place of it.
    for (key, value) in [("authModes", "bearer"), ("bearerToken", "hunter2")] {
        input.authentication.insert(key.to_owned(), Secret::new(value));
    }
    value(&input, &context).await.unwrap();
    let request = server.last_request();
    assert!(request.contains("authorization: Bearer hunter2\r\n"), "{request}");
    assert!(!request.contains("x-amz-date"), "{request}");
}
