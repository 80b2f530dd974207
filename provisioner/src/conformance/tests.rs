use std::sync::Arc;

use async_trait::async_trait;

use super::*;
use crate::{
    ClassStatus, DriftReason,
    fake::{Fake, FakeSettings, OfferingKey, ec2_types},
    karpenter::{Ec2NodeClassSpec, KwokNodeClass, KwokNodeClassSpec},
};

fn settings() -> FakeSettings {
    let zones = ["eu-west-1a", "eu-west-1b"];
    FakeSettings {
        instance_types: ec2_types::instance_types("eu-west-1", &zones),
        ..FakeSettings::new("eu-west-1")
    }
}

fn make_short<C: crate::NodeClass>(cloud: &Fake<C>, shortage: &Shortage) {
    let shortage = shortage.clone();
    let which = move |key: &OfferingKey| match &shortage {
        Shortage::Everything => true,
        Shortage::Offering {
            instance_type,
            zone,
            capacity_type,
        } => {
            key.instance_type == *instance_type
                && key.zone == *zone
                && key.capacity_type.as_str() == capacity_type.as_str()
        }
    };
    cloud.limit(which, 0);
}

fn ec2_class() -> Ec2NodeClass {
    Ec2NodeClass::new("default", Ec2NodeClassSpec::default())
}

#[tokio::test(start_paused = true)]
async fn the_in_process_cloud_passes_as_ec2() {
    let suite = Suite::new(|| Fake::new(settings()), ec2_class()).with_shortage(make_short);
    let report = suite.run().await;
    assert!(report.passed(), "{report}");
    assert!(
        report
            .outcomes
            .iter()
            .all(|(_, outcome)| *outcome == CaseOutcome::Passed),
        "none is skipped: {report}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_in_process_cloud_passes_as_kwok() {
    let class = KwokNodeClass::new("default", KwokNodeClassSpec::default());
    let report = Suite::new(|| Fake::new(settings()), class)
        .with_shortage(make_short)
        .run()
        .await;
    assert!(report.passed(), "{report}");
}

/// Forgets tokens: every launch buys anew. Never is anything gone.
#[derive(Debug)]
struct Careless(Fake<Ec2NodeClass>, std::sync::atomic::AtomicU32);

#[async_trait]
impl Provisioner for Careless {
    type Class = Ec2NodeClass;

    async fn resolve(&self, class: &Ec2NodeClass) -> Result<ClassStatus, Error> {
        self.0.resolve(class).await
    }

    async fn catalog(&self, pool: &NodePool, class: &Ec2NodeClass) -> Result<Arc<Catalog>, Error> {
        self.0.catalog(pool, class).await
    }

    async fn launch(&self, request: &LaunchRequest<'_, Ec2NodeClass>) -> Result<Instance, Error> {
        let number = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut claim = request.claim.clone();
        claim.spec.requirements.clear();
        let token = format!("{}-{number}", request.token);
        self.0
            .launch(&LaunchRequest {
                claim: &claim,
                class: request.class,
                token: &token,
            })
            .await
    }

    async fn terminate(&self, id: &ProviderId) -> Result<Termination, Error> {
        self.0.terminate(id).await
    }

    async fn get(&self, id: &ProviderId) -> Result<Option<Instance>, Error> {
        let got = self.0.get(id).await?;
        got.map_or_else(
            || Err(Error::new(crate::ErrorKind::NotFound, "no such instance")),
            |got| Ok(Some(got)),
        )
    }

    async fn list(&self) -> Result<Vec<Instance>, Error> {
        self.0.list().await
    }

    async fn drift(&self, _: &Instance, _: &Ec2NodeClass) -> Result<Option<DriftReason>, Error> {
        Ok(Some(DriftReason("Always".into())))
    }
}

#[tokio::test(start_paused = true)]
async fn a_careless_provisioner_fails_where_it_should() {
    let report = Suite::new(|| Careless(Fake::new(settings()), 0.into()), ec2_class())
        .run()
        .await;
    let failed: Vec<&str> = report.failed().collect();
    let expected = [
        "launch_is_idempotent_by_token",
        "launch_respects_requirements",
        "a_dropped_launch_neither_leaks_nor_doubles",
        "terminate_is_requested_then_gone",
        "an_unknown_instance_is_a_value",
        "what_nobody_sells_is_insufficient_capacity",
        "a_fresh_instance_has_not_drifted",
    ];
    assert_eq!(failed, expected, "{report}");
}
