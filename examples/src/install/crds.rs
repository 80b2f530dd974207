//! `autoscaler crds`: the definitions of KEDA's and Karpenter's resources.

use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use super::{Half, Provider, yaml};

/// The label of definitions that came from here, and not with KEDA or Karpenter.
pub const OWNER_LABEL: &str = "app.kubernetes.io/part-of";
/// Its value.
pub const OWNER: &str = crate::names::NAME;

/// What to print.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Arguments {
    /// The definitions of one half only.
    #[arg(long, value_enum)]
    only: Option<Half>,
    /// Of the node classes, the one of this provider only; all of them where missing.
    #[arg(long, value_enum)]
    provider: Option<Provider>,
}

impl Arguments {
    /// Prints them as YAML.
    ///
    /// # Errors
    /// Where a definition cannot be written down.
    pub fn run(self) -> anyhow::Result<()> {
        yaml::print(&definitions(self.only, self.provider)?)
    }
}

/// The definitions as objects, in a fixed order.
///
/// # Errors
/// Where a definition cannot be written down.
pub fn definitions(only: Option<Half>, provider: Option<Provider>) -> serde_json::Result<Vec<Value>> {
    let mut all = Vec::new();
    if Half::Pods.is_in(only) {
        all.extend(scaler_api::keda::crds());
    }
    if Half::Nodes.is_in(only) {
        let nodes = provisioner::karpenter::crds().into_iter();
        all.extend(nodes.filter(|definition| is_of(definition, provider)));
    }
    for definition in &mut all {
        let labels = definition.metadata.labels.get_or_insert_default();
        labels.insert(OWNER_LABEL.to_owned(), OWNER.to_owned());
    }
    let mut definitions = all
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<Vec<_>, _>>()?;
    definitions.iter_mut().for_each(drop_fractions);
    Ok(definitions)
}

/// Writes 1 for 1.0: bounds of integers are fractions in the type.
fn drop_fractions(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            let whole = number
                .as_f64()
                .filter(|number| number.fract() == 0.0 && number.abs() < EXACT);
            if let (true, Some(whole)) = (number.is_f64(), whole) {
                *value = Value::from(whole as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(drop_fractions),
        Value::Object(fields) => fields.values_mut().for_each(drop_fractions),
        _ => {}
    }
}

/// Whether a definition is no node class, or that of the provider.
fn is_of(definition: &CustomResourceDefinition, provider: Option<Provider>) -> bool {
    let class_of = match definition.spec.names.kind.as_str() {
        "EC2NodeClass" => Provider::Ec2,
        "KWOKNodeClass" => Provider::Kwok,
        _ => return true,
    };
    provider.is_none_or(|provider| provider == class_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(only: Option<Half>, provider: Option<Provider>) -> String {
        let definitions = definitions(only, provider).unwrap();
        let kinds = definitions
            .iter()
            .map(|definition| definition["spec"]["names"]["kind"].as_str().unwrap().to_owned());
        kinds.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn halves_and_providers_narrow_the_definitions() {
        let pods = "ScaledObject ScaledJob TriggerAuthentication ClusterTriggerAuthentication CloudEventSource \
                    ClusterCloudEventSource";
        let nodes = "NodePool NodeClaim NodeOverlay";
        assert_eq!(
            kinds(None, None),
            format!("{pods} {nodes} EC2NodeClass KWOKNodeClass")
        );
        assert_eq!(kinds(Some(Half::Pods), None), pods);
        assert_eq!(
            kinds(Some(Half::Nodes), Some(Provider::Kwok)),
            format!("{nodes} KWOKNodeClass")
        );
        assert_eq!(kinds(Some(Half::Nodes), Some(Provider::None)), nodes);
    }
}
