//! The suite that every provisioner passes.
//!
//! Three lines for an author; under a paused clock where the cloud is in process:
//!
//! ```
//! # use provisioner::{conformance::Suite, fake::{Fake, FakeSettings, ec2_types}, karpenter::{KwokNodeClass, KwokNodeClassSpec}};
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! # let settings = || FakeSettings { instance_types: ec2_types::instance_types("r", &["a"]), ..FakeSettings::new("r") };
//! # let class = KwokNodeClass::new("default", KwokNodeClassSpec::default());
//! let suite = Suite::new(move || Fake::<KwokNodeClass>::new(settings()), class);
//! let report = suite.run().await;
//! assert!(report.passed(), "{report}");
//! # }
//! ```
//!
//! A cloud that can be made to run short says how by [`Suite::with_shortage`]; without that, the cases that need it are
//! skipped. Every case names its own claims and returns what it bought, so that the suite runs on a real account too.

mod cases;

use std::{fmt, time::Duration};

use serde_json::json;

use crate::{
    Catalog, Error, Instance, LaunchRequest, Offering, ProviderId, Provisioner, ResourceList, Termination,
    karpenter::{Ec2NodeClass, NodeClaim, NodePool, RequirementSpec, labels},
};

/// Which offerings are to run short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// One type in one zone by one capacity type.
    Offering {
        /// Type.
        instance_type: String,
        /// Zone.
        zone: String,
        /// `on-demand`, `spot` or `reserved`.
        capacity_type: String,
    },
    /// All.
    Everything,
}

type Make<P> = Box<dyn Fn() -> P + Send + Sync>;
type MakeShort<P> = Box<dyn Fn(&P, &Shortage) + Send + Sync>;

/// The suite, for one provisioner.
pub struct Suite<P: Provisioner> {
    make: Make<P>,
    class: P::Class,
    patience: Duration,
    shortage: Option<MakeShort<P>>,
}

impl<P: Provisioner> Suite<P> {
    /// For the provisioner that `make` makes, anew for every case, with a class that resolves.
    pub fn new(make: impl Fn() -> P + Send + Sync + 'static, class: P::Class) -> Self {
        Self {
            make: Box::new(make),
            class,
            patience: Duration::from_secs(600),
            shortage: None,
        }
    }

    /// How the cloud is made to run short.
    #[must_use]
    pub fn with_shortage(mut self, short: impl Fn(&P, &Shortage) + Send + Sync + 'static) -> Self {
        self.shortage = Some(Box::new(short));
        self
    }

    /// How long an instance may take to come up or to go; 10 minutes if not set.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs every case, one after the other.
    pub async fn run(&self) -> Report {
        let mut outcomes = Vec::new();
        for name in cases::NAMES {
            let bench = Bench {
                provisioner: (self.make)(),
                suite: self,
                case: name,
            };
            let outcome = cases::run(name, &bench).await;
            let outcome = match (outcome, bench.clean_up().await) {
                (CaseOutcome::Passed, Err(error)) => CaseOutcome::Failed(format!("cleaning up: {error}")),
                (outcome, _) => outcome,
            };
            outcomes.push((*name, outcome));
        }
        Report { outcomes }
    }
}

impl<P: Provisioner> fmt::Debug for Suite<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}

/// How a case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseOutcome {
    /// As it must.
    Passed,
    /// The suite was not told how to bring it about.
    Skipped,
    /// Otherwise: what was seen.
    Failed(String),
}

/// How every case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// By case, in the order in which they ran.
    pub outcomes: Vec<(&'static str, CaseOutcome)>,
}

impl Report {
    /// Whether none failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failed().next().is_none()
    }

    /// Those that failed.
    pub fn failed(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, CaseOutcome::Failed(_)))
            .map(|(name, _)| *name)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in &self.outcomes {
            match outcome {
                CaseOutcome::Passed => writeln!(f, "passed   {name}")?,
                CaseOutcome::Skipped => writeln!(f, "skipped  {name}")?,
                CaseOutcome::Failed(why) => writeln!(f, "FAILED   {name}: {why}")?,
            }
        }
        Ok(())
    }
}

/// What one case works with.
struct Bench<'a, P: Provisioner> {
    provisioner: P,
    suite: &'a Suite<P>,
    case: &'static str,
}

impl<P: Provisioner> Bench<'_, P> {
    fn class(&self) -> &P::Class {
        &self.suite.class
    }

    fn pool() -> NodePool {
        let json = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": "conformance" },
            "spec": { "template": { "spec": { "requirements": [], "nodeClassRef": class_ref() } } },
        });
        serde_json::from_value(json).expect("a pool with the required fields parses")
    }

    /// A claim of this case.
    fn claim(&self, number: u32, requirements: Vec<RequirementSpec>, requests: ResourceList) -> NodeClaim {
        let json = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": { "name": self.claim_name(number), "labels": { labels::NODEPOOL: "conformance" } },
            "spec": { "requirements": [], "nodeClassRef": class_ref() },
        });
        let mut claim: NodeClaim =
            serde_json::from_value(json).expect("a claim with the required fields parses");
        claim.spec.requirements = requirements;
        claim.spec.resources.requests = requests;
        claim
    }

    fn claim_name(&self, number: u32) -> String {
        format!("conformance-{}-{number}", self.case.replace('_', "-"))
    }

    async fn launch(&self, claim: &NodeClaim) -> Result<Instance, Error> {
        let token = claim.metadata.name.clone().unwrap_or_default();
        self.provisioner
            .launch(&LaunchRequest {
                claim,
                class: self.class(),
                token: &token,
            })
            .await
    }

    /// A claim that anything satisfies, bought.
    async fn buy(&self, number: u32) -> Result<Instance, String> {
        let claim = self.claim(number, Vec::new(), small_requests());
        self.launch(&claim)
            .await
            .map_err(|error| format!("launch failed: {error}"))
    }

    async fn catalog(&self) -> Result<std::sync::Arc<Catalog>, String> {
        let catalog = self.provisioner.catalog(&Self::pool(), self.class()).await;
        catalog.map_err(|error| format!("catalog failed: {error}"))
    }

    /// Every available offering with its type, cheapest first.
    async fn offerings(&self) -> Result<Vec<(String, Offering)>, String> {
        let catalog = self.catalog().await?;
        let of_type = |it: &std::sync::Arc<crate::InstanceType>| {
            let name = it.name.clone();
            it.offerings
                .clone()
                .into_iter()
                .filter(|o| o.available)
                .map(move |o| (name.clone(), o))
        };
        let mut offerings: Vec<_> = catalog.instance_types.iter().flat_map(of_type).collect();
        offerings.sort_by(|(a, x), (b, y)| x.price.total_cmp(&y.price).then_with(|| a.cmp(b)));
        Ok(offerings)
    }

    /// The instances that claims of this case bought.
    async fn own(&self) -> Result<Vec<Instance>, String> {
        let prefix = format!("conformance-{}-", self.case.replace('_', "-"));
        let all = self
            .provisioner
            .list()
            .await
            .map_err(|error| format!("list failed: {error}"))?;
        let own = |instance: &Instance| {
            instance
                .claim
                .as_ref()
                .is_some_and(|claim| claim.starts_with(&prefix))
        };
        Ok(all.into_iter().filter(own).collect())
    }

    /// Waits until the instance is gone.
    async fn until_gone(&self, id: &ProviderId) -> Result<(), String> {
        let wait = async {
            loop {
                match self.provisioner.terminate(id).await {
                    Ok(Termination::Gone) => return,
                    _ => tokio::time::sleep(Duration::from_secs(5)).await,
                }
            }
        };
        tokio::time::timeout(self.suite.patience, wait)
            .await
            .map_err(|_| format!("instance {id} is not gone after {:?}", self.suite.patience))
    }

    async fn clean_up(&self) -> Result<(), String> {
        for instance in self.own().await? {
            self.until_gone(&instance.id).await?;
        }
        Ok(())
    }
}

fn class_ref() -> serde_json::Value {
    use kube::Resource as _;
    json!({ "group": Ec2NodeClass::group(&()), "kind": Ec2NodeClass::kind(&()), "name": "default" })
}

fn small_requests() -> ResourceList {
    ResourceList::default().with("cpu", scaler_api::Quantity::from_millis(100))
}

#[cfg(all(test, feature = "fake"))]
mod tests;
