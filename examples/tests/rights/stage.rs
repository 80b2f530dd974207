//! A control plane on which the autoscaler is installed as it is printed, and a process in the place of its pods.
//!
//! What differs from a cluster with machines: the Deployment is left out and its command line is started here, with a
//! token of its ServiceAccount; and the Service leads to loopback, at the ports that the process got.

use std::{collections::BTreeSet, fs, path::PathBuf};

use controller_runtime::envtest::{self, ControlPlane, Program};
use k8s_openapi::api::{
    admissionregistration::v1::ValidatingWebhookConfiguration,
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use super::{
    audit::{self, Account, Request, Right},
    run_support::{Kubectl, Running, autoscaler, until},
};

/// Where it is installed.
pub(crate) const NAMESPACE: &str = "scaling";
/// Who asks for external metrics.
const HPA: Account<'_> = Account {
    namespace: "kube-system",
    name: "horizontal-pod-autoscaler",
};
const ACCOUNT: Account<'_> = Account {
    namespace: NAMESPACE,
    name: "autoscaler",
};
const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";
const WEBHOOK: &str = "autoscaler-admission";

pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) kubectl: Kubectl,
    pub(crate) kubeconfig: PathBuf,
    command_line: Vec<String>,
    plane: ControlPlane,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Installs what `autoscaler manifests` prints with these flags, beside `others`.
    pub(crate) async fn set(flags: &[&str], others: &[Value]) -> Option<Self> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let folder = tempfile::tempdir().unwrap();
        let (policy, log) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
        fs::write(&policy, audit::policy(NAMESPACE)).unwrap();
        let arguments = vec![
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", log.display()),
            // On some clusters only: an owner that blocks deletion takes a right on the owner's finalizers.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
        ];
        let plane = envtest::start_or_skip(envtest::Options {
            arguments: [(Program::ApiServer, arguments)].into(),
            ..envtest::Options::default()
        })
        .await?;
        let client = plane.client("default");
        let kubectl = Kubectl::of(&plane);
        let mut objects = printed(flags);
        let command_line = command_line(&objects);
        objects.retain(|object| object["kind"] != "Deployment");
        for service in objects.iter_mut().filter(|object| object["kind"] == "Service") {
            service["spec"] = json!({"type": "ExternalName", "externalName": "127.0.0.1"});
        }
        for objects in [others, &objects]
            .into_iter()
            .filter(|objects| !objects.is_empty())
        {
            let documents: Vec<String> = objects.iter().map(ToString::to_string).collect();
            let said = kubectl.apply(&documents.join("\n---\n"));
            assert!(said.succeeded, "{said:?}");
        }
        let kubeconfig = folder.path().join("kubeconfig");
        fs::write(
            &kubeconfig,
            access(&plane, &token(&client, ACCOUNT).await).to_string(),
        )
        .unwrap();
        Some(Self {
            client,
            kubectl,
            kubeconfig,
            command_line,
            plane,
            log,
            _folder: folder,
        })
    }

    /// Starts what the Deployment would; returns when it is ready and the API server reaches it.
    pub(crate) async fn run(&self) -> Running {
        let arguments: Vec<&str> = self.command_line.iter().map(String::as_str).collect();
        let environment = [("POD_NAMESPACE", NAMESPACE), ("POD_NAME", "autoscaler-0")];
        let running = Running::behind_a_service(&self.kubeconfig, &arguments, &environment).await;
        if let Some(adapter) = running.adapter {
            let patch = json!({"spec": {"service": {"port": adapter.port()}}});
            let api: Api<APIService> = Api::all(self.client.clone());
            merge(&api, API_SERVICE, &patch).await;
        }
        if let Some(webhook) = running.webhook {
            let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
            let mut configuration = api.get(WEBHOOK).await.unwrap();
            for check in configuration.webhooks.iter_mut().flatten() {
                check.client_config.service.as_mut().unwrap().port = Some(webhook.port().into());
            }
            let patch = json!({"webhooks": configuration.webhooks});
            merge(&api, WEBHOOK, &patch).await;
        }
        until("it is ready", async || {
            (running.health("readyz").await.0 == 200).then_some(())
        })
        .await;
        running
    }

    /// What the process has asked for so far, each once.
    pub(crate) fn requests(&self) -> BTreeSet<Request> {
        audit::requests(&self.log, &ACCOUNT.user())
    }

    /// What the process may.
    pub(crate) async fn granted(&self) -> BTreeSet<Right> {
        audit::granted(&self.client, ACCOUNT).await
    }

    /// What the installation lets HPAs do, and what they have asked for so far.
    pub(crate) async fn metrics_reader(&self) -> (BTreeSet<Right>, BTreeSet<Request>) {
        let mut rights = audit::granted(&self.client, HPA).await;
        rights.retain(|right| right.role.starts_with("autoscaler"));
        let mut requests = audit::requests(&self.log, &HPA.user());
        requests.retain(|request| request.group == "external.metrics.k8s.io");
        (rights, requests)
    }

    /// A client that has no more rights than the process.
    pub(crate) async fn client_of_the_process(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        Client::try_from(config.unwrap()).unwrap()
    }

    /// Asks the adapter as somebody who stands in no certificate.
    pub(crate) async fn read_a_metric_with_a_token(&self, running: &Running, path: &str) -> u16 {
        let token = token(&self.client, HPA).await;
        let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true);
        let answer = client
            .build()
            .unwrap()
            .get(format!("https://{}{path}", running.adapter.unwrap()))
            .bearer_auth(token)
            .send();
        answer.await.unwrap().status().as_u16()
    }

    pub(crate) async fn strike(self) {
        self.plane.stop().await;
    }
}

async fn merge<K>(api: &Api<K>, name: &str, patch: &Value)
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let params = PatchParams::default();
    api.patch(name, &params, &Patch::Merge(patch)).await.unwrap();
}

/// What the binary prints.
pub(crate) fn printed(flags: &[&str]) -> Vec<Value> {
    let output = autoscaler()
        .args(["manifests", "--namespace", NAMESPACE])
        .args(flags)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// What the container is started with, without `run`.
fn command_line(objects: &[Value]) -> Vec<String> {
    let deployment = objects
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .unwrap();
    let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let mut arguments: Vec<String> = serde_json::from_value(arguments.clone()).unwrap();
    assert_eq!(arguments.remove(0), "run");
    arguments
}

async fn token(client: &Client, account: Account<'_>) -> String {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), account.namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec::default(),
        ..TokenRequest::default()
    };
    let made = api
        .create_token_request(account.name, &PostParams::default(), &request)
        .await;
    made.unwrap().status.unwrap().token
}

fn access(plane: &ControlPlane, token: &str) -> Value {
    let authority = k8s_openapi::ByteString(plane.ca_pem().into_bytes());
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{
            "name": "c",
            "cluster": {"server": plane.server_url(), "certificate-authority-data": authority},
        }],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    })
}
