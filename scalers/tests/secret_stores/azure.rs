//! `azureKeyVault` against a stub of Microsoft Entra and of a vault.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
};

use scaler_api::{
    ErrorKind,
    secret_store::{CLIENT_SECRET, SecretBlock, blocks::AzureKeyVault},
};
use scalers::azure_key_vault::{AzureKeyVaultStore, WorkloadIdentity};
use serde_json::{Value, json};

use super::{
    ask, shown,
    stub::{Reply, Request, Stub},
};

const SECRET: &[(&str, &str)] = &[(CLIENT_SECRET, "hunter~2+&")];
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[derive(Default)]
struct Azure {
    /// Tokens issued so far; the last one is taken.
    issued: AtomicU32,
    /// What the vault answers, if not what was asked for.
    status: AtomicU16,
    /// What the login answers, if no token.
    login: AtomicU16,
}

impl Azure {
    fn answer(&self, request: &Request) -> Reply {
        match request.method.as_str() {
            "POST" => self.log_in(request),
            method => {
                assert_eq!(method, "GET");
                self.get_secret(request)
            }
        }
    }

    /// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
    fn log_in(&self, request: &Request) -> Reply {
        let form = request.form();
        let form: BTreeMap<_, _> = form.iter().map(|(name, value)| (&**name, &**value)).collect();
        let scope = "https://vault.example/.default";
        let by_secret = [
            ("client_id", "app"),
            ("client_secret", "hunter~2+&"),
            ("grant_type", "client_credentials"),
            ("scope", scope),
        ];
        let by_token = |client, token| {
            [
                ("client_assertion", token),
                ("client_assertion_type", ASSERTION),
                ("client_id", client),
                ("grant_type", "client_credentials"),
                ("scope", scope),
            ]
        };
        let expected = match request.path.as_str() {
            "/shop.example/oauth2/v2.0/token" => BTreeMap::from(by_secret),
            "/env-tenant/oauth2/v2.0/token" => BTreeMap::from(by_token("env-client", "first.jwt")),
            "/host/own-tenant/oauth2/v2.0/token" => BTreeMap::from(by_token("own-client", "second.jwt")),
            other => unreachable!("{other} was asked for"),
        };
        assert_eq!(form, expected);
        match self.login.load(Ordering::SeqCst) {
            0 => {
                let number = self.issued.fetch_add(1, Ordering::SeqCst) + 1;
                let token = format!("eyJ{number}");
                let issued = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token});
                (200, "", issued.to_string())
            }
            status => {
                let words =
                    json!({"error": "invalid_client", "error_description": "AADSTS7000215: x\r\nTrace"});
                (status, "Retry-After: 7\r\n", words.to_string())
            }
        }
    }

    /// https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret/get-secret
    fn get_secret(&self, request: &Request) -> Reply {
        assert_eq!((&*request.query, &*request.body), ("api-version=7.4", ""));
        let refused = |status: u16, code: &str, inner: &str| {
            let body =
                json!({"error": {"code": code, "message": "some words", "innererror": {"code": inner}}});
            (status, "Retry-After: 7\r\n", body.to_string())
        };
        if request.header("authorization") != format!("Bearer eyJ{}", self.issued.load(Ordering::SeqCst)) {
            return refused(401, "Unauthorized", "");
        }
        match self.status.load(Ordering::SeqCst) {
            0 => {}
            200 => return (200, "", "{}".into()),
            status => return refused(status, "SomeCode", ""),
        }
        let value = match request.path.as_str() {
            "/secrets/db" => "two",
            "/secrets/db/0a1b" => "one",
            "/secrets/empty" => "",
            "/secrets/gone" => return refused(404, "SecretNotFound", ""),
            "/secrets/off" => return refused(403, "Forbidden", "SecretDisabled"),
            other => unreachable!("{other} was asked for"),
        };
        let body = json!({"value": value, "id": "https://shop.vault.example/secrets/x/y", "attributes": {}});
        (200, "", body.to_string())
    }
}

async fn start() -> (Stub, Arc<Azure>) {
    let azure = Arc::new(Azure::default());
    let answers = Arc::clone(&azure);
    let stub = Stub::start(move |request| answers.answer(request)).await;
    (stub, azure)
}

fn block(stub: &Stub, secrets: Value, identity: Value) -> SecretBlock {
    let mut block = json!({
        "vaultUri": stub.url(""), "secrets": secrets,
        "cloud": {
            "type": "Private", "keyVaultResourceURL": "https://vault.example",
            "activeDirectoryEndpoint": stub.url("/"),
        },
    });
    if identity.is_null() {
        let secret = json!({"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
        block["credentials"] = json!({"clientId": "app", "tenantId": "shop.example", "clientSecret": secret});
    } else {
        block["podIdentity"] = identity;
    }
    SecretBlock::AzureKeyVault(serde_json::from_value::<AzureKeyVault>(block).unwrap())
}

fn password(stub: &Stub) -> SecretBlock {
    block(
        stub,
        json!([{"parameter": "password", "name": "db"}]),
        Value::Null,
    )
}

#[tokio::test]
async fn versions_are_read_with_one_login_and_what_is_not_there_is_named() {
    let (stub, _) = start().await;
    let store = AzureKeyVaultStore::new();
    let secrets = json!([
        {"parameter": "current", "name": "db"},
        {"parameter": "again", "name": "db", "version": ""},
        {"parameter": "first", "name": "db", "version": "0a1b"},
        {"parameter": "empty", "name": "empty"},
        {"parameter": "gone", "name": "gone"},
        {"parameter": "off", "name": "off"},
    ]);
    let found = ask(&store, block(&stub, secrets, Value::Null), SECRET)
        .await
        .unwrap();
    let values: Vec<_> = shown(&found)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(values, ["again=two", "current=two", "empty=", "first=one"]);
    assert_eq!(found.missing.keys().collect::<Vec<_>>(), ["gone", "off"]);
    let asked = stub.asked();
    assert_eq!(asked.len(), 6, "a login and five secrets: {asked:?}");
    ask(&store, password(&stub), SECRET).await.unwrap();
    assert_eq!(stub.asked(), ["GET /secrets/db"]);
}

#[tokio::test]
async fn a_workload_logs_in_with_the_token_of_its_file_as_it_is_then() {
    let (stub, azure) = start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let store = AzureKeyVaultStore::new().with_workload_identity(WorkloadIdentity {
        client_id: Some("env-client".into()),
        tenant_id: Some("env-tenant".into()),
        authority_host: Some("http://127.0.0.1:1/".into()),
        token_file: Some(file.clone()),
    });
    let secrets = json!([{"parameter": "password", "name": "db"}]);
    let plain = block(&stub, secrets.clone(), json!({"provider": "azure-workload"}));
    let error = ask(&store, plain.clone(), &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "there is no file: {error}");
    std::fs::write(&file, "first.jwt\n").unwrap();
    let found = ask(&store, plain, &[]).await.unwrap();
    assert_eq!(shown(&found)["password"], "two");

    std::fs::write(&file, "second.jwt").unwrap();
    let own = json!({
        "provider": "azure-workload", "identityId": "own-client", "identityTenantId": "own-tenant",
        "identityAuthorityHost": stub.url("/host/"),
    });
    let own = block(&stub, secrets, own);
    ask(&store, own.clone(), &[]).await.unwrap();
    assert_eq!(
        azure.issued.load(Ordering::SeqCst),
        2,
        "two identities, two logins"
    );
    let error = ask(&AzureKeyVaultStore::new(), own, &[]).await.unwrap_err();
    assert!(
        error.to_string().contains("AZURE_FEDERATED_TOKEN_FILE"),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_that_was_revoked_is_asked_for_anew_once() {
    let (stub, azure) = start().await;
    let store = AzureKeyVaultStore::new();
    ask(&store, password(&stub), SECRET).await.unwrap();
    azure.issued.fetch_add(1, Ordering::SeqCst);
    let found = ask(&store, password(&stub), SECRET).await.unwrap();
    assert_eq!(shown(&found)["password"], "two");
    stub.asked();
    azure.status.store(403, Ordering::SeqCst);
    let error = ask(&store, password(&stub), SECRET).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert_eq!(stub.asked().len(), 3, "refused, one login, refused");
}

#[tokio::test]
async fn refusals_throttling_and_outages_are_told_apart_and_never_empty() {
    let (stub, azure) = start().await;
    let store = AzureKeyVaultStore::new();
    for (status, kind, waits) in [
        (400, ErrorKind::Invalid, true),
        (403, ErrorKind::Unauthorized, true),
        (429, ErrorKind::Throttled, true),
        (500, ErrorKind::Unavailable, true),
        (503, ErrorKind::Unavailable, true),
        // An answer without a value is no empty secret.
        (200, ErrorKind::Unavailable, false),
    ] {
        azure.status.store(status, Ordering::SeqCst);
        let error = ask(&store, password(&stub), SECRET).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.retry_after().is_some()),
            (kind, waits),
            "{status}: {error}"
        );
    }
    for (status, kind) in [
        (400, ErrorKind::Unauthorized),
        (401, ErrorKind::Unauthorized),
        (429, ErrorKind::Throttled),
        (503, ErrorKind::Unavailable),
    ] {
        azure.login.store(status, Ordering::SeqCst);
        let error = ask(&AzureKeyVaultStore::new(), password(&stub), SECRET)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        let words = error.to_string();
        assert!(
            words.contains("AADSTS7000215") && !words.contains("hunter"),
            "{words}"
        );
    }
    let block = password(&stub);
    drop(stub);
    let error = ask(&store, block, SECRET).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn what_is_not_to_be_asked_is_refused_unasked() {
    let (stub, _) = start().await;
    let store = AzureKeyVaultStore::new();
    let change = |change: fn(&mut AzureKeyVault)| {
        let SecretBlock::AzureKeyVault(mut block) = password(&stub) else {
            unreachable!("it is one of Azure")
        };
        change(&mut block);
        SecretBlock::AzureKeyVault(block)
    };
    for (block, expected) in [
        (
            change(|block| block.credentials = None),
            "neither credentials nor a podIdentity",
        ),
        (change(|block| block.cloud = None), "is not a vault of the cloud"),
        (
            change(|block| block.secrets[0].name = "../keys".into()),
            "name \"../keys\"",
        ),
        (
            change(|block| block.secrets[0].version = Some("a/b".into())),
            "version \"a/b\"",
        ),
        (
            change(|block| block.credentials.as_mut().unwrap().tenant_id = "a/b".into()),
            "the tenant \"a/b\"",
        ),
    ] {
        let error = ask(&store, block, SECRET).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(stub.asked(), [""; 0]);
}
