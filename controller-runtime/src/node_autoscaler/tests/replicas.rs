//! Two replicas, of which one leads: what one leaves, the other takes up.

use super::*;

/// How a leader ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Dropped where it stands; the other one waits for the Lease to end.
    Crash,
    /// Asked to stop; the Lease is given back.
    Stop,
}

/// A world with two replicas, and the one that leads.
async fn two() -> (World, String) {
    let mut world = World::new();
    world.crash();
    world.start_replica("a");
    world.start_replica("b");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(world.replicas.values().all(|replica| replica.ready.is_ready()));
    let leader = world.leader().unwrap();
    (world, leader)
}

impl World {
    /// Ends the leader; says who leads then.
    async fn hand_over(&mut self, leader: &str, end: End) -> String {
        let start = tokio::time::Instant::now();
        let replica = self.replicas.get_mut(leader).unwrap();
        match end {
            End::Crash => {
                let replica = self.replicas.remove(leader).unwrap();
                replica.tasks.iter().for_each(JoinHandle::abort);
            }
            End::Stop => replica.stop.take().unwrap().send(()).unwrap(),
        }
        let limit = match end {
            End::Crash => Duration::from_millis(15_100),
            End::Stop => Duration::from_millis(100),
        };
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            match self.leader() {
                Some(next) if next != leader => return next,
                _ => assert!(start.elapsed() <= limit, "nobody leads: {end:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_standby_buys_nothing() {
    let (mut world, leader) = two().await;
    world.crash_replica(&leader);
    world.apply(deployment("web", 3, "1"));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((world.claims().len(), world.cloud.launched()), (0, 0));
    world
        .wait_for("three pods are bound", |api| bound(api) == 3)
        .await;
    assert_eq!((world.claims().len(), world.cloud.launched()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_launch_that_a_leader_began_is_ended_by_the_next_one() {
    // The claim is created after a second, the launch answers two seconds later, the machine is up after thirty.
    for end in [End::Crash, End::Stop] {
        for millis in [
            900, 1_001, 1_100, 1_500, 2_500, 3_100, 3_500, 10_000, 33_000, 40_000,
        ] {
            let (mut world, leader) = two().await;
            world.apply(deployment("web", 3, "1"));
            tokio::time::sleep(Duration::from_millis(millis)).await;
            world.hand_over(&leader, end).await;
            world
                .wait_for("three pods are bound", |api| bound(api) == 3)
                .await;
            world.rest().await;
            let (claims, running) = (world.claims(), world.running().await);
            assert_eq!(
                (claims.len(), running.len(), world.cloud.launched()),
                (1, 1, 1),
                "{end:?} after {millis} ms"
            );
            assert_eq!(claims[0].provider_id(), Some(running[0].id.as_str()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_termination_that_a_leader_began_is_ended_by_the_next_one() {
    for end in [End::Crash, End::Stop] {
        for seconds in [1, 5, 9, 12, 20, 27, 40, 60, 80] {
            let (mut world, leader) = two().await;
            world.apply(deployment("web", 6, "1"));
            world.wait_for("six pods are bound", |api| bound(api) == 6).await;
            world.scale("web", 2).await;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            world.hand_over(&leader, end).await;
            tokio::time::sleep(Duration::from_secs(600)).await;
            world.rest().await;
            let running = world.running().await;
            assert_eq!(
                (world.bound(), world.claims().len(), running.len()),
                (2, 1, 1),
                "{end:?} after {seconds} s: {:#?}",
                world.decisions()
            );
            assert_eq!(running[0].instance_type, "m5.xlarge");
            let taints = world.nodes()[0].spec.clone().unwrap().taints.unwrap_or_default();
            assert!(taints.is_empty(), "{taints:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_deleted_between_two_leaders_leaves_no_instance() {
    let (mut world, leader) = two().await;
    world.apply(deployment("web", 1, "1"));
    while world.cloud.launched() == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.crash_replica(&leader);
    world.scale("web", 0).await;
    let claim = world.claims()[0].name_any();
    let params = DeleteParams::default();
    world.api::<NodeClaim>().delete(&claim, &params).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.rest().await;
    assert!(world.claims().is_empty());
    assert!(world.running().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn leadership_that_goes_to_and_fro_buys_and_returns_what_is_needed() {
    let (mut world, mut leader) = two().await;
    world.apply(deployment("web", 6, "1"));
    for round in 0..12_u64 {
        tokio::time::sleep(Duration::from_millis(700 + 900 * round)).await;
        let next = world.hand_over(&leader, End::Stop).await;
        world.crash_replica(&leader);
        world.start_replica(&leader);
        leader = next;
    }
    world.wait_for("six pods are bound", |api| bound(api) == 6).await;
    world.rest().await;
    assert_eq!((world.claims().len(), world.cloud.launched()), (1, 1));
    world.scale("web", 0).await;
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_secs(7)).await;
        let next = world.hand_over(&leader, End::Stop).await;
        world.crash_replica(&leader);
        world.start_replica(&leader);
        leader = next;
    }
    tokio::time::sleep(Duration::from_secs(300)).await;
    world.rest().await;
    assert!(world.claims().is_empty());
    assert!(world.running().await.is_empty());
}

impl World {
    fn crash_replica(&mut self, name: &str) {
        let replica = self.replicas.remove(name).unwrap();
        replica.tasks.iter().for_each(JoinHandle::abort);
    }

    /// Lets what is under way end; the Lease is renewed for ever, so the cluster never settles by itself.
    async fn rest(&self) {
        tokio::time::sleep(Duration::from_secs(300)).await;
    }
}
