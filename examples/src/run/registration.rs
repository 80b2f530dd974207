//! A process outside the cluster makes itself known to the API server, and takes that back when it ends.
//!
//! Inside a cluster the installation holds a Service, an APIService and a webhook configuration. Outside there is nobody
//! who could install them for a process whose address is only known when it runs, so the leader does. It takes them away
//! again at an orderly end, unless another leader has put its own in their place: an APIService that nobody answers hurts
//! the whole cluster.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use futures::{
    FutureExt as _, StreamExt as _,
    stream::{BoxStream, select_all},
};
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::Service},
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::PartialObjectMeta,
    runtime::{WatchStreamExt as _, watcher},
};
use scaler_api::keda;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::cluster::causes;
use crate::names;

/// Who writes these objects, and what marks them as made here.
const MANAGER: &str = "autoscaler-run";
const MARK: &str = "app.kubernetes.io/managed-by";
/// Annotation: which process applied an object last.
const PROCESS: &str = "autoscaler.dev/process";
/// How often an object may change while it is being taken away; the API server itself writes an APIService's status.
const ATTEMPTS: u32 = 5;
/// How often it is looked after that they are as they shall be, should a watch have missed a change.
const PERIOD: Duration = Duration::from_secs(600);
/// How long after a change: what changes once often does so again at once.
const SETTLED: Duration = Duration::from_secs(1);
/// How soon after a refusal.
const RETRY: Duration = Duration::from_secs(2);

/// What makes a process known.
#[derive(Clone)]
pub(super) struct Registration {
    pub(super) client: Client,
    /// The process, in a word that no other has.
    pub(super) identity: String,
    pub(super) namespace: String,
    pub(super) service: String,
    /// Where the API server reaches the process.
    pub(super) address: Ipv4Addr,
    pub(super) adapter_port: u16,
    pub(super) webhook_port: Option<u16>,
    /// Who signed the certificate that is shown there, as PEM.
    pub(super) authority: String,
    /// The namespaces whose objects are checked; all of them where none is named.
    pub(super) namespaces: Vec<String>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("service", &self.service)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Registration {
    /// Applies everything and sees to it that it stays so; to be dropped when another replica leads. An application that
    /// changes nothing causes no event, so this comes to rest.
    pub(super) async fn keep(&self) {
        let mut changes = self.changes();
        loop {
            if let Err(error) = self.apply().await {
                let error = causes(error);
                tracing::error!(%error, "this process cannot be registered with the API server");
                tokio::time::sleep(RETRY).await;
                continue;
            }
            if timeout(PERIOD, changes.next()).await.is_ok() {
                tokio::time::sleep(SETTLED).await;
                while changes.next().now_or_never().is_some() {}
            }
        }
    }

    /// Something for every change of what is applied, by whomever.
    fn changes(&self) -> BoxStream<'static, ()> {
        let services: Api<PartialObjectMeta<Service>> = Api::namespaced(self.client.clone(), &self.namespace);
        let api_services: Api<PartialObjectMeta<APIService>> = Api::all(self.client.clone());
        let webhooks: Api<PartialObjectMeta<ValidatingWebhookConfiguration>> = Api::all(self.client.clone());
        let mut watches = vec![
            changes(services, &self.service),
            changes(api_services, names::API_SERVICE),
        ];
        if self.webhook_port.is_some() {
            watches.push(changes(webhooks, names::WEBHOOK_CONFIGURATION));
        }
        select_all(watches).boxed()
    }

    async fn apply(&self) -> kube::Result<()> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        apply(&services, &self.service, &self.service_object()).await?;
        apply(&self.api_services(), names::API_SERVICE, &self.api_service()).await?;
        if let Some(webhook) = self.webhook() {
            apply(&self.webhooks(), names::WEBHOOK_CONFIGURATION, &webhook).await?;
        }
        Ok(())
    }

    /// Takes away what this process applied, the APIService first; what another process has applied since then stays.
    pub(super) async fn remove(&self) {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let removed = async {
            self.remove_own(&self.api_services(), names::API_SERVICE, |found| {
                self.is_behind(found)
            })
            .await?;
            self.remove_own(&self.webhooks(), names::WEBHOOK_CONFIGURATION, |_| true)
                .await?;
            self.remove_own(&services, &self.service, |_| true).await
        };
        match removed.await {
            Ok(()) => tracing::info!("the registration with the API server is taken back"),
            Err(error) => tracing::error!(
                error = %causes(error),
                "the registration with the API server cannot be taken back; delete apiservice {} by hand",
                names::API_SERVICE
            ),
        }
    }

    /// Takes an object away if this process was the last to apply it, and nobody does so meanwhile.
    async fn remove_own<K>(
        &self,
        api: &Api<K>,
        name: &str,
        leads_here: impl Fn(&K) -> bool,
    ) -> kube::Result<()>
    where
        K: Resource + Clone + DeserializeOwned + fmt::Debug,
    {
        for attempt in 1.. {
            let Some(found) = api.get_opt(name).await? else {
                return Ok(());
            };
            let is_own = found.labels().get(MARK).map(String::as_str) == Some(MANAGER)
                && found.annotations().get(PROCESS) == Some(&self.identity)
                && leads_here(&found);
            if !is_own {
                return Ok(());
            }
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: found.uid(),
                    resource_version: found.resource_version(),
                }),
                ..DeleteParams::default()
            };
            match api.delete(name, &params).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
                Err(kube::Error::Api(status)) if status.is_conflict() && attempt < ATTEMPTS => {}
                other => return other.map(|_| ()),
            }
        }
        Ok(())
    }

    /// Whether an APIService leads here; another may have been put over it, with the label left in place.
    fn is_behind(&self, found: &APIService) -> bool {
        let service = found.spec.as_ref().and_then(|spec| spec.service.as_ref());
        service.is_some_and(|service| {
            service.name.as_ref() == Some(&self.service)
                && service.namespace.as_ref() == Some(&self.namespace)
                && service.port == Some(i32::from(self.adapter_port))
        })
    }

    /// The metadata of an object of this process.
    fn metadata(&self, name: &str) -> Value {
        json!({
            "name": name,
            "labels": { MARK: MANAGER },
            "annotations": { PROCESS: self.identity },
        })
    }

    fn api_services(&self) -> Api<APIService> {
        Api::all(self.client.clone())
    }

    fn webhooks(&self) -> Api<ValidatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    fn ca_bundle(&self) -> ByteString {
        ByteString(self.authority.clone().into_bytes())
    }

    fn service_object(&self) -> Value {
        let mut metadata = self.metadata(&self.service);
        metadata["namespace"] = json!(self.namespace);
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            // The aggregation layer takes the name as a host, and an address is lexically one.
            "spec": { "type": "ExternalName", "externalName": self.address.to_string() },
        })
    }

    fn api_service(&self) -> Value {
        json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": self.metadata(names::API_SERVICE),
            "spec": {
                "group": metrics_adapter::GROUP,
                "version": metrics_adapter::VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": self.ca_bundle(),
                "service": { "namespace": self.namespace, "name": self.service, "port": self.adapter_port },
            },
        })
    }

    fn webhook(&self) -> Option<Value> {
        let base = SocketAddr::from((self.address, self.webhook_port?));
        let checks: Vec<Value> = names::CHECKED_KINDS
            .iter()
            .map(|kind| {
                let mut check = json!({
                    "name": format!("{}.{}", kind.plural, kind.group),
                    "admissionReviewVersions": ["v1"],
                    "clientConfig": {
                        "url": format!("https://{base}{}", kind.path()),
                        "caBundle": self.ca_bundle(),
                    },
                    "failurePolicy": "Ignore",
                    "matchPolicy": "Equivalent",
                    "sideEffects": "None",
                    "timeoutSeconds": 10,
                    "rules": [{
                        "apiGroups": [kind.group],
                        "apiVersions": [keda::VERSION],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": [kind.plural],
                    }],
                });
                if !self.namespaces.is_empty() {
                    check["namespaceSelector"] = json!({ "matchExpressions": [{
                        "key": "kubernetes.io/metadata.name", "operator": "In", "values": self.namespaces,
                    }] });
                }
                check
            })
            .collect();
        Some(json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": self.metadata(names::WEBHOOK_CONFIGURATION),
            "webhooks": checks,
        }))
    }
}

/// Something for every change of one object; a watch that fails is taken up again.
fn changes<K>(api: Api<PartialObjectMeta<K>>, name: &str) -> BoxStream<'static, ()>
where
    PartialObjectMeta<K>: Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let changed = watcher(api, config)
        .default_backoff()
        .filter_map(async |event| match event {
            Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
            Ok(_) => Some(()),
            Err(error) => {
                tracing::debug!(%error, "a watch of the registration failed, trying again");
                None
            }
        });
    changed.boxed()
}

/// Applies without force: what somebody else installed is theirs.
async fn apply<K>(api: &Api<K>, name: &str, object: &Value) -> kube::Result<()>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug,
{
    let params = PatchParams::apply(MANAGER);
    api.patch(name, &params, &Patch::Apply(object)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(webhook_port: Option<u16>) -> Registration {
        let nowhere = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("nobody is asked"))
        });
        Registration {
            client: Client::new(nowhere, "default"),
            identity: "host_1".to_owned(),
            namespace: "autoscaler".to_owned(),
            service: "autoscaler".to_owned(),
            address: [127, 0, 0, 1].into(),
            adapter_port: 40123,
            webhook_port,
            authority: "PEM".to_owned(),
            namespaces: vec!["shop".to_owned()],
        }
    }

    #[tokio::test]
    async fn the_api_server_is_sent_to_the_real_address_and_port() {
        let registration = registration(Some(40124));
        assert_eq!(registration.service_object()["spec"]["externalName"], "127.0.0.1");
        let api_service = registration.api_service();
        assert_eq!(api_service["spec"]["service"]["port"], 40123);
        assert_eq!(api_service["spec"]["caBundle"], "UEVN");
        let webhook = registration.webhook().unwrap();
        assert_eq!(
            webhook["webhooks"][0]["clientConfig"]["url"],
            "https://127.0.0.1:40124/validate-keda-sh-v1alpha1-scaledobject"
        );
        assert_eq!(
            webhook["webhooks"][5]["clientConfig"]["url"],
            "https://127.0.0.1:40124/validate-eventing-keda-sh-v1alpha1-clustercloudeventsource"
        );
        let selector = &webhook["webhooks"][3]["namespaceSelector"]["matchExpressions"][0];
        assert_eq!(selector["values"], json!(["shop"]));
    }

    #[tokio::test]
    async fn an_api_service_that_leads_elsewhere_by_now_is_not_taken_back() {
        let registration = registration(None);
        let mut found = registration.api_service();
        let is_behind =
            |found: &Value| registration.is_behind(&serde_json::from_value(found.clone()).unwrap());
        assert!(is_behind(&found));
        found["spec"]["service"] =
            json!({"namespace": "keda", "name": "keda-operator-metrics-apiserver", "port": 443});
        assert!(!is_behind(&found));
    }

    #[tokio::test]
    async fn no_webhook_is_registered_where_none_is_served() {
        assert_eq!(registration(None).webhook(), None);
    }
}
