//! `hashiCorpVault` against a real Vault core.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use scaler_api::{
    ErrorKind,
    secret_store::{SERVICE_ACCOUNT_TOKEN, SecretBlock, blocks::HashiCorpVault},
};
use scalers::vault::VaultStore;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{ask, server::Server, shown};

async fn start() -> Option<Server> {
    let server = Server::start("vault")?;
    call(
        &server,
        "POST",
        "sys/mounts/secret",
        json!({"type": "kv", "options": {"version": "2"}}),
    )
    .await;
    call(
        &server,
        "POST",
        "sys/mounts/old",
        json!({"type": "kv", "options": {"version": "1"}}),
    )
    .await;
    // KV version 2 is set up after the answer.
    tokio::time::sleep(Duration::from_secs(2)).await;
    call(
        &server,
        "POST",
        "secret/data/app",
        json!({"data": {"password": "two", "number": 7}}),
    )
    .await;
    call(&server, "POST", "old/app", json!({"password": "one"})).await;
    Some(server)
}

async fn call(server: &Server, method: &str, path: &str, body: Value) -> Value {
    call_as(server, "root", method, path, body).await
}

async fn call_as(server: &Server, token: &str, method: &str, path: &str, body: Value) -> Value {
    let request = reqwest::Client::new()
        .request(method.parse().unwrap(), server.url(&format!("/v1/{path}")))
        .header("x-vault-token", token)
        .json(&body);
    let answer = request.send().await.unwrap();
    assert!(
        answer.status().is_success(),
        "{path}: {}",
        answer.text().await.unwrap()
    );
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
}

fn block(server: &Server, rest: Value) -> SecretBlock {
    let mut block =
        json!({"address": server.url(""), "authentication": "token", "credential": {"token": "root"}});
    for (key, value) in rest.as_object().unwrap() {
        block[key] = value.clone();
    }
    SecretBlock::HashiCorpVault(serde_json::from_value::<HashiCorpVault>(block).unwrap())
}

fn secret(parameter: &str, path: &str, key: &str) -> Value {
    json!({"parameter": parameter, "path": path, "key": key})
}

#[tokio::test]
async fn both_versions_of_kv_are_read_and_what_is_not_there_is_named() {
    let Some(server) = start().await else { return };
    let typed = |parameter: &str, path: &str, type_: &str| json!({"parameter": parameter, "path": path, "key": "password", "type": type_});
    let secrets = json!([
        secret("two", "secret/data/app", "password"),
        secret("number", "secret/data/app", "number"),
        secret("one", "old/app", "password"),
        typed("typed-two", "secret/data/app", "secretV2"),
        typed("typed-one", "old/app", "secret"),
        typed("wrong", "old/app", "secretV2"),
        secret("gone", "secret/data/gone", "password"),
        secret("no-key", "old/app", "user"),
    ]);
    let store = VaultStore::new();
    let found = ask(&store, block(&server, json!({"secrets": secrets})), &[])
        .await
        .unwrap();
    let values: Vec<_> = shown(&found)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let expected = ["number=7", "one=one", "two=two", "typed-one=one", "typed-two=two"];
    assert_eq!(values.len(), expected.len(), "{values:?}");
    assert!(
        expected.iter().all(|value| values.contains(&(*value).to_owned())),
        "{values:?}"
    );
    let missing: Vec<_> = found.missing.keys().collect();
    assert_eq!(missing, ["gone", "no-key", "wrong"]);
}

#[tokio::test]
async fn a_certificate_and_its_key_are_of_one_issue_that_is_given_out_again() {
    let Some(server) = start().await else { return };
    call(&server, "POST", "sys/mounts/pki", json!({"type": "pki"})).await;
    call(
        &server,
        "POST",
        "pki/root/generate/internal",
        json!({"common_name": "test", "ttl": "24h"}),
    )
    .await;
    let role = json!({"allow_any_name": true, "ttl": "1h", "key_type": "ec", "key_bits": 256});
    call(&server, "POST", "pki/roles/web", role).await;
    let pki = |parameter: &str, key: &str| {
        json!({
            "parameter": parameter, "path": "pki/issue/web", "key": key, "type": "pki",
            "pkiData": {"commonName": "web.test", "ttl": "30m"},
        })
    };
    let asked = block(
        &server,
        json!({"secrets": [pki("cert", "certificate"), pki("key", "private_key"), pki("ca", "ca_chain")]}),
    );
    let store = VaultStore::new();
    let first = ask(&store, asked.clone(), &[]).await.unwrap();
    let values = shown(&first);
    assert!(
        values["cert"].starts_with("-----BEGIN CERTIFICATE-----"),
        "{values:?}"
    );
    assert!(values["key"].contains("PRIVATE KEY-----"), "{values:?}");
    assert!(
        values["ca"].starts_with("-----BEGIN CERTIFICATE-----"),
        "{values:?}"
    );
    let again = first.ask_again.unwrap();
    assert!(
        again > Duration::from_secs(18 * 60) && again <= Duration::from_secs(20 * 60),
        "{again:?}"
    );
    assert_eq!(
        ask(&store, asked, &[]).await.unwrap().parameters,
        first.parameters
    );
}

#[tokio::test]
async fn a_token_is_renewed_and_one_that_was_revoked_is_refused() {
    let Some(server) = start().await else { return };
    let policy = json!({"policy": "path \"secret/*\" { capabilities = [\"read\"] }"});
    call(&server, "POST", "sys/policy/reader", policy).await;
    let made = call(
        &server,
        "POST",
        "auth/token/create",
        json!({"policies": ["reader"], "ttl": "4s", "renewable": true}),
    )
    .await;
    let token = made["auth"]["client_token"].as_str().unwrap().to_owned();
    let asked = block(
        &server,
        json!({
            "credential": {"token": token}, "secrets": [secret("password", "secret/data/app", "password")],
        }),
    );
    let store = VaultStore::new();
    let start = tokio::time::Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        let found = ask(&store, asked.clone(), &[]).await.unwrap();
        assert_eq!(shown(&found)["password"], "two");
        assert!(found.ask_again.unwrap() <= Duration::from_secs(2));
        tokio::time::sleep(found.ask_again.unwrap()).await;
    }
    call(&server, "POST", "auth/token/revoke", json!({"token": token})).await;
    let error = ask(&store, asked, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(!error.to_string().contains(&token), "{error}");
}

#[tokio::test]
async fn a_sealed_vault_and_one_that_is_down_are_outages() {
    let Some(server) = start().await else { return };
    let asked = block(
        &server,
        json!({"secrets": [secret("password", "secret/data/app", "password")]}),
    );
    let store = VaultStore::new();
    ask(&store, asked.clone(), &[]).await.unwrap();
    call(&server, "PUT", "sys/seal", json!({})).await;
    let error = ask(&store, asked.clone(), &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    drop(server);
    let error = ask(&store, asked, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

/// An API server that knows one token: Vault asks it about those who log in.
async fn token_review(known: &'static str) -> (String, Arc<Mutex<u32>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 16 * 1024];
            let mut length = 0;
            while !String::from_utf8_lossy(&request[..length]).contains("}}") {
                length += stream.read(&mut request[length..]).await.unwrap_or(0).max(1);
            }
            *count.lock().unwrap() += 1;
            let is_known = String::from_utf8_lossy(&request[..length]).contains(known);
            let user = json!({"username": "system:serviceaccount:shop:reader", "uid": "u"});
            let status = json!({"authenticated": is_known, "user": user});
            let body =
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status});
            let body = body.to_string();
            let head = "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.ok();
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_service_account_logs_in_once_and_again_when_its_token_is_gone() {
    // {"alg":"RS256"} and {"sub":"system:serviceaccount:shop:reader"}, which Vault reads before it asks.
    const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.\
        eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZpY2VhY2NvdW50IiwibmFtZXNwYWNlIjoic2hvcCIsInN1YiI6InN5c3RlbTpzZXJ2aWNlYWNjb3VudDpzaG9wOnJlYWRlciIsImt1YmVybmV0ZXMuaW8vc2VydmljZWFjY291bnQvbmFtZXNwYWNlIjoic2hvcCIsImt1YmVybmV0ZXMuaW8vc2VydmljZWFjY291bnQvc2VydmljZS1hY2NvdW50Lm5hbWUiOiJyZWFkZXIiLCJrdWJlcm5ldGVzLmlvL3NlcnZpY2VhY2NvdW50L3NlcnZpY2UtYWNjb3VudC51aWQiOiJ1In0.\
        c2lnbmF0dXJl";
    let Some(server) = start().await else { return };
    let (kubernetes, asked) = token_review(JWT).await;
    // Any authority: this API server is asked without TLS.
    call(&server, "POST", "sys/mounts/pki", json!({"type": "pki"})).await;
    let root = json!({"common_name": "test", "ttl": "24h"});
    let root = call(&server, "POST", "pki/root/generate/internal", root).await;
    call(&server, "POST", "sys/auth/k8s", json!({"type": "kubernetes"})).await;
    let config = json!({
        "kubernetes_host": kubernetes, "token_reviewer_jwt": JWT, "disable_local_ca_jwt": true,
        "kubernetes_ca_cert": root["data"]["certificate"], "disable_iss_validation": true,
    });
    call(&server, "POST", "auth/k8s/config", config).await;
    let policy = json!({"policy": "path \"secret/*\" { capabilities = [\"read\"] }"});
    call(&server, "POST", "sys/policy/reader", policy).await;
    let role = json!({
        "bound_service_account_names": "reader", "bound_service_account_namespaces": "shop",
        "policies": "reader", "ttl": "1h", "alias_name_source": "serviceaccount_name",
    });
    call(&server, "POST", "auth/k8s/role/app", role).await;
    let secrets = json!([secret("password", "secret/data/app", "password")]);
    let with = |credential: Value| {
        block(
            &server,
            json!({
                "authentication": "kubernetes", "mount": "k8s", "role": "app", "credential": credential, "secrets": secrets,
            }),
        )
    };
    let store = VaultStore::new();
    let named = with(json!({"serviceAccountName": "reader"}));
    for _ in 0..3 {
        let found = ask(&store, named.clone(), &[(SERVICE_ACCOUNT_TOKEN, JWT)])
            .await
            .unwrap();
        assert_eq!(shown(&found)["password"], "two");
    }
    assert_eq!(*asked.lock().unwrap(), 1, "one login");
    call(&server, "PUT", "sys/leases/revoke-prefix/auth/k8s", json!({})).await;
    let found = ask(&store, named.clone(), &[(SERVICE_ACCOUNT_TOKEN, JWT)])
        .await
        .unwrap();
    assert_eq!(shown(&found)["password"], "two");
    assert_eq!(*asked.lock().unwrap(), 2, "it logged in again");
    let error = ask(&store, named, &[(SERVICE_ACCOUNT_TOKEN, "a.b.c")])
        .await
        .unwrap_err();
    assert!(!error.to_string().contains("a.b.c"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{JWT}\n")).unwrap();
    let found = ask(
        &store,
        with(json!({"serviceAccount": file.to_str().unwrap()})),
        &[],
    )
    .await
    .unwrap();
    assert_eq!(shown(&found)["password"], "two");
    std::fs::write(folder.path().join("other"), "password=hunter2").unwrap();
    let other = with(json!({"serviceAccount": folder.path().join("other").to_str().unwrap()}));
    let error = ask(&store, other, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}
