use kube::Resource as _;
use serde_json::json;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

/// A Deployment and its sets, whose pods do as they are told.
struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    seconds: i64,
    events: Vec<String>,
}

impl World {
    fn new(replicas: i32, strategy: &serde_json::Value) -> Self {
        let deployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
            "spec": {
                "replicas": replicas,
                "progressDeadlineSeconds": 600,
                "revisionHistoryLimit": 1,
                "selector": {"matchLabels": {"app": "web"}},
                "strategy": strategy,
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "one"}]}},
            },
        }))
        .unwrap();
        Self {
            deployment,
            sets: Vec::new(),
            seconds: 0,
            events: Vec::new(),
        }
    }

    fn image(&mut self, image: &str) {
        let template = &mut self.deployment.spec.as_mut().unwrap().template;
        template.spec.as_mut().unwrap().containers[0].image = Some(image.to_owned());
    }

    /// One sync; returns whether anything was to be done.
    fn sync(&mut self) -> bool {
        self.seconds += 1;
        let sets: Vec<_> = self.sets.iter().cloned().map(Arc::new).collect();
        let pods: Vec<_> = self
            .sets
            .iter()
            .flat_map(|set| {
                let pod: Pod = serde_json::from_value(json!({"metadata": {"ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "", "uid": set.uid(), "controller": true}]}}))
                .unwrap();
                let count = set.status.as_ref().map_or(0, |status| status.replicas);
                (0..count).map(move |_| Arc::new(pod.clone()))
            })
            .collect();
        let rollout = sync(&self.deployment, &sets, &pods, at(self.seconds));
        let (changes, status) = (rollout.changes, rollout.status.status);
        for change in &changes {
            match change {
                Change::Create(set) => {
                    let mut set = (**set).clone();
                    set.meta_mut().uid = Some(format!("uid-{}", self.sets.len()));
                    set.meta_mut().creation_timestamp =
                        Some(crate::sim::controllers::meta::time(at(self.seconds)));
                    self.sets.push(set);
                }
                Change::Update(set) => {
                    let place = self
                        .sets
                        .iter_mut()
                        .find(|other| other.uid() == set.uid())
                        .unwrap();
                    *place = (**set).clone();
                }
                Change::Delete(name) => self.sets.retain(|set| set.name_any() != *name),
                Change::Revision(revision) => {
                    self.deployment
                        .annotations_mut()
                        .insert(REVISION.to_owned(), revision.clone());
                }
                Change::Event(message) => self.events.push(message.clone()),
            }
        }
        let changed = !changes.is_empty() || self.deployment.status.as_ref() != Some(&status);
        self.deployment.status = Some(status);
        changed
    }

    /// The pods of every set become as many as wanted, and available but for `unavailable` of the newest set.
    fn pods_follow(&mut self, unavailable: i32) {
        let last = self.sets.len().saturating_sub(1);
        for (index, set) in self.sets.iter_mut().enumerate() {
            let wanted = replicas(set);
            let up = if index == last {
                (wanted - unavailable).max(0)
            } else {
                wanted
            };
            set.status = Some(
                serde_json::from_value(
                    json!({"replicas": wanted, "readyReplicas": up, "availableReplicas": up}),
                )
                .unwrap(),
            );
        }
    }

    fn settle(&mut self) {
        for _ in 0..50 {
            self.pods_follow(0);
            if !self.sync() {
                return;
            }
        }
        panic!("does not settle: {:?}", self.events);
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(replicas).collect()
    }

    fn condition(&self, type_: &str) -> (String, String) {
        let conditions = self
            .deployment
            .status
            .as_ref()
            .unwrap()
            .conditions
            .as_ref()
            .unwrap();
        let condition = conditions
            .iter()
            .find(|condition| condition.type_ == type_)
            .unwrap();
        (condition.status.clone(), condition.reason.clone().unwrap())
    }
}

fn rolling(surge: i32, unavailable: i32) -> serde_json::Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

#[test]
fn a_new_deployment_gets_a_numbered_set_and_becomes_available() {
    let mut world = World::new(2, &rolling(1, 0));
    world.sync();
    assert_eq!(
        world.condition("Progressing"),
        ("True".to_owned(), "NewReplicaSetCreated".to_owned())
    );
    assert_eq!(
        world.condition("Available"),
        ("False".to_owned(), "MinimumReplicasUnavailable".to_owned())
    );
    world.settle();
    let name = world.sets[0].name_any();
    assert_eq!(
        world.events,
        [format!("Scaled up replica set {name} from 0 to 2")]
    );
    assert_eq!(world.sets[0].annotations()[REVISION], "1");
    assert_eq!(world.deployment.annotations()[REVISION], "1");
    assert_eq!(
        world.sets[0].labels()[template::HASH_LABEL],
        name.rsplit_once('-').unwrap().1
    );
    assert_eq!(
        world.condition("Progressing"),
        ("True".to_owned(), "NewReplicaSetAvailable".to_owned())
    );
    assert_eq!(
        world.condition("Available"),
        ("True".to_owned(), "MinimumReplicasAvailable".to_owned())
    );
}

#[test]
fn a_rolling_update_keeps_its_fences_at_every_step() {
    for (surge, unavailable) in [(1, 0), (0, 1), (3, 2), (0, 0), (10, 10)] {
        let mut world = World::new(10, &rolling(surge, unavailable));
        world.settle();
        world.image("two");
        for _ in 0..60 {
            world.sync();
            let total: i32 = world.sizes().iter().sum();
            assert!(
                total <= 10 + surge,
                "surge {surge}, unavailable {unavailable}: {:?}",
                world.sizes()
            );
            let up: i32 = world
                .sets
                .iter()
                .map(|set| available(set).min(replicas(set)))
                .sum();
            assert!(
                up >= 10 - unavailable.max(1),
                "surge {surge}, unavailable {unavailable}: {up} up"
            );
            world.pods_follow(0);
        }
        assert_eq!(world.sizes(), [0, 10], "surge {surge}, unavailable {unavailable}");
    }
}

#[test]
fn a_rollout_whose_pods_do_not_come_up_stops_and_exceeds_its_deadline() {
    let mut world = World::new(4, &rolling(1, 1));
    world.settle();
    world.image("broken");
    for _ in 0..10 {
        world.sync();
        world.pods_follow(100);
    }
    assert_eq!(world.sizes(), [3, 2]);
    world.seconds += 601;
    world.sync();
    assert_eq!(
        world.condition("Progressing"),
        ("False".to_owned(), "ProgressDeadlineExceeded".to_owned())
    );
}

#[test]
fn scaling_during_a_rollout_is_shared_in_proportion() {
    let mut world = World::new(10, &rolling(3, 2));
    world.settle();
    world.image("two");
    for _ in 0..2 {
        world.sync();
        world.pods_follow(100);
    }
    assert_eq!(world.sizes(), [8, 5]);
    world.deployment.spec.as_mut().unwrap().replicas = Some(15);
    world.sync();
    // 18 in all, 5 more: 3 for the set of 8 and 2 for the set of 5, as the example of the documentation goes.
    assert_eq!(world.sizes(), [11, 7]);
}

#[test]
fn scaling_a_settled_deployment_scales_its_set() {
    let mut world = World::new(1, &rolling(1, 0));
    world.settle();
    let name = world.sets[0].name_any();
    for (replicas, event) in [
        (10, format!("Scaled up replica set {name} from 1 to 10")),
        (3, format!("Scaled down replica set {name} from 10 to 3")),
        (0, format!("Scaled down replica set {name} from 3 to 0")),
    ] {
        world.deployment.spec.as_mut().unwrap().replicas = Some(replicas);
        world.settle();
        assert_eq!(world.sizes(), [replicas]);
        assert_eq!(world.events.last(), Some(&event));
    }
}

#[test]
fn recreate_waits_for_the_old_pods() {
    let mut world = World::new(3, &json!({"type": "Recreate"}));
    world.settle();
    world.image("two");
    world.sync();
    assert_eq!(world.sizes(), [0]);
    world.sync();
    assert_eq!(world.sizes(), [0], "old pods are still there");
    world.pods_follow(0);
    world.settle();
    assert_eq!(world.sizes(), [0, 3]);
}

#[test]
fn going_back_to_an_old_template_reuses_its_set_and_the_history_is_limited() {
    let mut world = World::new(1, &rolling(1, 0));
    world.settle();
    world.image("two");
    world.settle();
    world.image("one");
    world.settle();
    assert_eq!(world.sizes(), [1, 0]);
    assert_eq!(world.sets[0].annotations()[REVISION], "3");
    assert_eq!(world.sets[0].annotations()[template::REVISION_HISTORY], "1");
    world.image("three");
    world.settle();
    assert_eq!(world.sizes(), [0, 1], "the set of revision 2 is forgotten");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new(1, &rolling(1, 0));
    world.settle();
    world.deployment.spec.as_mut().unwrap().paused = Some(true);
    world.image("two");
    world.deployment.spec.as_mut().unwrap().replicas = Some(2);
    world.settle();
    assert_eq!(world.sizes(), [2]);
    assert_eq!(
        world.condition("Progressing"),
        ("Unknown".to_owned(), "DeploymentPaused".to_owned())
    );
}
