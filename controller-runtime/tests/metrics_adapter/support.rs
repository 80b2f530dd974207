//! A control plane, the adapter in this process, and clients of both.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use controller_runtime::envtest::{ControlPlane, Options, Program, start_or_skip};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::{Namespace, Service, ServiceAccount},
        rbac::v1::{ClusterRoleBinding, Role, RoleBinding},
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client, Config, Resource,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use metrics_adapter::{
    ExternalMetricValue, ExternalMetrics, MetricError, MetricRequest, MetricsAdapter,
    server::{Delegated, DelegatedOptions, ServingCertificate, serve},
};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

pub(crate) const GROUP: &str = "external.metrics.k8s.io";
pub(crate) const METRIC: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/orders?\
     labelSelector=scaledobject.keda.sh%2Fname%3Dorders";
const PATIENCE: Duration = Duration::from_secs(90);

/// Twelve orders in the shop.
#[derive(Debug)]
struct Orders;

#[async_trait]
impl ExternalMetrics for Orders {
    async fn get(&self, request: &MetricRequest) -> Result<Vec<ExternalMetricValue>, MetricError> {
        if request.namespace != "shop" || !request.is_for("orders") {
            return Err(MetricError::not_found(request));
        }
        let value = scaler_api::Quantity::from_units(12);
        Ok(vec![ExternalMetricValue::new(
            "orders",
            value,
            jiff::Timestamp::UNIX_EPOCH,
        )])
    }
}

pub(crate) struct World {
    plane: ControlPlane,
    pub(crate) client: Client,
    url: String,
    authority: (String, Issuer<'static, KeyPair>),
    certificate: ServingCertificate,
    rotations: AtomicU32,
    are_requests_done: AtomicBool,
}

impl World {
    pub(crate) async fn start() -> Option<Self> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let plane = start_or_skip(Options::default()).await?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let world = Self {
            client: plane.client("default"),
            plane,
            url: format!("https://127.0.0.1:{port}"),
            authority: authority(),
            certificate: ServingCertificate::empty(),
            rotations: AtomicU32::new(0),
            are_requests_done: AtomicBool::new(false),
        };
        world.rotate();
        world.create_namespace("shop").await;
        let delegated = Delegated::new(world.adapters_client().await, DelegatedOptions::default());
        let readiness = delegated.clone();
        let adapter = MetricsAdapter::new(Arc::new(Orders)).with_readiness(move || {
            readiness
                .ready()
                .then_some(())
                .ok_or_else(|| "no trust yet".into())
        });
        let service = delegated.layer(adapter);
        let (certificate, authorities) = (world.certificate.clone(), delegated.client_authorities());
        tokio::spawn(serve(
            listener,
            certificate,
            authorities,
            service,
            std::future::pending(),
        ));
        world.register(port).await;
        // Last, so that the API server comes before it is known whom to trust.
        tokio::spawn(async move { delegated.run().await });
        Some(world)
    }

    /// A client with the rights of an adapter and no other.
    async fn adapters_client(&self) -> Client {
        let subject = json!([{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "adapter" }]);
        let role = |kind: &str, name: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
        self.create_in::<ClusterRoleBinding>(
            &Api::all(self.client.clone()),
            json!({
                "metadata": { "name": "adapter" },
                "roleRef": role("ClusterRole", "system:auth-delegator"),
                "subjects": subject,
            }),
        )
        .await;
        self.create_in::<RoleBinding>(
            &Api::namespaced(self.client.clone(), "kube-system"),
            json!({
                "metadata": { "name": "adapter" },
                "roleRef": role("Role", "extension-apiserver-authentication-reader"),
                "subjects": subject,
            }),
        )
        .await;
        let file = self.plane.kubeconfig_for("adapter", &[]).unwrap();
        let kubeconfig = Kubeconfig::read_from(file).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .unwrap();
        Client::try_from(config).unwrap()
    }

    async fn register(&self, port: u16) {
        let service = json!({ "metadata": { "name": "metrics" }, "spec": { "type": "ExternalName", "externalName": "127.0.0.1" } });
        self.create_in::<Service>(&Api::namespaced(self.client.clone(), "kube-system"), service)
            .await;
        let bundle = k8s_openapi::ByteString(self.authority.0.clone().into_bytes());
        let api_service = json!({
            "metadata": { "name": format!("v1beta1.{GROUP}") },
            "spec": {
                "group": GROUP, "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "caBundle": bundle, "service": { "namespace": "kube-system", "name": "metrics", "port": port },
            },
        });
        self.create_in::<APIService>(&Api::all(self.client.clone()), api_service)
            .await;
    }

    /// Shows a new certificate of the same authority from now on.
    pub(crate) fn rotate(&self) {
        let mut params =
            CertificateParams::new(["metrics.kube-system.svc".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority.1).unwrap().pem();
        self.certificate
            .replace(certificate.as_bytes(), key.serialize_pem().as_bytes())
            .unwrap();
        self.rotations.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rotations(&self) -> u32 {
        self.rotations.load(Ordering::Relaxed)
    }

    pub(crate) fn requests_are_done(&self) {
        self.are_requests_done.store(true, Ordering::Relaxed);
    }

    pub(crate) fn are_requests_done(&self) -> bool {
        self.are_requests_done.load(Ordering::Relaxed)
    }

    /// The token of a new service account in the shop that may do this to the metric.
    pub(crate) async fn token(&self, name: &str, verbs: &[&str]) -> String {
        let metadata = json!({ "name": name });
        self.create::<ServiceAccount>(json!({ "metadata": metadata }))
            .await;
        if !verbs.is_empty() {
            let rules = json!([{ "apiGroups": [GROUP], "resources": ["orders"], "verbs": verbs }]);
            self.create::<Role>(json!({ "metadata": metadata, "rules": rules }))
                .await;
            self.create::<RoleBinding>(json!({
                "metadata": metadata,
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
                "subjects": [{ "kind": "ServiceAccount", "namespace": "shop", "name": name }],
            }))
            .await;
        }
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), "shop");
        let request = TokenRequest {
            spec: TokenRequestSpec::default(),
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .unwrap();
        answer.status.unwrap().token
    }

    pub(crate) async fn create_namespace(&self, name: &str) {
        let namespace = json!({ "metadata": { "name": name } });
        self.create_in::<Namespace>(&Api::all(self.client.clone()), namespace)
            .await;
    }

    /// Creates an object in the shop.
    pub(crate) async fn create<K>(&self, object: Value)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        self.create_in::<K>(&Api::namespaced(self.client.clone(), "shop"), object)
            .await;
    }

    async fn create_in<K>(&self, api: &Api<K>, object: Value)
    where
        K: Clone + Debug + Serialize + DeserializeOwned,
    {
        let object = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    /// Asks the API server, as an administrator.
    pub(crate) async fn request(&self, path: &str, accept: Option<&str>) -> kube::Result<String> {
        let mut request = http::Request::get(path);
        if let Some(accept) = accept {
            request = request.header(http::header::ACCEPT, accept);
        }
        self.client.request_text(request.body(Vec::new()).unwrap()).await
    }

    pub(crate) async fn through_the_api_server(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&self.request(path, None).await.ok()?).ok()
    }

    /// Asks the adapter itself over a new connection.
    pub(crate) async fn directly(&self, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        let authority = reqwest::Certificate::from_pem(self.authority.0.as_bytes()).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([authority])
            .build()
            .unwrap();
        let mut request = client.get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let code = response.status().as_u16();
        (
            code,
            serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default(),
        )
    }

    /// Tries until there is an answer.
    pub(crate) async fn eventually<T>(&self, what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = attempt().await {
                return answer;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "not within {PATIENCE:?}: {what}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(crate) fn api_server_log(&self) -> String {
        let processes = self.plane.processes();
        let api_server = processes
            .into_iter()
            .find(|process| process.program == Program::ApiServer)
            .unwrap();
        std::fs::read_to_string(api_server.log).unwrap()
    }

    pub(crate) async fn stop(self) {
        self.plane.stop().await;
    }
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
}
