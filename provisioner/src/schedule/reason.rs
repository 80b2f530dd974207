//! Why a pod has no place, in Karpenter's words.

use std::{collections::BTreeMap, fmt};

use crate::{Requirements, ResourceList, requirements::Incompatible, taints::NotTolerated};

/// Why a pod cannot be placed.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// Planning does not take it at all; the text says why.
    Rejected(String),
    /// There is no pool that could buy for it.
    NoPools,
    /// No pool can take it: why, by pool in the order in which they were tried.
    Pools(Vec<(String, Refusal)>),
    /// The plan's budget ended before its turn.
    NotTried,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(text) => f.write_str(text),
            Self::NoPools => f.write_str("no dynamic nodepools found"),
            Self::NotTried => f.write_str("not tried yet: the plan's budget ended before its turn"),
            Self::Pools(refusals) => {
                for (index, (pool, refusal)) in refusals.iter().enumerate() {
                    write!(
                        f,
                        "{}{refusal} (NodePool={pool:?})",
                        if index == 0 { "" } else { "; " }
                    )?;
                }
                Ok(())
            }
        }
    }
}

/// Why one pool or node cannot take a pod.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// A taint.
    Taint(NotTolerated),
    /// Labels.
    Requirements(Incompatible),
    /// Labels that the pod's volumes ask for.
    Volumes(Incompatible),
    /// Spread, affinity or anti-affinity.
    Topology(TopologyRefusal),
    /// No type is left.
    Types(Box<TypesRefusal>),
    /// Fewer values are left than the pool wants to keep open.
    MinValues(Vec<String>),
    /// A port of the node is taken.
    HostPort,
    /// `limits.nodes` is used up.
    NodeLimit,
    /// Every type would exceed the pool's limits.
    Limits,
    /// The pool's own requirements leave no type that can be bought.
    NothingToBuy,
    /// A reservation could serve it, and all of it is taken by nodes that were just planned.
    Reserved,
    /// The node has too little left.
    Resources(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taint(taint) => write!(f, "{taint}"),
            Self::Requirements(why) => write!(f, "incompatible requirements, {why}"),
            Self::Volumes(why) => write!(f, "incompatible volume requirements, {why}"),
            Self::Topology(why) => write!(f, "{why}"),
            Self::Types(why) => write!(f, "{why}"),
            Self::MinValues(keys) => {
                write!(
                    f,
                    "minValues requirement is not met for label(s) (label(s)=[{}])",
                    keys.join(" ")
                )
            }
            Self::HostPort => f.write_str(
                "checking host port usage, pod hostport conflicts with existing hostport configuration",
            ),
            Self::NodeLimit => f.write_str("node limits have been exhausted for nodepool"),
            Self::Limits => f.write_str("all available instance types exceed limits for nodepool"),
            Self::NothingToBuy => {
                f.write_str("nodepool requirements filtered out all available instance types")
            }
            Self::Reserved => f.write_str(
                "one or more instance types with compatible reserved offerings are available, but could not be reserved",
            ),
            Self::Resources(name) => write!(f, "exceeds node resources ({name})"),
        }
    }
}

/// Which of the three tests instance types passed, over all of a pool's types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is one test's outcome, and the words depend on all of them"
)]
pub struct TypeTests {
    /// Some type meets the requirements.
    pub requirements: bool,
    /// Some type is big enough.
    pub fits: bool,
    /// Some type has an offering.
    pub offering: bool,
    /// Some type meets the requirements and is big enough.
    pub requirements_and_fits: bool,
    /// Some type meets the requirements and has an offering.
    pub requirements_and_offering: bool,
    /// Some type is big enough and has an offering.
    pub fits_and_offering: bool,
}

impl TypeTests {
    /// Takes note of one type: whether it meets the requirements, is big enough, and has an offering.
    pub fn note(&mut self, [requirements, fits, offering]: [bool; 3]) {
        self.requirements |= requirements;
        self.fits |= fits;
        self.offering |= offering;
        self.requirements_and_fits |= requirements && fits;
        self.requirements_and_offering |= requirements && offering;
        self.fits_and_offering |= fits && offering;
    }
}

/// Why no instance type is left.
#[derive(Clone, Debug, PartialEq)]
pub struct TypesRefusal {
    /// What the tests said.
    pub tests: TypeTests,
    /// What was asked of labels.
    pub requirements: Requirements,
    /// What was asked of resources.
    pub resources: ResourceList,
}

impl fmt::Display for TypesRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tests = &self.tests;
        let words = match (tests.requirements, tests.fits, tests.offering) {
            (false, false, false) => {
                "no instance type met the scheduling requirements or had enough resources or had a required offering"
            }
            (false, false, true) => {
                "no instance type met the scheduling requirements or had enough resources"
            }
            (false, true, false) => {
                "no instance type met the scheduling requirements or had a required offering"
            }
            (true, false, false) => "no instance type had enough resources or had a required offering",
            (false, true, true) => "no instance type met all requirements",
            (true, false, true) => "no instance type has enough resources",
            (true, true, false) => "no instance type has the required offering",
            _ if tests.requirements_and_fits => {
                "no instance type which met the scheduling requirements and had enough resources, had a required offering"
            }
            _ if tests.fits_and_offering => {
                "no instance type which had enough resources and the required offering met the scheduling requirements"
            }
            _ if tests.requirements_and_offering => {
                "no instance type which met the scheduling requirements and the required offering had the required resources"
            }
            _ => "no instance type met the requirements/resources/offering tuple",
        };
        f.write_str(words)?;
        let million = scaler_api::Quantity::from_units(1_000_000);
        if tests.requirements && !tests.fits && tests.offering && self.resources.get("cpu") >= million {
            f.write_str(" (CPU request >= 1 Million, m vs M typo?)")?;
        }
        write!(
            f,
            ", requirements={}, resources={}",
            self.requirements, self.resources
        )
    }
}

/// Which constraint on other pods' places cannot be met.
#[derive(Clone, Debug, PartialEq)]
pub struct TopologyRefusal {
    /// `topology spread`, `pod affinity` or `pod anti-affinity`.
    pub kind: &'static str,
    /// The label whose values are the domains.
    pub key: String,
    /// Pods counted, by domain.
    pub counts: BTreeMap<String, u32>,
    /// Where the pod may be.
    pub pod_domains: String,
    /// Where the node may be.
    pub node_domains: String,
}

impl fmt::Display for TopologyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: Vec<String> = self
            .counts
            .iter()
            .take(25)
            .map(|(domain, count)| format!("{domain}:{count}"))
            .collect();
        if self.counts.len() > 25 {
            counts.push(format!("and {} others", self.counts.len() - 25));
        }
        // The parenthesis is never closed in Karpenter's text either, and people match on it.
        write!(
            f,
            "unsatisfiable topology constraint for {}, key={} (counts = {}, podDomains = {}, nodeDomains = {}",
            self.kind,
            self.key,
            counts.join(", "),
            self.pod_domains,
            self.node_domains
        )
    }
}
