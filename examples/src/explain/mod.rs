//! `autoscaler explain`: why an object is scaled as it is, from the running process or from a record.

mod process;
pub mod recorded;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use controller_runtime::explain::{self, Explanation};

use crate::{install::connect::Target, names, record::Record};

/// What is asked.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The kind of the object.
    #[arg(value_parser = ["scaledobject", "scaledjob", "scaledobjects", "scaledjobs", "so", "sj"])]
    kind: String,
    /// The object as NAMESPACE/NAME; NAME alone is in the namespace default.
    #[arg(value_name = "NAMESPACE/NAME", value_parser = object)]
    object: Object,
    /// Ask a record that demo or simulate has written with --json.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kubeconfig", "context"])]
    record: Option<PathBuf>,
    /// How it was so many seconds after the start of the record; at its end where missing.
    #[arg(long, value_name = "SECONDS", requires = "record", value_parser = seconds)]
    at: Option<f64>,
    /// Ask the process whose metrics are served there, e.g. <http://127.0.0.1:8080>.
    #[arg(long, value_name = "URL", env = "AUTOSCALER_ADMIN", hide_env_values = true)]
    admin: Option<String>,
    #[command(flatten)]
    cluster: Target,
    /// The namespace that the autoscaler runs in.
    #[arg(long, short, default_value = names::NAMESPACE)]
    namespace: String,
    /// In words, or the whole value.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// An object's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

fn object(text: &str) -> Result<Object, String> {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    let is_name = |part: &str| {
        let letter =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-.".contains(letter);
        !part.is_empty() && part.chars().all(letter)
    };
    if is_name(namespace) && is_name(name) {
        Ok(Object {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    } else {
        Err("expected NAMESPACE/NAME".to_owned())
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
        .ok_or_else(|| "expected a number of seconds".to_owned())
}

impl Arguments {
    /// Asks and prints the answer.
    ///
    /// # Errors
    /// If nobody can be asked, or nobody knows the object.
    pub fn run(&self) -> anyhow::Result<()> {
        let explanation = match &self.record {
            Some(path) => {
                let name = path.display();
                let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
                let record: Record = serde_json::from_str(&text)
                    .with_context(|| format!("{name} is no record of demo or simulate"))?;
                recorded::explain(&record, &self.kind, &self.object, self.at)?
            }
            None => self.ask()?,
        };
        let text = match self.output {
            Output::Text => explain::text(&explanation),
            Output::Json => {
                serde_json::to_string_pretty(&explanation).context("it cannot be written as JSON")?
            }
        };
        crate::view::say(text.trim_end());
        Ok(())
    }

    fn ask(&self) -> anyhow::Result<Explanation> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime cannot be built")?;
        let answer = async {
            let process = match &self.admin {
                Some(url) => process::Process::at(url)?,
                None => process::Process::of_leader(self.cluster.connect().await?, &self.namespace).await?,
            };
            process.explain(&self.kind, &self.object).await
        };
        runtime.block_on(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_with_their_namespace_or_without() {
        let named = |namespace: &str, name: &str| {
            Ok(Object {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        };
        assert_eq!(object("shop/orders"), named("shop", "orders"));
        assert_eq!(object("orders"), named("default", "orders"));
        for wrong in ["", "/", "a/", "/a", "a/b/c", "a b", "A", "a%2fb"] {
            assert!(object(wrong).is_err(), "{wrong}");
        }
    }
}
