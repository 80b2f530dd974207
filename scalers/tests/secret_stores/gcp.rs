//! `gcpSecretManager` against a stub of Google's authorization server, of Secret Manager and of the metadata server.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use rustls::SignatureScheme;
use scaler_api::{
    ErrorKind,
    secret_store::{CLIENT_SECRET, SecretBlock, blocks::GcpSecretManager},
};
use scalers::gcp_secret_manager::GcpSecretManagerStore;
use serde_json::{Value, json};

use super::{
    ask, shown,
    stub::{Reply, Request, Stub},
};

/// A key for this run.
static KEY: LazyLock<Pair> = LazyLock::new(|| {
    let private = openssl(&["genpkey", "-quiet", "-algorithm", "RSA"], b"");
    Pair {
        public: openssl(&["rsa", "-RSAPublicKey_out", "-outform", "DER"], &private),
        private: String::from_utf8(private).expect("PEM is text"),
    }
});

struct Pair {
    /// As PEM.
    private: String,
    /// `RSAPublicKey` (RFC 8017 A.1.1).
    public: Vec<u8>,
}

/// What the program says of `input`.
fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed; `cargo xtask test` sees to it");
    child
        .stdin
        .take()
        .expect("it is piped")
        .write_all(input)
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        output.status
    );
    output.stdout
}

const EMAIL: &str = "reader@home.iam.gserviceaccount.com";

#[derive(Default)]
struct Google {
    /// Tokens issued so far; the last one is taken.
    issued: AtomicU32,
    /// What Secret Manager answers, if not what was asked for.
    status: AtomicU16,
    /// What the authorization server answers, if no token.
    login: AtomicU16,
}

impl Google {
    fn answer(&self, request: &Request) -> Reply {
        match request.path.as_str() {
            "/token" => self.log_in(request),
            "/computeMetadata/v1/project/project-id" => {
                check_metadata(request);
                (200, "", "machines".into())
            }
            "/computeMetadata/v1/instance/service-accounts/default/token" => {
                check_metadata(request);
                self.issue()
            }
            _ => self.access(request),
        }
    }

    fn issue(&self) -> Reply {
        let number = self.issued.fetch_add(1, Ordering::SeqCst) + 1;
        let issued =
            json!({"access_token": format!("ya29.{number}"), "expires_in": 3599, "token_type": "Bearer"});
        (200, "", issued.to_string())
    }

    /// https://developers.google.com/identity/protocols/oauth2/service-account
    fn log_in(&self, request: &Request) -> Reply {
        assert_eq!(request.method, "POST");
        let form = request.form();
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        assert_eq!(form.len(), 2);
        check_assertion(&form["assertion"], request.header("host"));
        match self.login.load(Ordering::SeqCst) {
            0 => self.issue(),
            status => {
                let words = json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."});
                (status, "Retry-After: 7\r\n", words.to_string())
            }
        }
    }

    /// https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access
    fn access(&self, request: &Request) -> Reply {
        assert_eq!(
            (&*request.method, &*request.query, &*request.body),
            ("GET", "", "")
        );
        let refused = |status: u16, word: &str| {
            let body = json!({"error": {"code": status, "message": "some words", "status": word}});
            (status, "Retry-After: 7\r\n", body.to_string())
        };
        let token = format!("Bearer ya29.{}", self.issued.load(Ordering::SeqCst));
        if request.header("authorization") != token {
            return refused(401, "UNAUTHENTICATED");
        }
        match self.status.load(Ordering::SeqCst) {
            0 => {}
            200 => return (200, "", "{}".into()),
            status => return refused(status, "SOME_STATUS"),
        }
        let text = match request.path.as_str() {
            "/v1/projects/home/secrets/db/versions/latest:access" => "two",
            "/v1/projects/home/secrets/db/versions/1:access" => "one",
            "/v1/projects/other/secrets/db/versions/latest:access" => "others",
            "/v1/projects/other/secrets/db/versions/5:access" => "fifth",
            "/v1/projects/machines/secrets/db/versions/latest:access" => "machines'",
            "/v1/projects/home/secrets/empty/versions/latest:access" => "",
            "/v1/projects/home/secrets/gone/versions/latest:access" => return refused(404, "NOT_FOUND"),
            "/v1/projects/home/secrets/db/versions/2:access" => return refused(400, "FAILED_PRECONDITION"),
            other => unreachable!("{other} was asked for"),
        };
        let body =
            json!({"name": "projects/1/secrets/x/versions/1", "payload": {"data": STANDARD.encode(text)}});
        (200, "", body.to_string())
    }
}

/// https://cloud.google.com/compute/docs/metadata/querying-metadata
fn check_metadata(request: &Request) {
    assert_eq!((&*request.method, &*request.query), ("GET", ""));
    assert_eq!(request.header("metadata-flavor"), "Google");
    assert!(!request.headers.contains_key("authorization"));
}

fn check_assertion(assertion: &str, host: &str) {
    let parts: Vec<_> = assertion.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        panic!("not a JWT: {assertion}")
    };
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let json_of = |text: &str| serde_json::from_slice::<Value>(&bytes(text)).unwrap();
    assert_eq!(
        json_of(header),
        json!({"alg": "RS256", "typ": "JWT", "kid": "abc123"})
    );
    let claims_found = json_of(claims);
    let issued = claims_found["iat"].as_i64().unwrap();
    let expected = json!({
        "iss": EMAIL, "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": format!("http://{host}/token"), "iat": issued, "exp": issued + 3600,
    });
    assert_eq!(claims_found, expected);
    assert!((Timestamp::now().as_second() - issued).abs() < 60);
    let known = rustls::crypto::ring::default_provider().signature_verification_algorithms;
    let mut algorithms = known.mapping.iter();
    let (_, rsa) = algorithms
        .find(|(scheme, _)| *scheme == SignatureScheme::RSA_PKCS1_SHA256)
        .unwrap();
    let signed = format!("{header}.{claims}");
    rsa[0]
        .verify_signature(&KEY.public, signed.as_bytes(), &bytes(signature))
        .expect("the signature is that of the key");
}

async fn start() -> (Stub, Arc<Google>, GcpSecretManagerStore) {
    let google = Arc::new(Google::default());
    let answers = Arc::clone(&google);
    let stub = Stub::start(move |request| answers.answer(request)).await;
    let store = GcpSecretManagerStore::new()
        .with_endpoint(stub.url("/"))
        .with_metadata_server(stub.url("/"));
    (stub, google, store)
}

fn key(stub: &Stub) -> String {
    let key = json!({
        "type": "service_account", "project_id": "home", "private_key_id": "abc123", "private_key": KEY.private,
        "client_email": EMAIL, "client_id": "1", "token_uri": stub.url("/token"),
    });
    key.to_string()
}

fn block(secrets: Value) -> SecretBlock {
    let block = json!({
        "secrets": secrets,
        "credentials": {"clientSecret": {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}},
    });
    SecretBlock::GcpSecretManager(serde_json::from_value::<GcpSecretManager>(block).unwrap())
}

fn password() -> SecretBlock {
    block(json!([{"parameter": "password", "id": "db"}]))
}

#[tokio::test]
async fn versions_and_whole_names_are_read_with_one_login_and_what_is_not_there_is_named() {
    let (stub, _, store) = start().await;
    let secrets = json!([
        {"parameter": "current", "id": "db"},
        {"parameter": "again", "id": "db", "version": "latest"},
        {"parameter": "first", "id": "db", "version": "1"},
        {"parameter": "others", "id": "projects/other/secrets/db"},
        {"parameter": "fifth", "id": "projects/other/secrets/db/versions/5"},
        {"parameter": "empty", "id": "empty"},
        {"parameter": "gone", "id": "gone"},
        {"parameter": "destroyed", "id": "db", "version": "2"},
    ]);
    let key = key(&stub);
    let credentials = &[(CLIENT_SECRET, key.as_str())];
    let found = ask(&store, block(secrets), credentials).await.unwrap();
    let values: Vec<_> = shown(&found)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let expected = [
        "again=two",
        "current=two",
        "empty=",
        "fifth=fifth",
        "first=one",
        "others=others",
    ];
    assert_eq!(values, expected);
    assert_eq!(found.missing.keys().collect::<Vec<_>>(), ["destroyed", "gone"]);
    let asked = stub.asked();
    assert_eq!(asked.len(), 8, "a login and seven versions: {asked:?}");
    ask(&store, password(), credentials).await.unwrap();
    assert_eq!(
        stub.asked(),
        ["GET /v1/projects/home/secrets/db/versions/latest:access"]
    );
}

#[tokio::test]
async fn the_metadata_server_gives_project_and_token() {
    let (stub, _, store) = start().await;
    let block =
        json!({"secrets": [{"parameter": "password", "id": "db"}], "podIdentity": {"provider": "gcp"}});
    let block = SecretBlock::GcpSecretManager(serde_json::from_value(block).unwrap());
    let found = ask(&store, block, &[]).await.unwrap();
    assert_eq!(shown(&found)["password"], "machines'");
    let expected = [
        "GET /computeMetadata/v1/project/project-id",
        "GET /computeMetadata/v1/instance/service-accounts/default/token",
        "GET /v1/projects/machines/secrets/db/versions/latest:access",
    ];
    assert_eq!(stub.asked(), expected);
}

#[tokio::test]
async fn a_key_in_a_file_of_the_process_stands_before_the_metadata_server() {
    let (stub, _, store) = start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key(&stub)).unwrap();
    let block =
        json!({"secrets": [{"parameter": "password", "id": "db"}], "podIdentity": {"provider": "gcp"}});
    let block = SecretBlock::GcpSecretManager(serde_json::from_value(block).unwrap());
    let store = store.with_credentials_file(file.path());
    ask(&store, block.clone(), &[]).await.unwrap();
    let asked = stub.asked();
    assert_eq!(
        asked,
        [
            "POST /token",
            "GET /v1/projects/home/secrets/db/versions/latest:access"
        ]
    );
    let gone = GcpSecretManagerStore::new().with_credentials_file("/nowhere/key.json");
    let error = ask(&gone, block, &[]).await.unwrap_err();
    assert!(
        error.to_string().contains("GOOGLE_APPLICATION_CREDENTIALS"),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_that_was_revoked_is_asked_for_anew_once() {
    let (stub, google, store) = start().await;
    let key = key(&stub);
    let credentials = &[(CLIENT_SECRET, key.as_str())];
    ask(&store, password(), credentials).await.unwrap();
    google.issued.fetch_add(1, Ordering::SeqCst);
    let found = ask(&store, password(), credentials).await.unwrap();
    assert_eq!(shown(&found)["password"], "two");
    stub.asked();
    google.status.store(403, Ordering::SeqCst);
    let error = ask(&store, password(), credentials).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert_eq!(stub.asked().len(), 3, "refused, one login, refused");
}

#[tokio::test]
async fn refusals_throttling_and_outages_are_told_apart_and_never_empty() {
    let (stub, google, store) = start().await;
    let key = key(&stub);
    let credentials = &[(CLIENT_SECRET, key.as_str())];
    for (status, kind, waits) in [
        (400, ErrorKind::Invalid, true),
        (403, ErrorKind::Unauthorized, true),
        (429, ErrorKind::Throttled, true),
        (500, ErrorKind::Unavailable, true),
        (503, ErrorKind::Unavailable, true),
        // An answer without a payload is no empty secret.
        (200, ErrorKind::Unavailable, false),
    ] {
        google.status.store(status, Ordering::SeqCst);
        let error = ask(&store, password(), credentials).await.unwrap_err();
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
        google.login.store(status, Ordering::SeqCst);
        let fresh = GcpSecretManagerStore::new().with_endpoint(stub.url("/"));
        let error = ask(&fresh, password(), credentials).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.to_string().contains("Invalid JWT Signature"), "{error}");
        assert!(!error.to_string().contains("PRIVATE KEY"), "{error}");
    }
    drop(stub);
    let error = ask(&store, password(), credentials).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_block_without_credentials_or_with_another_identity_is_refused_unasked() {
    let (stub, _, store) = start().await;
    for (identity, expected) in [
        (Value::Null, "neither credentials nor a podIdentity"),
        (
            json!({"provider": "none"}),
            "neither credentials nor a podIdentity",
        ),
        (json!({"provider": "aws"}), "expected gcp"),
    ] {
        let block = json!({"secrets": [{"parameter": "password", "id": "db"}], "podIdentity": identity});
        let block = SecretBlock::GcpSecretManager(serde_json::from_value(block).unwrap());
        let error = ask(&store, block, &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(stub.asked(), [""; 0]);
}
