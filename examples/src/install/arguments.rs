//! `autoscaler manifests`: the values from files and flags, and what comes of them.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::{
    Half, Provider, Values,
    manifests::manifests,
    values::{self, CertificateSource},
    yaml,
};
use crate::{input::InputProblems, names};

/// What to install. A flag wins over the files of values.
#[derive(Clone, Debug, Default, Args)]
#[group(id = "what-to-install")]
pub struct Arguments {
    /// The namespace.
    #[arg(long, short, default_value = names::NAMESPACE)]
    namespace: String,
    /// A file of values, the same that the Helm chart takes; of several, later ones win.
    #[arg(long = "values", short = 'f', value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One half only.
    #[arg(long, value_enum)]
    only: Option<Half>,
    /// Where nodes come from.
    #[arg(long, value_enum)]
    provider: Option<Provider>,
    /// The image, e.g. registry.example/autoscaler:1.0.
    #[arg(long)]
    image: Option<String>,
    /// How many replicas.
    #[arg(long)]
    replicas: Option<i32>,
    /// Acts on ScaledObjects of this namespace only; may be given several times.
    #[arg(long = "watch-namespace", value_name = "NAMESPACE", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// Who makes the serving certificate.
    #[arg(long, value_enum)]
    certificates: Option<CertificateSource>,
    /// Without the definitions of KEDA's and Karpenter's resources: they are there already.
    #[arg(long)]
    without_crds: bool,
    /// With the application of the walk-through.
    #[arg(long)]
    with_sample: bool,
}

impl Arguments {
    /// Prints the objects as YAML.
    ///
    /// # Errors
    /// [`InputProblems`] where the values are wrong.
    pub fn run(&self) -> anyhow::Result<()> {
        yaml::print(&self.objects()?)
    }

    /// The objects.
    ///
    /// # Errors
    /// [`InputProblems`] where the values are wrong.
    pub fn objects(&self) -> anyhow::Result<Vec<Value>> {
        Ok(manifests(&self.values()?, &self.namespace)?)
    }

    /// What the files and the flags say.
    fn values(&self) -> Result<Values, InputProblems> {
        let mut values = values::read(&self.files)?;
        values.only = self.only.or(values.only);
        values.provider = self.provider.unwrap_or(values.provider);
        if let Some(image) = &self.image {
            values.image.refer_to(image);
        }
        values.replicas = self.replicas.unwrap_or(values.replicas);
        if !self.watch_namespaces.is_empty() {
            values.watch_namespaces.clone_from(&self.watch_namespaces);
        }
        values.certificates.source = self.certificates.unwrap_or(values.certificates.source);
        values.crds.install &= !self.without_crds;
        values.sample.enabled |= self.with_sample;
        let mut problems = InputProblems::default();
        for problem in values.problems() {
            problems.file("manifests", problem);
        }
        problems.or(values)
    }
}
