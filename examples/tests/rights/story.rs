//! What the halves do on a day: everything that takes a right.

use examples::install::apply::apply;
use k8s_openapi::api::{
    admissionregistration::v1::ValidatingWebhookConfiguration,
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::Job,
    core::v1::{Event, Node, Pod, Secret},
    policy::v1::PodDisruptionBudget,
};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use provisioner::karpenter::{KwokNodeClass, NodeClaim, NodePool};
use scaler_api::keda::{ScaledJob, ScaledObject};
use serde_json::{Value, json};

use super::{
    run_support::{Queue, Running, until},
    stage::{NAMESPACE, Stage},
};

const SHOP: &str = "shop";
const CERTIFICATES: &str = "autoscaler-certificates";

pub(crate) async fn put(client: &Client, object: &Value) {
    apply(client, std::slice::from_ref(object), &|_| ())
        .await
        .unwrap();
}

pub(crate) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// The Secret of a serving certificate that somebody else made.
pub(crate) fn certificate() -> Value {
    let host = format!("autoscaler.{NAMESPACE}.svc");
    let made = rcgen::generate_simple_self_signed([host]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": CERTIFICATES, "namespace": NAMESPACE},
        "type": "kubernetes.io/tls",
        "stringData": {"ca.crt": certificate, "tls.crt": certificate, "tls.key": key},
    })
}

/// A node that is there already.
pub(crate) fn node() -> Value {
    let capacity = json!({"cpu": "32", "memory": "256Gi", "pods": "110"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": "pods-here",
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": "pods-here", "kubernetes.io/os": "linux"},
        },
        "status": {"capacity": capacity, "allocatable": capacity},
    })
}

fn workload(kind: &str, name: &str, replicas: i32) -> Value {
    let secret = json!({"name": "credentials", "key": "token"});
    let container = json!({
        "name": "app", "image": "app", "resources": {"requests": {"cpu": "500m"}},
        "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": secret}}],
    });
    let mut workload = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": SHOP},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    });
    if kind == "StatefulSet" {
        workload["spec"]["serviceName"] = name.into();
    }
    workload
}

pub(crate) fn worker(replicas: i32) -> Value {
    workload("Deployment", "worker", replicas)
}

pub(crate) async fn scale(client: &Client, replicas: i32) {
    let patch = json!({"spec": {"replicas": replicas}});
    deployments(client)
        .patch("worker", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

fn deployments(client: &Client) -> Api<Deployment> {
    Api::namespaced(client.clone(), SHOP)
}

/// The Lease is given back, and another replica has it.
pub(crate) async fn takes_over(standby: &Running) {
    until("the standby leads", async || {
        standby
            .metrics("metrics")
            .await
            .contains("autoscaler_leader 1")
            .then_some(())
    })
    .await;
}

/// The pod half at work in one namespace.
pub(crate) struct Pods<'a> {
    stage: &'a Stage,
    client: &'a Client,
    queue: &'a Queue,
}

impl<'a> Pods<'a> {
    pub(crate) fn of(stage: &'a Stage, queue: &'a Queue) -> Self {
        Self {
            stage,
            client: &stage.client,
            queue,
        }
    }

    /// The certificate is made, and the API server trusts it.
    pub(crate) async fn known(&self, running: &Running) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let made = secrets.get(CERTIFICATES).await.unwrap();
        let made = made.data.unwrap().remove("ca.crt").unwrap();
        let services: Api<APIService> = Api::all(self.client.clone());
        until("the APIService is available", async || {
            let service = services.get("v1beta1.external.metrics.k8s.io").await.ok()?;
            let conditions = service.status?.conditions?;
            let available = conditions
                .into_iter()
                .find(|condition| condition.type_ == "Available")?;
            (available.status == "True" && service.spec?.ca_bundle? == made).then_some(())
        })
        .await;
        assert!(running.metrics("metrics").await.contains("autoscaler_leader 1"));
        if running.webhook.is_none() {
            return;
        }
        let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        until("the webhook carries the authority", async || {
            let configuration = webhooks.get("autoscaler-admission").await.ok()?;
            let mut checks = configuration.webhooks?.into_iter();
            checks
                .all(|check| check.client_config.ca_bundle.as_ref() == Some(&made))
                .then_some(())
        })
        .await;
    }

    /// What is scaled, and by what.
    pub(crate) async fn set_up(&self, running: &Running) {
        self.set_up_workloads().await;
        if running.webhook.is_some() {
            self.wrong_objects_are_refused();
        }
        self.set_up_scaled_objects().await;
        self.jobs_come_and_go().await;
    }

    async fn set_up_workloads(&self) {
        let authentication = json!({
            "secretTargetRef": [{"parameter": "bearerToken", "name": "credentials", "key": "token"}],
            "configMapTargetRef": [{"parameter": "apiKey", "name": "settings", "key": "key"}],
        });
        for object in [
            namespace(SHOP),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "credentials", "namespace": SHOP}, "stringData": {"token": "t"}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": SHOP}, "data": {"key": "k"}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "credentials", "namespace": NAMESPACE}, "stringData": {"token": "t"}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": NAMESPACE}, "data": {"key": "k"}}),
            json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "defaults", "namespace": SHOP},
                "spec": {"limits": [{"type": "Container", "defaultRequest": {"memory": "64Mi"}}]}}),
            json!({"apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
                "metadata": {"name": "queue", "namespace": SHOP}, "spec": authentication}),
            json!({"apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
                "metadata": {"name": "container", "namespace": SHOP},
                "spec": {"env": [{"parameter": "bearerToken", "name": "TOKEN"}]}}),
            json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ClusterTriggerAuthentication",
                "metadata": {"name": "queue"}, "spec": authentication}),
            workload("Deployment", "worker", 0),
            workload("StatefulSet", "ledger", 0),
        ] {
            put(self.client, &object).await;
        }
    }

    async fn set_up_scaled_objects(&self) {
        let trigger = |reference: Value| {
            json!({
                "type": "metrics-api", "authenticationRef": reference,
                "metadata": {"url": self.queue.url(), "valueLocation": "jobs", "targetValue": "5", "authMode": "bearer"},
            })
        };
        let triggers = [
            json!({"name": "queue"}),
            json!({"name": "container"}),
            json!({"name": "queue", "kind": "ClusterTriggerAuthentication"}),
        ]
        .map(trigger);
        let advanced = json!({"horizontalPodAutoscalerConfig": {"behavior": {
            "scaleUp": {"policies": [{"type": "Pods", "value": 10, "periodSeconds": 15}]},
            "scaleDown": {"stabilizationWindowSeconds": 0},
        }}});
        let scaled = |name: &str, kind: &str, triggers: &Value| {
            json!({
                "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name, "namespace": SHOP},
                "spec": {
                    "scaleTargetRef": {"kind": kind, "name": name}, "pollingInterval": 1, "cooldownPeriod": 1,
                    "maxReplicaCount": 10, "advanced": advanced, "triggers": triggers,
                },
            })
        };
        put(self.client, &scaled("worker", "Deployment", &json!(triggers))).await;
        let pods =
            json!([{"type": "kubernetes-workload", "metadata": {"podSelector": "app=worker", "value": "4"}}]);
        put(self.client, &scaled("ledger", "StatefulSet", &pods)).await;
        for name in ["worker", "ledger"] {
            until("the ScaledObject is ready", async || {
                let object = self.scaled_objects().get(name).await.ok()?;
                let conditions = json!(object.status?.conditions);
                let ready = conditions
                    .as_array()?
                    .iter()
                    .find(|condition| condition["type"] == "Ready")?
                    .clone();
                (ready["status"] == "True").then_some(())
            })
            .await;
        }
    }

    /// A ScaledJob makes a Job, replaces it when it changes, and goes.
    async fn jobs_come_and_go(&self) {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), SHOP);
        let objects: Api<ScaledJob> = Api::namespaced(self.client.clone(), SHOP);
        let job = async || {
            let jobs = jobs.list(&ListParams::default()).await.ok()?;
            jobs.items.first()?.metadata.uid.clone()
        };
        let container = json!({"name": "batch", "image": "batch"});
        let object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": {"name": "batch", "namespace": SHOP},
            "spec": {
                "minReplicaCount": 1, "pollingInterval": 1,
                // No pod comes of it.
                "jobTargetRef": {"suspend": true, "template": {"spec": {"containers": [container]}}},
                "triggers": [{"type": "kubernetes-workload", "metadata": {"podSelector": "app=none", "value": "1"}}],
            },
        });
        put(self.client, &object).await;
        let first = until("a Job", async || job().await).await;
        let change = Patch::Merge(json!({"spec": {"maxReplicaCount": 2}}));
        objects
            .patch("batch", &PatchParams::default(), &change)
            .await
            .unwrap();
        until("another Job", async || job().await.filter(|now| *now != first)).await;
        objects.delete("batch", &DeleteParams::default()).await.unwrap();
        until("the ScaledJob is gone", async || {
            objects.get_opt("batch").await.ok()?.is_none().then_some(())
        })
        .await;
    }

    /// Whether the webhook looks at the containers of targets and at LimitRanges.
    fn wrong_objects_are_refused(&self) {
        for (kind, name) in [("Deployment", "worker"), ("StatefulSet", "ledger")] {
            let object = json!({
                "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "wrong", "namespace": SHOP},
                "spec": {
                    "scaleTargetRef": {"kind": kind, "name": name}, "minReplicaCount": 1,
                    "triggers": [{"type": "memory", "metricType": "Utilization", "metadata": {"value": "50"}},
                        {"type": "cron", "metricType": "Utilization", "metadata": {}}],
                },
            });
            let said = self.stage.kubectl.apply(&object.to_string());
            assert!(
                !said.succeeded && said.error.contains("denied the request"),
                "{said:?}"
            );
            assert!(!said.error.contains("were not checked"), "{said:?}");
        }
    }

    fn scaled_objects(&self) -> Api<ScaledObject> {
        Api::namespaced(self.client.clone(), SHOP)
    }

    async fn replicas(&self) -> i32 {
        let deployment = deployments(self.client).get("worker").await.unwrap();
        deployment.spec.and_then(|spec| spec.replicas).unwrap()
    }

    /// 0 -> 1 -> N.
    pub(crate) async fn out(&self, running: &Running) {
        assert_eq!(self.replicas().await, 0);
        self.queue.set(3);
        until("the first replica", async || {
            (self.replicas().await == 1).then_some(())
        })
        .await;
        self.queue.set(40);
        until("eight replicas", async || {
            (self.replicas().await == 8).then_some(())
        })
        .await;
        until("they run", async || {
            let status = deployments(self.client).get("worker").await.ok()?.status?;
            (status.ready_replicas == Some(8)).then_some(())
        })
        .await;
        let metric = format!(
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/{SHOP}/s0-metric-api-jobs?labelSelector=scaledobject.keda.sh%2Fname%3Dworker"
        );
        assert_eq!(self.stage.read_a_metric_with_a_token(running, &metric).await, 200);
    }

    /// What somebody does to objects while they run.
    pub(crate) async fn changes(&self) {
        let hpas: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), SHOP);
        let patch = async |patch: Value| {
            let api = self.scaled_objects();
            api.patch("worker", &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .unwrap();
        };
        patch(json!({"spec": {"maxReplicaCount": 9}})).await;
        until("the HPA follows", async || {
            let hpa = hpas.get("keda-hpa-worker").await.ok()?;
            (hpa.spec?.max_replicas == 9).then_some(())
        })
        .await;
        let paused = "autoscaling.keda.sh/paused";
        for (value, there) in [(json!("true"), false), (Value::Null, true)] {
            patch(json!({"metadata": {"annotations": {paused: value}}})).await;
            until("the HPA goes and comes", async || {
                let hpa = hpas.get_opt("keda-hpa-worker").await.ok()?;
                (hpa.is_some() == there).then_some(())
            })
            .await;
        }
        // A source that is away twice is said in one event.
        for _ in 0..2 {
            self.queue.set_away(true);
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            self.queue.set_away(false);
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        }
        // A certificate that cannot be served is made anew.
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let broken = json!({"stringData": {"tls.crt": "none"}});
        secrets
            .patch(CERTIFICATES, &PatchParams::default(), &Patch::Merge(&broken))
            .await
            .unwrap();
        until("the certificate is mended", async || {
            let secret = secrets.get(CERTIFICATES).await.ok()?;
            (secret.data?["tls.crt"].0 != b"none").then_some(())
        })
        .await;
        let events: Api<Event> = Api::namespaced(self.client.clone(), SHOP);
        let events = events.list(&ListParams::default()).await.unwrap().items;
        assert!(
            events
                .iter()
                .any(|event| event.involved_object.kind.as_deref() == Some("ScaledObject"))
        );
    }

    /// N -> 0, and gone.
    pub(crate) async fn back(&self) {
        self.queue.set(0);
        until("no replica", async || (self.replicas().await == 0).then_some(())).await;
        for name in ["worker", "ledger"] {
            self.scaled_objects()
                .delete(name, &DeleteParams::default())
                .await
                .unwrap();
            until("the ScaledObject is gone", async || {
                self.scaled_objects()
                    .get_opt(name)
                    .await
                    .ok()?
                    .is_none()
                    .then_some(())
            })
            .await;
        }
        let ledger = json!({"spec": {"replicas": 0}});
        let sets: Api<k8s_openapi::api::apps::v1::StatefulSet> = Api::namespaced(self.client.clone(), SHOP);
        sets.patch("ledger", &PatchParams::default(), &Patch::Merge(&ledger))
            .await
            .unwrap();
    }
}

/// The node half at work.
pub(crate) struct Nodes<'a> {
    client: &'a Client,
}

impl<'a> Nodes<'a> {
    pub(crate) fn of(stage: &'a Stage) -> Self {
        Self {
            client: &stage.client,
        }
    }

    fn claims(&self) -> Api<NodeClaim> {
        Api::all(self.client.clone())
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    pub(crate) async fn set_up(&self) {
        let class = json!({"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"});
        for object in [
            json!({"apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": "default"}}),
            json!({
                "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default"},
                "spec": {
                    "template": {"spec": {"nodeClassRef": class, "requirements": [], "terminationGracePeriod": "10s"}},
                    "disruption": {
                        "consolidationPolicy": "WhenEmpty", "consolidateAfter": "0s", "budgets": [{"nodes": "100%"}],
                    },
                },
            }),
        ] {
            put(self.client, &object).await;
        }
    }

    /// A node with pods on it goes, and another comes for them.
    pub(crate) async fn come_and_go(&self) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), SHOP);
        let claim = until("a node with a pod", async || {
            let list = ListParams::default().labels("app=worker");
            let pods = pods.list(&list).await.ok()?.items;
            let node = pods.into_iter().find_map(|pod| pod.spec?.node_name)?;
            let claims = self.claims().list(&ListParams::default()).await.ok()?.items;
            claims.into_iter().find(|claim| {
                let status = claim.status.as_ref();
                status.is_some_and(|status| status.node_name.as_deref() == Some(&*node))
            })
        })
        .await;
        let name = claim.name_any();
        self.claims()
            .delete(&name, &DeleteParams::default())
            .await
            .unwrap();
        until("it is drained and gone", async || {
            self.claims().get_opt(&name).await.ok()?.is_none().then_some(())
        })
        .await;
        until("everything runs again", async || {
            let deployment = deployments(self.client).get("worker").await.ok()?;
            (deployment.status?.ready_replicas == deployment.spec?.replicas).then_some(())
        })
        .await;
    }

    /// When the grace period of the claim is over, pods are deleted that cannot be evicted.
    pub(crate) async fn go_although_a_budget_forbids_it(&self) {
        let budget = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "worker", "namespace": SHOP},
            "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "worker"}}},
        });
        put(self.client, &budget).await;
        self.come_and_go().await;
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(self.client.clone(), SHOP);
        budgets.delete("worker", &DeleteParams::default()).await.unwrap();
    }

    /// Empty nodes go by themselves, and then the pool.
    pub(crate) async fn all_gone(&self) {
        until("no node is left", async || {
            self.nodes()
                .list(&ListParams::default())
                .await
                .ok()?
                .items
                .is_empty()
                .then_some(())
        })
        .await;
        let pools: Api<NodePool> = Api::all(self.client.clone());
        pools.delete("default", &DeleteParams::default()).await.unwrap();
        let classes: Api<KwokNodeClass> = Api::all(self.client.clone());
        classes.delete("default", &DeleteParams::default()).await.unwrap();
        until("the class is gone", async || {
            classes.get_opt("default").await.ok()?.is_none().then_some(())
        })
        .await;
    }
}
