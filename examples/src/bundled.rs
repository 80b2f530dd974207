//! The scenarios that are part of the binary, with their manifests.

use crate::{
    input::{self, InputProblems, Manifest},
    scenario::{self, Scenario},
};

/// A scenario and the manifests of its cluster.
#[derive(Clone, Debug)]
pub struct Story {
    /// What happens.
    pub scenario: Scenario,
    /// The cluster's objects, in order.
    pub manifests: Vec<Manifest>,
}

/// A bundled story as text.
#[derive(Clone, Copy, Debug)]
pub struct Bundled {
    /// Its name.
    pub name: &'static str,
    scenario: (&'static str, &'static str),
    manifests: &'static [(&'static str, &'static str)],
}

macro_rules! file {
    ($path:literal) => {
        (
            concat!("examples/manifests/", $path),
            include_str!(concat!("../manifests/", $path)),
        )
    };
}

/// Every bundled story; the first is the default.
pub const ALL: &[Bundled] = &[
    Bundled {
        name: "sqs-consumer",
        scenario: file!("sqs-consumer/scenario.yaml"),
        manifests: &[
            file!("sqs-consumer/00-cluster.yaml"),
            file!("sqs-consumer/10-system.yaml"),
            file!("sqs-consumer/20-application.yaml"),
            file!("sqs-consumer/30-scaled-object.yaml"),
            file!("sqs-consumer/40-node-pool.yaml"),
        ],
    },
    Bundled {
        name: "tutorial",
        scenario: file!("tutorial/scenario.yaml"),
        manifests: &[
            file!("tutorial/00-cluster.yaml"),
            file!("tutorial/10-scaled-object.yaml"),
        ],
    },
    Bundled {
        name: "night-shift",
        scenario: file!("night-shift/scenario.yaml"),
        manifests: &[
            file!("night-shift/00-cluster.yaml"),
            file!("night-shift/10-node-pools.yaml"),
            file!("night-shift/20-workloads.yaml"),
        ],
    },
];

impl Bundled {
    /// The story called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|bundled| bundled.name == name)
    }

    /// Parses the story.
    ///
    /// # Errors
    /// Never for what is bundled; a test holds it.
    pub fn story(&self) -> Result<Story, InputProblems> {
        let scenario = scenario::parse(self.scenario.0, self.scenario.1)?;
        let mut manifests = Vec::new();
        for (file, text) in self.manifests {
            manifests.extend(input::parse(file, text)?);
        }
        Ok(Story { scenario, manifests })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_story_parses_and_carries_its_own_name() {
        for bundled in ALL {
            let story = bundled.story().unwrap();
            assert_eq!(story.scenario.name, bundled.name);
            assert!(!story.manifests.is_empty());
        }
    }
}
