#![doc = include_str!("docs.md")]

mod selector;

use std::{collections::BTreeSet, fmt, sync::Arc};

use async_trait::async_trait;
use scaler_api::{
    Context, Error, ErrorKind, Field, MetricSpec, Problems, Sample, Scaler, SourceKey, Trigger,
    TriggerSettings, normalize_name,
};
use serde::Deserialize;

use crate::target;

/// Looks at the pods of a cluster.
#[async_trait]
pub trait PodCounter: fmt::Debug + Send + Sync + 'static {
    /// The pods in `namespace` whose labels match `selector`, in the syntax of `kubectl -l`, whatever their phase.
    ///
    /// # Errors
    /// If the pods cannot be read.
    async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<CountedPod>, Error>;
}

/// What matters of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountedPod {
    /// `status.phase`; empty where there is none yet.
    pub phase: String,
    /// `spec.nodeName`, once the pod is bound.
    pub node: Option<String>,
}

impl CountedPod {
    fn counts(&self) -> bool {
        !matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

/// The [`PodCounter`] of a [`Context`].
#[derive(Clone, Debug)]
pub struct SharedPodCounter(pub Arc<dyn PodCounter>);

/// The metadata of `kubernetes-workload`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadTrigger {
    pod_selector: String,
    value: f64,
    activation_value: f64,
    group_by_node: bool,
    #[serde(skip)]
    settings: TriggerSettings,
}

const FIELDS: &[Field] = &[
    Field::new("podSelector", "Labels of the pods, as for `kubectl -l`.").required(),
    Field::new("value", "Pods (or nodes) for one replica.").default("0"),
    Field::new("activationValue", "The trigger is active above this number.").default("0"),
    Field::new(
        "groupByNode",
        "Whether nodes are counted that have such pods, in place of the pods.",
    )
    .default("false"),
];

impl WorkloadTrigger {
    fn metric_name(&self) -> String {
        normalize_name(&format!("workload-{}", self.settings.namespace))
    }
}

impl Trigger for WorkloadTrigger {
    const TYPE: &'static str = "kubernetes-workload";
    type Scaler = WorkloadScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "podSelector: app=backend\nvalue: \"0.5\"\n"
    }

    fn summary() -> &'static str {
        "the number of pods that match a selector"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        if let Err(problem) = selector::check(&self.pod_selector) {
            let message = format!("invalid podSelector {:?}: {problem}", self.pod_selector);
            problems.error("podSelector", &self.pod_selector, message);
        }
        if !self.settings.as_metric_source {
            target::check_positive_fraction("value", self.value, problems);
        }
        target::check_metric_type(self.settings.metric_type, problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        let target = target::fraction(self.value);
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            target,
        )]
    }

    fn source_key(&self) -> SourceKey {
        SourceKey::new(Self::TYPE)
            .with("namespace", &self.settings.namespace)
            .with("selector", &self.pod_selector)
            .with("groupByNode", self.group_by_node)
            .with("activation", self.activation_value)
    }

    async fn connect(self, context: &Context) -> Result<WorkloadScaler, Error> {
        let counter = context.get::<SharedPodCounter>().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "kubernetes-workload needs a PodCounter, and this program gives none",
            )
        })?;
        Ok(WorkloadScaler {
            counter: Arc::clone(&counter.0),
            metric_name: self.metric_name(),
            trigger: self,
        })
    }
}

/// Counts the pods of one selector.
#[derive(Clone, Debug)]
pub struct WorkloadScaler {
    counter: Arc<dyn PodCounter>,
    metric_name: String,
    trigger: WorkloadTrigger,
}

/// The pods that count, or the nodes that have one.
fn count(pods: &[CountedPod], by_node: bool) -> usize {
    let counted = pods.iter().filter(|pod| pod.counts());
    if by_node {
        counted
            .filter_map(|pod| pod.node.as_deref())
            .collect::<BTreeSet<_>>()
            .len()
    } else {
        counted.count()
    }
}

#[async_trait]
impl Scaler for WorkloadScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let WorkloadTrigger {
            pod_selector,
            group_by_node,
            activation_value,
            settings,
            ..
        } = &self.trigger;
        let pods = self.counter.pods(&settings.namespace, pod_selector).await?;
        #[allow(clippy::cast_precision_loss, reason = "pods are far fewer than 2^52")]
        let value = count(&pods, *group_by_node) as f64;
        Ok(Sample::single(
            &self.metric_name,
            value,
            value > *activation_value,
        ))
    }
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use scaler_api::{MetricTarget, Quantity, TriggerInput, metadata};

    use super::*;

    #[derive(Debug)]
    struct Pods(Vec<CountedPod>);

    #[async_trait]
    impl PodCounter for Pods {
        async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<CountedPod>, Error> {
            assert_eq!((namespace, selector), ("shop", "app=backend"));
            Ok(self.0.clone())
        }
    }

    fn pod(phase: &str, node: Option<&str>) -> CountedPod {
        CountedPod {
            phase: phase.to_owned(),
            node: node.map(str::to_owned),
        }
    }

    fn input(pairs: &[(&str, &str)]) -> TriggerInput {
        let mut metadata = BTreeMap::from([("podSelector".to_owned(), "app=backend".to_owned())]);
        metadata.extend(
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        let settings = TriggerSettings {
            namespace: "shop".into(),
            ..TriggerSettings::default()
        };
        TriggerInput {
            metadata,
            settings,
            ..TriggerInput::default()
        }
    }

    fn parse(pairs: &[(&str, &str)]) -> WorkloadTrigger {
        metadata::parse::<WorkloadTrigger>(&input(pairs))
            .expect("the metadata is good")
            .0
    }

    async fn sample(pairs: &[(&str, &str)], pods: Vec<CountedPod>) -> Sample {
        let context = Context::new().with(SharedPodCounter(Arc::new(Pods(pods))));
        parse(pairs)
            .connect(&context)
            .await
            .unwrap()
            .sample()
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn pods_count_until_they_are_done() {
        let pods = vec![
            pod("Running", Some("a")),
            pod("Pending", None),
            pod("Succeeded", Some("b")),
            pod("Failed", Some("c")),
            pod("Running", Some("a")),
            pod("", None),
        ];
        let name = "workload-shop";
        assert_eq!(
            sample(&[("value", "1")], pods.clone()).await,
            Sample::single(name, 4.0, true)
        );
        let by_node = [("value", "1"), ("groupByNode", "true")];
        assert_eq!(sample(&by_node, pods).await, Sample::single(name, 1.0, true));
    }

    #[tokio::test]
    async fn activation_is_strictly_greater() {
        for (pods, active) in [(3, false), (4, true)] {
            let pods = vec![pod("Running", None); pods];
            let sample = sample(&[("value", "1"), ("activationValue", "3")], pods).await;
            assert_eq!(sample.active, active, "{sample:?}");
        }
    }

    #[test]
    fn a_target_may_have_a_fraction_and_must_be_positive_unless_it_feeds_a_formula() {
        let target = MetricTarget::AverageValue(Quantity::from_millis(500));
        assert_eq!(*parse(&[("value", "0.5")]).metrics()[0].target(), target);
        for value in ["0", "-1", "0.0001"] {
            let problems = metadata::parse::<WorkloadTrigger>(&input(&[("value", value)])).unwrap_err();
            assert!(
                problems.to_string().contains("value must be greater than 0"),
                "{value}: {problems}"
            );
        }
        let mut formula = input(&[]);
        formula.settings.as_metric_source = true;
        assert!(metadata::parse::<WorkloadTrigger>(&formula).is_ok());
    }

    #[test]
    fn a_selector_that_is_none_is_refused() {
        let problems =
            metadata::parse::<WorkloadTrigger>(&input(&[("podSelector", "app in"), ("value", "1")]));
        assert!(
            problems
                .unwrap_err()
                .to_string()
                .contains("invalid podSelector \"app in\"")
        );
    }

    #[tokio::test]
    async fn without_a_counter_it_is_unsupported() {
        let error = parse(&[("value", "1")])
            .connect(&Context::new())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
