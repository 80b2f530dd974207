//! The admission webhook and its certificates on a real control plane. Skipped, with a line that says so, where its
//! programs are not to be had.
#![cfg(all(feature = "envtest", feature = "server", unix))]
#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use controller_runtime::{
    admission::webhook::{Stores, ValidationMetrics, Webhook},
    certificates::{Keeper, Options, Source},
    envtest::{self, ControlPlane},
    pod_autoscaler::watched::Watches,
    runtime::Runtime,
};
use futures::future::join_all;
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::ValidatingWebhookConfiguration,
        core::v1::{Namespace, Secret, Service},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use metrics_adapter::server::{ClientAuthorities, ServingCertificate, serve};
use scaler_api::{
    Context, Error, Field, MetricSpec, Registry, Sample, Scaler, SourceKey, SystemClock, Trigger,
    keda::{self, ScaledObject},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(60);
const CONFIGURATION: &str = "autoscaler-admission";
const SECRET: &str = "autoscaler-certificates";
const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";
const DENIED: &str = "admission webhook \"vscaledobject.kb.io\" denied the request: ";

/// A trigger type without settings, whose source is never asked here.
#[derive(Debug, serde::Deserialize)]
struct Quiet {}

#[derive(Debug)]
struct QuietScaler;

impl Trigger for Quiet {
    const TYPE: &'static str = "quiet";
    type Scaler = QuietScaler;

    fn fields() -> &'static [Field] {
        &[]
    }

    fn example() -> &'static str {
        "{}\n"
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        Vec::new()
    }

    fn source_key(&self) -> SourceKey {
        SourceKey::new(Self::TYPE)
    }

    async fn connect(self, _: &Context) -> Result<QuietScaler, Error> {
        Ok(QuietScaler)
    }
}

#[async_trait]
impl Scaler for QuietScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        Err(Error::unavailable("nothing is asked here"))
    }
}

struct World {
    client: Client,
    url: String,
    serving: ServingCertificate,
    listener: Option<JoinHandle<()>>,
    running: Vec<JoinHandle<()>>,
    _plane: ControlPlane,
}

impl World {
    async fn start() -> Option<Self> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let plane = envtest::start_or_skip(envtest::Options::default()).await?;
        let client = plane.client("shop");
        for definition in keda::crds() {
            create_cluster::<CustomResourceDefinition>(&client, serde_json::to_value(definition).unwrap())
                .await;
        }
        for name in ["autoscaler", "shop"] {
            create_cluster::<Namespace>(&client, json!({"metadata": {"name": name}})).await;
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let clock = Arc::new(SystemClock);
        let (runtime, events) = Runtime::new(client.clone(), clock, "test");
        let mut options = Options::new(Source::Managed(SECRET.into()), "autoscaler", "autoscaler");
        options.addresses = vec!["127.0.0.1".parse().unwrap()];
        options.validating_webhooks = vec![CONFIGURATION.to_owned()];
        options.api_services = vec![API_SERVICE.to_owned()];
        options.propagation = Duration::from_secs(2);
        let keeper = Keeper::new(runtime, options);
        let serving = keeper.serving();
        let mut watches = Watches::new(client.clone(), &[]);
        let stores = Stores::watch(&mut watches);
        let (watches, _) = watches.into_futures();
        let mut types = Registry::new();
        types.register::<Quiet>();
        let metrics = ValidationMetrics::default();
        let webhook = Webhook::new(client.clone(), Arc::new(types), stores, metrics);
        let (shown, service) = (serving.clone(), webhook.clone());
        let world = Self {
            client,
            url,
            serving,
            listener: Some(tokio::spawn(async move {
                let authorities = ClientAuthorities::none();
                serve(listener, shown, authorities, service, std::future::pending())
                    .await
                    .unwrap();
            })),
            running: vec![
                tokio::spawn(events),
                tokio::spawn(keeper.run()),
                tokio::spawn(async move {
                    join_all(watches).await;
                }),
            ],
            _plane: plane,
        };
        eventually("the webhook's stores", async || webhook.is_ready()).await;
        world.configure().await;
        Some(world)
    }

    async fn configure(&self) {
        let webhook = json!({
            "name": "vscaledobject.kb.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": format!("{}/validate-keda-sh-v1alpha1-scaledobject", self.url)},
            "rules": [{
                "apiGroups": ["keda.sh"], "apiVersions": ["v1alpha1"], "resources": ["scaledobjects"],
                "operations": ["CREATE", "UPDATE"],
            }],
            "failurePolicy": "Fail",
        });
        let configuration = json!({"metadata": {"name": CONFIGURATION}, "webhooks": [webhook]});
        create_cluster::<ValidatingWebhookConfiguration>(&self.client, configuration).await;
        eventually("the webhook to be asked", async || {
            let refused = self.create("wrong", &wrong(), true).await;
            refused.is_err_and(|error| error.starts_with(DENIED))
        })
        .await;
    }

    fn api(&self) -> Api<ScaledObject> {
        Api::namespaced(self.client.clone(), "shop")
    }

    async fn create(&self, name: &str, spec: &Value, dry_run: bool) -> Result<(), String> {
        let parameters = PostParams {
            dry_run,
            ..PostParams::default()
        };
        let created = self.api().create(&parameters, &object(name, spec)).await;
        created.map(|_| ()).map_err(in_words)
    }

    async fn bundle(&self) -> Vec<u8> {
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let configuration = api.get(CONFIGURATION).await.unwrap();
        let bundle = configuration.webhooks.unwrap().remove(0).client_config.ca_bundle;
        bundle.unwrap_or_default().0
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for task in self.running.drain(..).chain(self.listener.take()) {
            task.abort();
        }
    }
}

fn in_words(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// A ScaledObject that is right but for what `spec` says.
fn object(name: &str, spec: &Value) -> ScaledObject {
    let mut object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"scaleTargetRef": {"name": name}, "triggers": [{"type": "quiet", "metadata": {}}]},
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn wrong() -> Value {
    json!({"idleReplicaCount": 5})
}

async fn create_cluster<K>(client: &Client, object: Value)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).unwrap();
    let api: Api<K> = Api::all(client.clone());
    api.create(&PostParams::default(), &object).await.unwrap();
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let held = tokio::time::timeout(PATIENCE, poll).await;
    assert!(held.is_ok(), "waited in vain for {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_asks_and_trusts_the_webhook() {
    let Some(mut world) = World::start().await else {
        return;
    };
    what_is_wrong_is_refused_and_what_is_odd_is_warned_of(&world).await;
    a_rotation_refuses_nothing(&world).await;
    an_api_service_carries_the_bundle(&world).await;
    without_the_process_the_policy_counts(&mut world).await;
}

async fn what_is_wrong_is_refused_and_what_is_odd_is_warned_of(world: &World) {
    assert_eq!(
        world.create("wrong", &wrong(), false).await,
        Err(format!(
            "{DENIED}spec.idleReplicaCount: is 5, expected less than minReplicaCount, which is 0"
        ))
    );
    assert!(world.api().get_opt("wrong").await.unwrap().is_none());
    assert_eq!(world.create("web", &json!({}), false).await, Ok(()));
    eventually("the other ScaledObject to be known", async || {
        let same = json!({"scaleTargetRef": {"name": "web"}});
        let expected = "spec.scaleTargetRef: the workload web of type apps/v1.Deployment is already scaled by the \
                        ScaledObject \"web\"";
        world.create("other", &same, true).await == Err(format!("{DENIED}{expected}"))
    })
    .await;
    let odd = object("odd", &json!({"minReplicaCount": 1, "cooldownPeriod": 5}));
    let request = http::Request::post("/apis/keda.sh/v1alpha1/namespaces/shop/scaledobjects")
        .header("content-type", "application/json")
        .body(kube::client::Body::from(serde_json::to_vec(&odd).unwrap()))
        .unwrap();
    let response = world.client.send(request).await.unwrap();
    assert_eq!(response.status(), 201);
    let warnings: Vec<&str> = response
        .headers()
        .get_all("warning")
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    assert_eq!(
        warnings,
        [
            "299 - \"spec.cooldownPeriod: has no effect: minReplicaCount is above 0 and there is no idleReplicaCount\""
        ]
    );
}

/// A lost key makes the keeper begin with a new authority.
async fn a_rotation_refuses_nothing(world: &World) {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "autoscaler");
    let (chain, bundle) = (world.serving.chain(), world.bundle().await);
    let lost = Patch::Merge(json!({"data": {"ca.key": ByteString(b"lost".to_vec())}}));
    secrets
        .patch(SECRET, &PatchParams::default(), &lost)
        .await
        .unwrap();
    let mut count = 0;
    while world.serving.chain() == chain {
        count += 1;
        assert!(count < 1000, "the certificate is not replaced");
        let labels = Patch::Merge(json!({"spec": {"pollingInterval": count}}));
        let patched = world.api().patch("web", &PatchParams::default(), &labels).await;
        patched.map_err(in_words).unwrap();
    }
    assert!(count > 3, "{count}");
    for more in 1..20 {
        let patch = Patch::Merge(json!({"spec": {"pollingInterval": count + more}}));
        world
            .api()
            .patch("web", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
    let authorities = |bundle: &[u8]| String::from_utf8_lossy(bundle).matches("BEGIN").count();
    let now = world.bundle().await;
    assert_eq!((authorities(&bundle), authorities(&now)), (1, 2));
    assert!(now.ends_with(&bundle), "the old authority is trusted still");
}

async fn an_api_service_carries_the_bundle(world: &World) {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "autoscaler"}, "spec": {"type": "ExternalName", "externalName": "127.0.0.1"},
    }))
    .unwrap();
    let services: Api<Service> = Api::namespaced(world.client.clone(), "autoscaler");
    services.create(&PostParams::default(), &service).await.unwrap();
    let spec = json!({
        "group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100,
        "versionPriority": 100, "insecureSkipTLSVerify": true,
        "service": {"namespace": "autoscaler", "name": "autoscaler", "port": 443},
    });
    create_cluster::<APIService>(
        &world.client,
        json!({"metadata": {"name": API_SERVICE}, "spec": spec}),
    )
    .await;
    let api: Api<APIService> = Api::all(world.client.clone());
    let expected = world.bundle().await;
    eventually("the APIService to carry the bundle", async || {
        let spec = api.get(API_SERVICE).await.unwrap().spec.unwrap();
        spec.ca_bundle.unwrap_or_default().0 == expected && spec.insecure_skip_tls_verify != Some(true)
    })
    .await;
    api.delete(API_SERVICE, &DeleteParams::default()).await.unwrap();
}

async fn without_the_process_the_policy_counts(world: &mut World) {
    let listener = world.listener.take().unwrap();
    listener.abort();
    drop(listener.await);
    let refused = world.create("wrong", &wrong(), false).await.unwrap_err();
    let expected = format!(
        "Internal error occurred: failed calling webhook \"vscaledobject.kb.io\": failed to call webhook: Post \"{}/",
        world.url
    );
    assert!(refused.starts_with(&expected), "{refused}");
    let api: Api<ValidatingWebhookConfiguration> = Api::all(world.client.clone());
    let ignore = json!({"webhooks": [{"name": "vscaledobject.kb.io", "failurePolicy": "Ignore"}]});
    api.patch(CONFIGURATION, &PatchParams::default(), &Patch::Strategic(ignore))
        .await
        .unwrap();
    eventually("what is wrong to pass", async || {
        world.create("wrong", &wrong(), false).await.is_ok()
    })
    .await;
}
