//! A process on loopback behind an APIService and behind a webhook.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::Arc,
};

use controller_runtime::envtest::shared_or_skip;
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::ValidatingWebhookConfiguration,
        core::v1::{ConfigMap, Service},
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, Stream,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};

use crate::support::eventually;

/// A request, as far as these tests look at it.
#[derive(Debug)]
struct Request {
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Whether the client has shown a certificate of the authority that the server was given.
    authenticated: bool,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map_or("", |(_, value)| value)
    }
}

/// A TLS server on loopback that lasts as long as the process.
struct Server {
    port: u16,
    certificate: String,
}

fn serve(names: &[&str], client_authority: Option<&str>, answer: fn(&Request) -> Value) -> Server {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(names)
        .expect("names")
        .self_signed(&key)
        .expect("signed");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let config = match client_authority {
        None => config.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM"))
                .expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build();
            config.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = config
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a certificate");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || handle(stream, config, answer));
        }
    });
    Server {
        port,
        certificate: certificate.pem(),
    }
}

/// One request, one answer.
fn handle(mut socket: TcpStream, config: Arc<ServerConfig>, answer: fn(&Request) -> Value) -> Option<()> {
    let mut connection = ServerConnection::new(config).ok()?;
    connection.complete_io(&mut socket).ok()?;
    let authenticated = connection.peer_certificates().is_some();
    let mut reader = BufReader::new(Stream::new(&mut connection, &mut socket));
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let mut request = Request {
        path,
        headers,
        body: Vec::new(),
        authenticated,
    };
    let length = request.header("content-length").parse().unwrap_or(0);
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    let body = answer(&request).to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let stream = reader.get_mut();
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}

fn aggregated(request: &Request) -> Value {
    if request.path.ends_with("/echo") {
        json!({
            "user": request.header("x-remote-user"),
            "group": request.header("x-remote-group"),
            "authorization": request.header("authorization"),
            "authenticated": request.authenticated,
        })
    } else {
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "test.example.com/v1", "resources": []})
    }
}

/// Puts a server behind an APIService, and waits until it is available.
async fn aggregate(client: Client, server: &Server) {
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let service = json!({
        "metadata": {"name": "aggregated"},
        "spec": {"type": "ExternalName", "externalName": "127.0.0.1"},
    });
    let service = serde_json::from_value(service).expect("a service");
    services
        .create(&PostParams::default(), &service)
        .await
        .expect("the administrator may");
    let api_services: Api<APIService> = Api::all(client);
    let api_service = json!({
        "metadata": {"name": "v1.test.example.com"},
        "spec": {
            "group": "test.example.com",
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": ByteString(server.certificate.clone().into_bytes()),
            "service": {"namespace": "default", "name": "aggregated", "port": server.port},
        },
    });
    let api_service = serde_json::from_value(api_service).expect("an APIService");
    api_services
        .create(&PostParams::default(), &api_service)
        .await
        .expect("the administrator may");
    eventually("the APIService is available", || async {
        let conditions = api_services
            .get("v1.test.example.com")
            .await
            .ok()?
            .status?
            .conditions?;
        conditions
            .iter()
            .any(|condition| condition.type_ == "Available" && condition.status == "True")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_external_name_on_loopback_is_aggregated_and_sees_the_front_proxy() {
    let Some(control_plane) = shared_or_skip().await else {
        return;
    };
    let client = control_plane.client("default");
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let published = config_maps
        .get("extension-apiserver-authentication")
        .await
        .expect("published");
    let published = published.data.expect("data");
    assert_eq!(published["client-ca-file"], control_plane.ca_pem());
    assert_ne!(published["requestheader-client-ca-file"], control_plane.ca_pem());
    assert_eq!(
        published["requestheader-allowed-names"],
        r#"["front-proxy-client"]"#
    );
    let server = serve(
        &["aggregated.default.svc"],
        Some(&published["requestheader-client-ca-file"]),
        aggregated,
    );

    aggregate(client.clone(), &server).await;
    let request = || {
        http::Request::get("/apis/test.example.com/v1/echo")
            .body(Vec::new())
            .expect("a request")
    };
    let seen: Value = eventually("the request gets through", || async {
        client.request(request()).await.ok()
    })
    .await;
    assert_eq!(
        seen,
        json!({
            "user": "kubernetes-admin",
            "group": "system:masters",
            "authorization": "",
            "authenticated": true,
        })
    );
    Api::<APIService>::all(client)
        .delete("v1.test.example.com", &DeleteParams::default())
        .await
        .expect("deleted");
}

fn refuse(request: &Request) -> Value {
    let review: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": false, "status": {"message": "not here"}},
    })
}

#[tokio::test]
async fn a_webhook_on_loopback_is_asked() {
    let Some(control_plane) = shared_or_skip().await else {
        return;
    };
    let client = control_plane.client("default");
    let server = serve(&["127.0.0.1"], None, refuse);
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let webhook = json!({
        "metadata": {"name": "refuse"},
        "webhooks": [{
            "name": "refuse.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "objectSelector": {"matchLabels": {"refuse": "yes"}},
            "clientConfig": {
                "url": format!("https://127.0.0.1:{}/validate", server.port),
                "caBundle": ByteString(server.certificate.into_bytes()),
            },
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
        }],
    });
    let webhook = serde_json::from_value(webhook).expect("a webhook");
    webhooks
        .create(&PostParams::default(), &webhook)
        .await
        .expect("the administrator may");
    let config_maps: Api<ConfigMap> = Api::default_namespaced(client);
    let error = eventually("the webhook is known", || async {
        let config_map = json!({"metadata": {"generateName": "some-", "labels": {"refuse": "yes"}}});
        let config_map = serde_json::from_value(config_map).expect("a config map");
        config_maps
            .create(&PostParams::default(), &config_map)
            .await
            .err()
    })
    .await;
    assert!(
        error.to_string().contains("denied the request: not here"),
        "{error}"
    );
    webhooks
        .delete("refuse", &DeleteParams::default())
        .await
        .expect("deleted");
}
