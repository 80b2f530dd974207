//! `awsSecretManager` against moto.

use scaler_api::{
    ErrorKind,
    secret_store::{ACCESS_KEY, ACCESS_SECRET_KEY, SecretBlock, blocks::AwsSecretManager},
};
use scalers::aws_secret_manager::AwsSecretManagerStore;
use serde_json::{Value, json};

use super::{ask, server::Server, shown};

const KEYS: &[(&str, &str)] = &[
    (ACCESS_KEY, "AKIAIOSFODNN7EXAMPLE"),
    (ACCESS_SECRET_KEY, "secret"),
];

fn start() -> Option<Server> {
    Server::start("moto")
}

/// moto looks for the region in the credentials, and takes any signature.
async fn call(server: &Server, action: &str, body: Value) -> Value {
    let scope = "AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-west-1/secretsmanager/aws4_request, \
                 SignedHeaders=host, Signature=0";
    let request = reqwest::Client::new()
        .post(server.url("/"))
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("secretsmanager.{action}"))
        .header("authorization", scope)
        .body(body.to_string());
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

fn block(secrets: Value) -> SecretBlock {
    let key = |name: &str| json!({"valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}});
    let block = json!({
        "region": "eu-west-1", "secrets": secrets,
        "credentials": {"accessKey": key("id"), "accessSecretKey": key("secret")},
    });
    SecretBlock::AwsSecretManager(serde_json::from_value::<AwsSecretManager>(block).unwrap())
}

#[tokio::test]
async fn versions_stages_keys_and_bytes_are_read_and_what_is_not_there_is_named() {
    let Some(server) = start() else { return };
    let made = call(&server, "CreateSecret", json!({"Name": "app", "SecretString": "one", "ClientRequestToken": "11111111-1111-1111-1111-111111111111"})).await;
    let first = made["VersionId"].as_str().unwrap().to_owned();
    call(
        &server,
        "PutSecretValue",
        json!({"SecretId": "app", "SecretString": "two"}),
    )
    .await;
    let fields = json!({"user": "bob", "port": 5432}).to_string();
    call(
        &server,
        "CreateSecret",
        json!({"Name": "fields", "SecretString": fields}),
    )
    .await;
    call(
        &server,
        "CreateSecret",
        json!({"Name": "bytes", "SecretBinary": "aHVudGVyMg=="}),
    )
    .await;
    let secrets = json!([
        {"parameter": "current", "name": "app"},
        {"parameter": "first", "name": "app", "versionId": first},
        {"parameter": "previous", "name": "app", "versionStage": "AWSPREVIOUS"},
        {"parameter": "user", "name": "fields", "secretKey": "user"},
        {"parameter": "port", "name": "fields", "secretKey": "port"},
        {"parameter": "bytes", "name": "bytes"},
        {"parameter": "gone", "name": "gone"},
        {"parameter": "no-key", "name": "fields", "secretKey": "x"},
        {"parameter": "no-object", "name": "app", "secretKey": "x"},
    ]);
    let store = AwsSecretManagerStore::new().with_endpoint(server.url("/"));
    let found = ask(&store, block(secrets), KEYS).await.unwrap();
    let values: Vec<_> = shown(&found)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let expected = [
        "bytes=hunter2",
        "current=two",
        "first=one",
        "port=5432",
        "previous=one",
        "user=bob",
    ];
    assert_eq!(values, expected);
    assert_eq!(
        found.missing.keys().collect::<Vec<_>>(),
        ["gone", "no-key", "no-object"]
    );
    assert!(!format!("{found:?}").contains("hunter2"));
    call(
        &server,
        "PutSecretValue",
        json!({"SecretId": "app", "SecretString": "three"}),
    )
    .await;
    let secrets = json!([{"parameter": "current", "name": "app"}]);
    let found = ask(&store, block(secrets), KEYS).await.unwrap();
    assert_eq!(shown(&found)["current"], "three");
}

#[tokio::test]
async fn a_server_that_is_down_is_an_outage_and_a_block_without_credentials_is_refused() {
    let Some(server) = start() else { return };
    let store = AwsSecretManagerStore::new().with_endpoint(server.url("/"));
    let secrets = json!([{"parameter": "current", "name": "app"}]);
    let without = json!({"region": "eu-west-1", "secrets": secrets});
    let without = SecretBlock::AwsSecretManager(serde_json::from_value(without).unwrap());
    let error = ask(&store, without, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    drop(server);
    let error = ask(&store, block(secrets), KEYS).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}
