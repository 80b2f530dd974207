use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    batch::v1::Job,
    policy::v1::PodDisruptionBudget,
};
use kube::api::DeleteParams;

use super::*;
use crate::sim::kubelet::{Exit, Program, Programs, Stop};

#[tokio::test(start_paused = true)]
async fn a_deployment_grows_and_shrinks_by_the_order_of_scale_in() {
    let world = World::new();
    world.apply(node("a", "4"));
    world.apply(node("b", "4"));
    world.apply(deployment("web", 1, "1"));
    world.settle().await;
    assert_eq!(world.pods_in("Running").len(), 1);
    world.scale("web", 10).await;
    world.settle().await;
    assert_eq!((world.pods_in("Running").len(), world.pods_in("Pending").len()), (8, 2));
    world.scale("web", 8).await;
    world.settle().await;
    assert_eq!((world.pods_in("Running").len(), world.pods_in("Pending").len()), (8, 0), "pending pods go first");
    let cheap: Vec<String> = world.pods().iter().take(5).map(kube::ResourceExt::name_any).collect();
    for name in &cheap {
        let cost = json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}});
        world.patch::<Pod>(name, cost).await;
    }
    world.scale("web", 3).await;
    world.settle().await;
    let left: Vec<String> = world.pods().iter().map(kube::ResourceExt::name_any).collect();
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|name| !cheap.contains(name)), "the cheap ones go first");
    let set = world.pods()[0].labels()["pod-template-hash"].clone();
    let scaled = world.messages("ScalingReplicaSet");
    let expected = [("up", 0, 1), ("up", 1, 10), ("down", 10, 8), ("down", 8, 3)]
        .map(|(way, from, to)| format!("Scaled {way} replica set web-{set} from {from} to {to}"));
    assert_eq!(scaled.iter().collect::<std::collections::BTreeSet<_>>(), expected.iter().collect());
    let status = object::<Deployment>(world.cluster.api(), "apps", "deployments", "web").status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas, status.available_replicas), (Some(3), Some(3), Some(3)));
    let conditions: Vec<_> =
        status.conditions.unwrap().into_iter().map(|one| (one.type_, one.status, one.reason.unwrap())).collect();
    assert!(conditions.contains(&("Available".into(), "True".into(), "MinimumReplicasAvailable".into())), "{conditions:?}");
    assert!(conditions.contains(&("Progressing".into(), "True".into(), "NewReplicaSetAvailable".into())), "{conditions:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rollout_never_has_fewer_ready_pods_than_allowed() {
    let world = World::new();
    world.apply(node("a", "32"));
    let mut web = deployment("web", 8, "500m");
    web["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}});
    web["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = json!({"initialDelaySeconds": 7, "httpGet": {"port": 80}});
    world.apply(web.clone());
    world.settle().await;
    web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:2");
    world.apply(web);
    let (mut fewest, mut most) = (usize::MAX, 0);
    world
        .wait_for(|api| {
            let pods: Vec<Pod> = list(api, "", "pods");
            let live = || pods.iter().filter(|pod| pods::is_active(pod));
            fewest = fewest.min(live().filter(|pod| pods::is_ready(pod)).count());
            most = most.max(live().count());
            let new = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("app:2");
            pods.len() == 8 && pods.iter().all(|pod| new(pod) && pods::is_ready(pod))
        })
        .await;
    assert_eq!((fewest, most), (7, 10));
    world.settle().await;
    let web: Deployment = object(world.cluster.api(), "apps", "deployments", "web");
    assert_eq!(web.annotations()["deployment.kubernetes.io/revision"], "2");
}

#[tokio::test(start_paused = true)]
async fn a_stateful_set_starts_its_pods_in_order_and_stops_them_from_the_top() {
    let world = World::new();
    world.apply(node("a", "8"));
    let mut set = deployment("db", 3, "1");
    set["kind"] = json!("StatefulSet");
    set["spec"]["serviceName"] = json!("db");
    world.apply(set);
    world.settle().await;
    let started: Vec<_> = world
        .pods()
        .iter()
        .map(|pod| (pod.name_any(), pod.status.clone().unwrap().start_time.unwrap().0))
        .collect();
    assert_eq!(started.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["db-0", "db-1", "db-2"]);
    assert!(started.windows(2).all(|pair| pair[0].1 < pair[1].1), "{started:?}");
    world.patch::<StatefulSet>("db", json!({"spec": {"replicas": 1}})).await;
    world.settle().await;
    assert_eq!(world.pods().iter().map(kube::ResourceExt::name_any).collect::<Vec<_>>(), ["db-0"]);
    let status = object::<StatefulSet>(world.cluster.api(), "apps", "statefulsets", "db").status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas), (1, Some(1)));
}

pub(super) fn job(name: &str, spec: &Value) -> Value {
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "task"}]}}},
    });
    json_patch::merge(&mut job["spec"], spec);
    job
}

#[tokio::test(start_paused = true)]
async fn a_job_completes_and_goes_after_its_time_to_live() {
    let world = World::new();
    world.apply(node("a", "8"));
    world.apply(job("batch", &json!({"completions": 4, "parallelism": 2, "ttlSecondsAfterFinished": 120})));
    let done = |api: &ApiServer| {
        let job: Job = object(api, "batch", "jobs", "batch");
        job.status.and_then(|status| status.completion_time).is_some()
    };
    world.wait_for(done).await;
    let status = object::<Job>(world.cluster.api(), "batch", "jobs", "batch").status.unwrap();
    assert_eq!((status.succeeded, status.active, status.failed), (Some(4), None, None));
    let took = status.completion_time.unwrap().0.duration_since(status.start_time.unwrap().0);
    assert!((20..40).contains(&took.as_secs()), "two rounds of ten seconds: {took:?}");
    assert_eq!(world.messages("Completed"), ["Job completed"]);
    assert_eq!(world.pods_in("Succeeded").len(), 4);
    world.wait_for(|api| api.objects("batch", "jobs", None).is_empty() && api.objects("", "pods", None).is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_too_often_gives_up() {
    let world = World::new();
    world.apply(node("a", "8"));
    let failing = json!({"backoffLimit": 2, "template": {"metadata": {"annotations": {crate::sim::kubelet::EXIT_CODE: "3"}}}});
    world.apply(job("batch", &failing));
    world.settle().await;
    let status = object::<Job>(world.cluster.api(), "batch", "jobs", "batch").status.unwrap();
    assert_eq!(status.failed, Some(3));
    let failed = status.conditions.unwrap().into_iter().find(|condition| condition.type_ == "Failed").unwrap();
    assert_eq!(failed.reason.as_deref(), Some("BackoffLimitExceeded"));
}

#[tokio::test(start_paused = true)]
async fn a_budget_counts_the_healthy_pods_and_protects_them() {
    let world = World::new();
    world.apply(node("a", "8"));
    world.apply(deployment("web", 3, "500m"));
    world.apply(json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }));
    world.settle().await;
    let budget: PodDisruptionBudget = object(world.cluster.api(), "policy", "poddisruptionbudgets", "web");
    let status = budget.status.unwrap();
    assert_eq!(
        (status.expected_pods, status.current_healthy, status.desired_healthy, status.disruptions_allowed),
        (3, 3, 2, 1)
    );
    assert_eq!(status.observed_generation, budget.metadata.generation);
    let api: Api<Pod> = Api::namespaced(world.cluster.client("default"), "default");
    let pods = world.pods();
    api.evict(&pods[0].name_any(), &Default::default()).await.unwrap();
    let refused = api.evict(&pods[1].name_any(), &Default::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 429), "{refused}");
    world.settle().await;
    assert_eq!(world.pods_in("Running").len(), 3);
    api.evict(&pods[1].name_any(), &Default::default()).await.unwrap();
}

/// Finishes what it works on when it is told to stop.
#[derive(Debug, Default)]
struct Careful {
    finished: AtomicUsize,
}

#[async_trait]
impl Program for Careful {
    async fn run(&self, _pod: Arc<Pod>, stop: Stop) -> Exit {
        stop.requested().await;
        tokio::time::sleep(Duration::from_secs(12)).await;
        self.finished.fetch_add(1, Ordering::Relaxed);
        Exit::SUCCESS
    }
}

#[derive(Debug)]
struct All(Arc<Careful>);

impl Programs for All {
    fn program(&self, _pod: &Pod, _container: &str) -> Option<Arc<dyn Program>> {
        let program: Arc<dyn Program> = self.0.clone();
        Some(program)
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_finishes_its_work_after_sigterm_if_the_grace_period_lets_it() {
    for (grace, finished, took) in [(30, 1, 12), (5, 0, 5)] {
        let program = Arc::new(Careful::default());
        let programs = Arc::new(All(program.clone()));
        let world = World::with(|options| Options { programs, ..options });
        world.apply(node("a", "8"));
        world.apply(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
            "spec": {"terminationGracePeriodSeconds": grace, "containers": [{"name": "main", "image": "app"}]},
        }));
        world.settle().await;
        let start = tokio::time::Instant::now();
        let api: Api<Pod> = Api::namespaced(world.cluster.client("default"), "default");
        api.delete("p", &DeleteParams::default()).await.unwrap();
        world.wait_for(|api| api.objects("", "pods", None).is_empty()).await;
        assert_eq!(program.finished.load(Ordering::Relaxed), finished, "grace {grace}");
        assert_eq!(start.elapsed().as_secs(), took, "grace {grace}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_is_restarted_with_back_off() {
    let world = World::new();
    world.apply(node("a", "8"));
    world.apply(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "annotations": {
            crate::sim::kubelet::RUN_SECONDS: "1", crate::sim::kubelet::EXIT_CODE: "1"}},
        "spec": {"restartPolicy": "OnFailure", "containers": [{"name": "main", "image": "app"}]},
    }));
    tokio::time::sleep(Duration::from_secs(30)).await;
    let pod = &world.pods()[0];
    let container = &pod.status.clone().unwrap().container_statuses.unwrap()[0];
    assert_eq!((pods::phase(pod), container.restart_count), ("Running", 3));
    let waiting = container.state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    assert!(!pods::is_ready(pod));
}
