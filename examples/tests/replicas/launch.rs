//! kill -9 in the middle of a node launch, and of a node's end.

use std::{collections::BTreeMap, time::Duration};

use axum::http::Method;
use controller_runtime::envtest;
use examples::install::apply::apply;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Node};
use kube::{Api, ResourceExt as _, api::DeleteParams};
use provisioner::karpenter::{NodeClaim, condition::is_true, labels};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    NODES,
    pair::{Pair, SHORT},
    run_support::{
        PATIENCE,
        door::{Side, Write},
        follow::Census,
        kwok, until, until_for,
    },
    workload::deployment,
};

const NAMESPACE: &str = "launch";
/// The label that binds a workload to its pool.
const POOL: &str = "example.com/pool";
const CLAIMS: &str = "/nodeclaims/";
const NODE: &str = "/nodes";

/// A pool and the pods that only it can place, one on each machine.
fn workload(name: &str, class: &str, replicas: i32) -> [Value; 2] {
    let on = json!({POOL: name});
    let pool = json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name},
        "spec": {
            "template": {
                "metadata": {"labels": on},
                "spec": {
                    "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": class},
                    "requirements": [],
                },
            },
            "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "0s", "budgets": [{"nodes": "100%"}]},
        },
    });
    [pool, deployment(NAMESPACE, name, replicas, &on)]
}

/// Whether a write is of this method, to a path of an object that belongs to `pool`.
fn of(
    pool: &'static str,
    method: &Method,
    part: &str,
    is_status: bool,
) -> impl Fn(&Write) -> bool + Send + 'static {
    let (method, part) = (method.clone(), format!("{part}{pool}-"));
    move |write| write.is(&method, &part) && write.path.ends_with("/status") == is_status
}

fn buys(pool: &'static str) -> impl Fn(&Write) -> bool + Send + 'static {
    move |write| write.is(&Method::POST, NODE) && write.body["metadata"]["labels"][labels::NODEPOOL] == pool
}

fn claims(pool: &'static str) -> impl Fn(&Write) -> bool + Send + 'static {
    move |write| {
        write.is(&Method::POST, "/nodeclaims") && write.body["metadata"]["labels"][labels::NODEPOOL] == pool
    }
}

/// Whether the status that is written says that the node has joined.
fn registers(pool: &'static str) -> impl Fn(&Write) -> bool + Send + 'static {
    let status = of(pool, &Method::PATCH, CLAIMS, true);
    move |write| {
        let said = write.body["status"]["conditions"].as_array();
        let mut said = said.into_iter().flatten();
        status(write) && said.any(|said| said["type"] == "Registered" && said["status"] == "True")
    }
}

/// Every node and every claim that there ever was.
struct Fleet {
    nodes: Census<Node>,
    claims: Census<NodeClaim>,
}

impl Fleet {
    fn provider_ids(&self) -> (Vec<String>, Vec<String>) {
        let nodes = self.nodes.now();
        let nodes = nodes
            .iter()
            .filter(|node| node.labels().contains_key(labels::NODEPOOL))
            .filter_map(|node| node.spec.clone()?.provider_id);
        let claims = self.claims.now();
        let claims = claims
            .iter()
            .map(|claim| claim.provider_id().unwrap_or_default().to_owned());
        let (mut nodes, mut claims): (Vec<_>, Vec<_>) = (nodes.collect(), claims.collect());
        nodes.sort();
        claims.sort();
        (nodes, claims)
    }

    /// How many nodes and claims each pool ever had.
    fn ever(&self) -> BTreeMap<String, (usize, usize)> {
        let mut ever = BTreeMap::<_, (usize, usize)>::new();
        let pool = |labels: &BTreeMap<String, String>| labels.get(labels::NODEPOOL).cloned();
        for pool in self.nodes.ever().iter().filter_map(|node| pool(node.labels())) {
            ever.entry(pool).or_default().0 += 1;
        }
        for pool in self.claims.ever().iter().filter_map(|claim| pool(claim.labels())) {
            ever.entry(pool).or_default().1 += 1;
        }
        ever
    }

    async fn until_all_run(&self, pair: &Pair) {
        let deployments: Api<Deployment> = Api::namespaced(pair.client.clone(), NAMESPACE);
        until("every pod runs, on a machine that its claim knows", async || {
            let ready = deployments
                .list(&kube::api::ListParams::default())
                .await
                .ok()?
                .iter()
                .all(|deployment| {
                    let status = deployment.status.clone().unwrap_or_default();
                    status.ready_replicas == deployment.spec.as_ref().unwrap().replicas
                });
            let claims = self.claims.now();
            let initialized = claims
                .iter()
                .all(|claim| is_true(claim.conditions(), "Initialized"));
            (ready && initialized).then_some(())
        })
        .await;
        let (nodes, claims) = self.provider_ids();
        assert_eq!(nodes, claims, "each node has its claim, each claim its node");
        let claims: BTreeMap<_, _> = self
            .claims
            .now()
            .into_iter()
            .map(|claim| (claim.uid().unwrap(), claim))
            .collect();
        for node in self
            .nodes
            .now()
            .iter()
            .filter(|node| node.labels().contains_key(POOL))
        {
            let owners = node.owner_references();
            let claim = owners.iter().find_map(|owner| claims.get(&owner.uid));
            assert_eq!(
                claim.and_then(|claim| claim.status.clone()?.node_name),
                Some(node.name_any())
            );
        }
    }
}

/// Which requests are held, if any, and on which side.
type Moment = Option<(Side, Box<dyn Fn(&Write) -> bool + Send>)>;

/// What is held at once in the first leader: each workload wants one machine, and is at another point of its launch.
fn launches() -> Vec<(&'static str, Moment)> {
    use Side::{After, Before};
    let labelled = |pool| Box::new(of(pool, &Method::PATCH, CLAIMS, false)) as Box<_>;
    let launched = |pool| Box::new(of(pool, &Method::PATCH, CLAIMS, true)) as Box<_>;
    let joined = |pool| Box::new(of(pool, &Method::PATCH, "/nodes/", false)) as Box<_>;
    vec![
        ("waiting", None),
        ("unbought", Some((Before, Box::new(buys("unbought")) as Box<_>))),
        ("bought", Some((After, Box::new(buys("bought"))))),
        ("unlabelled", Some((Before, labelled("unlabelled")))),
        ("labelled", Some((After, labelled("labelled")))),
        ("unlaunched", Some((Before, launched("unlaunched")))),
        ("launched", Some((After, launched("launched")))),
        ("unjoined", Some((Before, joined("unjoined")))),
        ("joined", Some((After, joined("joined")))),
        (
            "unregistered",
            Some((Before, Box::new(registers("unregistered")))),
        ),
        ("registered", Some((After, Box::new(registers("registered"))))),
    ]
}

#[tokio::test]
async fn node_launches_that_were_cut_short_are_finished_and_none_is_done_twice() {
    let _only = NODES.lock().await;
    let Some(plane) = envtest::shared_or_skip().await else {
        return;
    };
    let types = kwok::tiny();
    let file = format!("--instance-types-file={}", types.path().display());
    let arguments = [&SHORT[..], &["--only=nodes", "--provider=kwok", &file]].concat();
    let mut pair = Pair::start(plane, NAMESPACE, &arguments).await;
    let fleet = Fleet {
        nodes: Census::take(Api::all(pair.client.clone())),
        claims: Census::take(Api::all(pair.client.clone())),
    };
    let classes = [
        ("fast", json!({})),
        ("slow", json!({"nodeRegistrationDelay": "15s"})),
    ];
    let classes = classes.map(|(name, spec)| {
        json!({
            "apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass",
            "metadata": {"name": name}, "spec": spec,
        })
    });
    apply(&pair.client, &classes, &|_| {}).await.unwrap();
    launching(&mut pair, &fleet).await;
    claiming(&mut pair, &fleet).await;
    handing_over(&mut pair, &fleet).await;
    going(&mut pair, &fleet).await;
    pair.end().await;
}

/// The leader is killed at eleven moments of a launch at once.
async fn launching(pair: &mut Pair, fleet: &Fleet) {
    let (mut traps, mut objects) = (Vec::new(), Vec::new());
    for (pool, trap) in launches() {
        let class = if trap.is_some() { "fast" } else { "slow" };
        objects.extend(workload(pool, class, 1));
        if let Some((side, matches)) = trap {
            traps.push(pair.leader.door.hold(pool, side, matches));
        }
    }
    apply(&pair.client, &objects, &|_| {}).await.unwrap();
    for trap in traps {
        trap.caught().await;
    }
    until("the last claim is there", async || {
        fleet.ever().get("waiting").copied()
    })
    .await;
    assert_eq!(fleet.ever()["waiting"], (0, 1), "its node is not there yet");
    pair.crash().await;
    fleet.until_all_run(pair).await;
    for (pool, ever) in fleet.ever() {
        assert_eq!(ever, (1, 1), "{pool}: nodes and claims that there ever were");
    }
}

/// Two machines are wanted, the first is asked for, and the answer does not come.
async fn claiming(pair: &mut Pair, fleet: &Fleet) {
    let first = pair.leader.door.hold("a claim", Side::After, claims("double"));
    apply(&pair.client, &workload("double", "fast", 2), &|_| {})
        .await
        .unwrap();
    first.caught().await;
    pair.crash().await;
    fleet.until_all_run(pair).await;
    assert_eq!(fleet.ever()["double"], (2, 2));
}

/// The leader is told to end while the API server takes its time over a claim.
async fn handing_over(pair: &mut Pair, fleet: &Fleet) {
    let claim = pair.leader.door.hold("a claim", Side::Before, claims("late"));
    apply(&pair.client, &workload("late", "fast", 1), &|_| {})
        .await
        .unwrap();
    let held = claim.caught().await;
    let hand_over = pair.hand_over();
    let arrives = async {
        // Longer than a new leader needs to see what is missing.
        sleep(Duration::from_millis(1500)).await;
        held.let_go();
    };
    tokio::join!(hand_over, arrives);
    fleet.until_all_run(pair).await;
    assert_eq!(fleet.ever()["late"], (1, 1));
}

/// The pods go, and the leader is killed while the nodes are about to.
async fn going(pair: &mut Pair, fleet: &Fleet) {
    let door = &pair.leader.door;
    let deletes = |pool, part| of(pool, &Method::DELETE, part, false);
    let traps = [
        door.hold("its claim", Side::After, deletes("waiting", CLAIMS)),
        door.hold("its node", Side::Before, deletes("bought", "/nodes/")),
        door.hold("its node", Side::After, deletes("labelled", "/nodes/")),
        door.hold("its return", Side::After, |write: &Write| {
            let returned = &write.body["metadata"]["annotations"]["kwok.autoscaler.dev/terminated"];
            returned == "true" && write.is(&Method::PATCH, "/nodes/launched-")
        }),
    ];
    let deployments: Api<Deployment> = Api::namespaced(pair.client.clone(), NAMESPACE);
    let all = kube::api::ListParams::default();
    deployments
        .delete_collection(&DeleteParams::default(), &all)
        .await
        .unwrap();
    for trap in traps {
        trap.caught().await;
    }
    let before = fleet.ever();
    pair.crash().await;
    // What was bought last is nominated for a while, and then looked at twice.
    until_for(PATIENCE * 2, "no machine is left", async || {
        let (nodes, claims) = fleet.provider_ids();
        (nodes.is_empty() && claims.is_empty()).then_some(())
    })
    .await;
    assert_eq!(fleet.ever(), before, "none was bought meanwhile");
}
