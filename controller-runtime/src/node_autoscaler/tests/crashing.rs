//! Dropped anywhere, started anew with nothing but the API and the cloud.

use super::*;

/// The time between two crashes.
async fn crash_after(world: &mut World, wait: Duration) {
    tokio::time::sleep(wait).await;
    world.crash();
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.start();
}

#[tokio::test(start_paused = true)]
async fn a_crash_during_a_launch_leaks_nothing_and_doubles_nothing() {
    // The claim is created after a second, the launch answers two seconds later, the machine is up after thirty.
    for millis in [900, 1_100, 1_500, 2_500, 3_100, 3_500, 10_000, 33_000, 40_000] {
        let mut world = World::new();
        world.apply(deployment("web", 3, "1"));
        crash_after(&mut world, Duration::from_millis(millis)).await;
        world
            .wait_for("three pods are bound", |api| bound(api) == 3)
            .await;
        world.settle().await;
        let (claims, running) = (world.claims(), world.running().await);
        assert_eq!(
            (claims.len(), running.len(), world.cloud.launched()),
            (1, 1, 1),
            "after {millis} ms"
        );
        assert_eq!(claims[0].provider_id(), Some(running[0].id.as_str()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_deleted_while_it_is_launched_leaves_no_instance() {
    let mut world = World::new();
    world.apply(deployment("web", 1, "1"));
    world.wait_for("an instance is bought", |_| true).await;
    while world.cloud.launched() == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.crash();
    world.scale("web", 0).await;
    let claim = world.claims()[0].name_any();
    world
        .api::<NodeClaim>()
        .delete(&claim, &DeleteParams::default())
        .await
        .unwrap();
    world.start();
    world.settle().await;
    assert!(world.claims().is_empty());
    assert!(world.running().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_crash_during_a_disruption_ends_with_what_is_needed() {
    for seconds in [5, 20, 27, 40, 60, 80] {
        let mut world = World::new();
        world.apply(deployment("web", 6, "1"));
        world.wait_for("six pods are bound", |api| bound(api) == 6).await;
        world.scale("web", 2).await;
        crash_after(&mut world, Duration::from_secs(seconds)).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        world.settle().await;
        let running = world.running().await;
        assert_eq!(
            (world.bound(), world.claims().len(), running.len()),
            (2, 1, 1),
            "after {seconds} s"
        );
        assert_eq!(running[0].instance_type, "m5.xlarge");
        let taints = world.nodes()[0].spec.clone().unwrap().taints.unwrap_or_default();
        assert!(taints.is_empty(), "{taints:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_nobody_knows_is_returned() {
    let mut world = World::new();
    world.apply(deployment("web", 1, "1"));
    world.wait_for("the pod is bound", |api| bound(api) == 1).await;
    world.crash();
    world.scale("web", 0).await;
    // Somebody takes the objects away by force.
    for claim in world.claims() {
        let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        world
            .api::<NodeClaim>()
            .patch(&claim.name_any(), &PatchParams::default(), &patch)
            .await
            .unwrap();
        world
            .api::<NodeClaim>()
            .delete(&claim.name_any(), &DeleteParams::default())
            .await
            .unwrap();
    }
    world.start();
    tokio::time::sleep(Duration::from_secs(180)).await;
    world.settle().await;
    assert!(world.running().await.is_empty());
    assert!(world.nodes().is_empty());
}

/// Buys, crashes, gives everything back.
async fn story() -> (Vec<(String, String, String)>, Vec<Decision>, u64) {
    let mut world = World::new();
    world.apply(fixed("fixed", "2"));
    world.apply(deployment("web", 12, "1"));
    world
        .wait_for("twelve pods are bound", |api| bound(api) == 12)
        .await;
    world.scale("web", 1).await;
    crash_after(&mut world, Duration::from_secs(20)).await;
    tokio::time::sleep(Duration::from_secs(900)).await;
    world.settle().await;
    assert!(world.claims().is_empty());
    (
        world.events(),
        world.decisions(),
        world.cluster.api().resource_version(),
    )
}

#[test]
fn the_same_story_twice_is_the_same_to_the_byte() {
    let tell = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(story())
    };
    let (first, second) = (tell(), tell());
    assert_eq!(first, second);
}

/// Changes what a claim requires, whether or not that is something.
async fn require(world: &World, claim: &str, requirements: Value) {
    let resource = kube::core::ApiResource::erase::<NodeClaim>(&());
    let client = world.cluster.client("default");
    let claims = Api::<kube::core::DynamicObject>::all_with(client, &resource);
    let patch = Patch::Merge(json!({"spec": {"requirements": requirements}}));
    claims
        .patch(claim, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_cannot_be_read_loses_no_machine_and_stops_nobody() {
    let mut world = World::new();
    world.apply(deployment("web", 1, "1"));
    world.wait_for("a pod is bound", |api| bound(api) == 1).await;
    world.settle().await;
    let machine = world.running().await.remove(0).id;
    let name = world.claims()[0].name_any();
    world.crash();
    // As another release's definition may have it.
    let mut definition = json!(crds().into_iter().find(|crd| crd.spec.names.kind == "NodeClaim"));
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    definition["spec"]["versions"][0]["schema"] = json!({"openAPIV3Schema": anything});
    world.apply(definition);
    let before = json!(world.claims()[0].spec.requirements);
    require(&world, &name, json!("none")).await;
    world.start();

    world.apply(deployment("other", 1, "3"));
    let both = |api: &ApiServer| bound(api) == 2;
    world.wait_for("the other pod is bound, too", both).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let running = world.running().await;
    assert!(
        running.iter().any(|instance| instance.id == machine),
        "{running:?}"
    );
    assert_eq!(running.len(), 2);

    require(&world, &name, before).await;
    world.scale("web", 0).await;
    world.settle().await;
    let running = world.running().await;
    assert!(
        !running.iter().any(|instance| instance.id == machine),
        "what can be read again is worked on again: {running:?}"
    );
}
