use serde_json::json;

use super::*;

fn rollouts() -> ApiResource {
    ApiResource {
        group: "argoproj.io".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "argoproj.io/v1alpha1".to_owned(),
        kind: "Rollout".to_owned(),
        plural: "rollouts".to_owned(),
    }
}

fn target(name: &str) -> Target {
    Target {
        key: ObjectKey::new("shop", name),
        resource: rollouts(),
    }
}

fn metadata(name: &str, uid: &str, version: &str, generation: i64) -> ObjectMeta {
    serde_json::from_value(json!({
        "namespace": "shop", "name": name, "uid": uid, "resourceVersion": version, "generation": generation,
    }))
    .unwrap()
}

fn scale(name: &str, uid: &str, version: &str, replicas: i32) -> Scale {
    let scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"namespace": "shop", "name": name, "uid": uid, "resourceVersion": version},
        "spec": {"replicas": replicas},
    });
    Scale::from(serde_json::from_value::<DynamicObject>(scale).unwrap())
}

fn reference(name: &str) -> ScaleTargetRef {
    let reference = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": name});
    serde_json::from_value(reference).unwrap()
}

/// The scales of the Rollouts `a` and `b`, of version 5 and 3 replicas each, and their watch.
struct World {
    scales: WatchedScales,
    listed: Listed,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            scales: WatchedScales::default(),
            listed: Listed::default(),
        };
        for name in ["a", "b"] {
            let key = ObjectKey::new("shop", name);
            world.scales.refer(&key, Some(&reference(name)));
            world.read(name, &scale(name, "u", "5", 3));
        }
        world.list(&[metadata("a", "u", "5", 1), metadata("b", "u", "5", 1)]);
        world
    }

    fn read(&self, name: &str, scale: &Scale) {
        let reading = self.scales.begin(&target(name)).unwrap();
        self.scales.finish(&target(name), &reading, Ok(scale));
    }

    fn take(&mut self, event: &Event) -> Vec<(ObjectKey, News)> {
        let (name, listed) = (name_of(&target("a")), &mut self.listed);
        self.scales.with(|state| state.take(&name, "", listed, event))
    }

    fn list(&mut self, objects: &[ObjectMeta]) -> Vec<(ObjectKey, News)> {
        let mut news = self.take(&Event::Init);
        for object in objects {
            news.extend(self.take(&Event::InitApply(object.clone())));
        }
        news.extend(self.take(&Event::InitDone));
        news
    }

    fn known(&self) -> [Option<i32>; 2] {
        ["a", "b"].map(|name| self.scales.replicas(&target(name)))
    }
}

fn news(name: &str, is_other: bool, is_changed: bool) -> Vec<(ObjectKey, News)> {
    vec![(ObjectKey::new("shop", name), News { is_other, is_changed })]
}

#[test]
fn what_was_read_holds_until_the_object_has_another_version() {
    let mut world = World::new();
    assert_eq!(world.known(), [Some(3), Some(3)]);
    let same = metadata("a", "u", "5", 1);
    assert_eq!(world.take(&Event::Apply(same)), []);
    assert_eq!(world.known(), [Some(3), Some(3)]);
    // A status alone makes no other generation.
    let status = metadata("a", "u", "6", 1);
    assert_eq!(world.take(&Event::Apply(status)), news("a", false, false));
    assert_eq!(world.known(), [None, Some(3)]);
    world.read("a", &scale("a", "u", "7", 4));
    assert_eq!(world.known(), [Some(4), Some(3)]);
    let late = metadata("a", "u", "7", 2);
    assert_eq!(world.take(&Event::Apply(late)), [], "it was read already");
    assert_eq!(world.known(), [Some(4), Some(3)]);
    let changed = metadata("a", "u", "8", 3);
    assert_eq!(world.take(&Event::Apply(changed)), news("a", false, true));
}

#[test]
fn what_goes_or_comes_back_is_news() {
    let mut world = World::new();
    let gone = metadata("a", "u", "6", 1);
    assert_eq!(world.take(&Event::Delete(gone.clone())), news("a", true, true));
    assert_eq!(world.take(&Event::Delete(gone)), [], "told once");
    assert_eq!(world.known(), [None, Some(3)]);
    let back = metadata("a", "v", "7", 1);
    assert_eq!(world.take(&Event::Apply(back)), news("a", true, true));
    let other = metadata("b", "v", "8", 1);
    let found = world.take(&Event::Apply(other));
    assert!(found[0].1.is_other, "another one by that name: {found:?}");
    let strange = metadata("c", "u", "9", 1);
    assert_eq!(world.take(&Event::Apply(strange)), [], "nobody refers to it");
}

#[test]
fn what_is_heard_while_it_is_read_counts() {
    let mut world = World::new();
    let reading = world.scales.begin(&target("a")).unwrap();
    world.take(&Event::Apply(metadata("a", "u", "6", 2)));
    world
        .scales
        .finish(&target("a"), &reading, Ok(&scale("a", "u", "5", 3)));
    assert_eq!(world.known(), [None, Some(3)]);
}

#[test]
fn nothing_holds_while_the_watch_is_broken() {
    let mut world = World::new();
    let name = name_of(&target("a"));
    world.scales.with(|state| state.lose(&name, ""));
    assert_eq!(world.known(), [None, None]);
    world.read("a", &scale("a", "u", "9", 7));
    assert_eq!(world.known(), [None, None]);
    let listed = [metadata("a", "u", "9", 2)];
    assert_eq!(
        world.list(&listed),
        news("b", true, true),
        "it is not in the list"
    );
    assert_eq!(world.known(), [Some(7), None]);
}

#[test]
fn what_comes_up_while_a_list_is_under_way_is_read_again() {
    let mut world = World::new();
    world.take(&Event::Init);
    world.take(&Event::InitApply(metadata("a", "u", "5", 1)));
    world.take(&Event::InitApply(metadata("b", "u", "5", 1)));
    let key = ObjectKey::new("shop", "c");
    world.scales.refer(&key, Some(&reference("c")));
    world.read("c", &scale("c", "u", "6", 1));
    assert_eq!(world.take(&Event::InitDone), []);
    assert_eq!(world.scales.replicas(&target("c")), None);
    assert_eq!(world.known(), [Some(3), Some(3)]);
}

#[test]
fn a_kind_is_kept_while_somebody_refers_to_it() {
    let world = World::new();
    let kinds = || world.scales.with(|state| state.kinds.len());
    let deployment: ScaleTargetRef = serde_json::from_value(json!({"name": "web"})).unwrap();
    world
        .scales
        .refer(&ObjectKey::new("shop", "web"), Some(&deployment));
    assert_eq!(kinds(), 1, "Deployments are watched in any case");
    world
        .scales
        .refer(&ObjectKey::new("shop", "a"), Some(&deployment));
    assert_eq!((kinds(), world.known()), (1, [None, Some(3)]));
    world.scales.refer(&ObjectKey::new("shop", "b"), None);
    assert_eq!((kinds(), world.known()), (0, [None, None]));
    assert!(world.scales.begin(&target("b")).is_none());
}
