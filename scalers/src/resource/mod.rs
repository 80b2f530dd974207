#![doc = include_str!("docs.md")]

use std::{fmt, marker::PhantomData};

use async_trait::async_trait;
use scaler_api::{
    Context, Error, Field, MetricSpec, MetricTarget, MetricType, Problems, Quantity, Sample, Scaler,
    SourceKey, Trigger, TriggerSettings,
};
use serde::Deserialize;

/// What pods use.
pub trait Resource: fmt::Debug + Send + Sync + 'static {
    /// Its name in Kubernetes, which is the type of its trigger.
    const NAME: &'static str;
    /// An example of metadata.
    const EXAMPLE: &'static str;
    /// What is measured, in one line.
    const SUMMARY: &'static str;
}

/// Time on processors.
#[derive(Clone, Copy, Debug)]
pub enum Cpu {}

impl Resource for Cpu {
    const NAME: &'static str = "cpu";
    const EXAMPLE: &'static str = "value: 500m\n";
    const SUMMARY: &'static str = "the processor time that the pods use, read by the HPA itself";
}

/// Memory.
#[derive(Clone, Copy, Debug)]
pub enum Memory {}

impl Resource for Memory {
    const NAME: &'static str = "memory";
    const EXAMPLE: &'static str = "value: 1Gi\n";
    const SUMMARY: &'static str = "the memory that the pods use, read by the HPA itself";
}

/// The metadata of `cpu`.
pub type CpuTrigger = ResourceTrigger<Cpu>;
/// The metadata of `memory`.
pub type MemoryTrigger = ResourceTrigger<Memory>;

/// The metadata of `cpu` and `memory`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct ResourceTrigger<R> {
    value: String,
    #[serde(default)]
    container_name: String,
    #[serde(rename = "type")]
    kind_of_value: Option<String>,
    #[serde(skip)]
    settings: TriggerSettings,
    #[serde(skip)]
    resource: PhantomData<R>,
}

const FIELDS: &[Field] = &[
    Field::new(
        "value",
        "Percent of the requests with metricType Utilization, an amount per pod with AverageValue.",
    )
    .required(),
    Field::new(
        "containerName",
        "The container that counts; all of the pod by default.",
    ),
    Field::new(
        "type",
        "Refused, as KEDA does since 2.18: `metricType` stands beside the metadata.",
    ),
];

impl<R: Resource> ResourceTrigger<R> {
    fn target(&self) -> Result<MetricTarget, String> {
        match self.settings.metric_type {
            MetricType::Utilization => match self.value.parse() {
                Ok(percent) if percent > 0 => Ok(MetricTarget::Utilization(percent)),
                _ => Err("expected percent of the requests as a whole number greater than 0".to_owned()),
            },
            MetricType::AverageValue => match self.value.parse::<Quantity>() {
                Ok(amount) if amount > Quantity::ZERO => Ok(MetricTarget::AverageValue(amount)),
                _ => Err("expected an amount greater than 0 such as 500m or 1Gi".to_owned()),
            },
            MetricType::Value => Err(format!(
                "unsupported metric type, allowed values are 'Utilization' or 'AverageValue' for {}",
                R::NAME
            )),
        }
    }
}

impl<R: Resource> Trigger for ResourceTrigger<R> {
    const TYPE: &'static str = R::NAME;
    type Scaler = Nothing;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        R::EXAMPLE
    }

    fn summary() -> &'static str {
        R::SUMMARY
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        if let Some(word) = &self.kind_of_value {
            let message = "type is no key any more, expected metricType beside the metadata";
            problems.error("type", word, message);
        }
        if let Err(problem) = self.target() {
            match self.settings.metric_type {
                MetricType::Value => problems.error("metricType", MetricType::Value.as_str(), problem),
                _ => problems.error("value", &self.value, problem),
            }
        }
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        let name = R::NAME.to_owned();
        // What has no target was refused by `check`.
        let Ok(target) = self.target() else {
            return Vec::new();
        };
        vec![match self.container_name.as_str() {
            "" => MetricSpec::Resource { name, target },
            container => MetricSpec::ContainerResource {
                name,
                container: container.to_owned(),
                target,
            },
        }]
    }

    fn source_key(&self) -> SourceKey {
        SourceKey::new(Self::TYPE)
    }

    async fn connect(self, _context: &Context) -> Result<Nothing, Error> {
        Err(Error::invalid(format!("{} is read by the HPA itself", R::NAME)))
    }
}

/// There is nothing to sample.
#[derive(Clone, Copy, Debug)]
pub enum Nothing {}

#[async_trait]
impl Scaler for Nothing {
    async fn sample(&self) -> Result<Sample, Error> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    //! keda.md §2.1, §2.2.
    use std::collections::BTreeMap;

    use scaler_api::{Registry, TriggerInput};

    use super::*;

    fn metrics(
        type_: &str,
        metric_type: MetricType,
        metadata: &[(&str, &str)],
    ) -> Result<Vec<MetricSpec>, String> {
        let mut registry = Registry::new();
        registry.register::<CpuTrigger>();
        registry.register::<MemoryTrigger>();
        let pairs = metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let input = TriggerInput {
            metadata: BTreeMap::from_iter(pairs),
            settings: TriggerSettings {
                metric_type,
                ..TriggerSettings::default()
            },
            ..TriggerInput::default()
        };
        let parsed = registry.parse(type_, &input);
        parsed
            .map(|parsed| parsed.trigger.metrics())
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn section_2_1_the_hpa_gets_a_resource_metric_of_the_pod_or_of_a_container() {
        let found = metrics("cpu", MetricType::Utilization, &[("value", "50")]).unwrap();
        let (name, target) = ("cpu".to_owned(), MetricTarget::Utilization(50));
        assert_eq!(found, [MetricSpec::Resource { name, target }]);
        let metadata = [("value", "1.5Gi"), ("containerName", "app")];
        let found = metrics("memory", MetricType::AverageValue, &metadata).unwrap();
        let expected = MetricSpec::ContainerResource {
            name: "memory".to_owned(),
            container: "app".to_owned(),
            target: MetricTarget::AverageValue("1536Mi".parse().unwrap()),
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn section_2_2_what_is_no_target_is_refused() {
        let cases = [
            (MetricType::Utilization, "half", "whole number"),
            (MetricType::Utilization, "0", "greater than 0"),
            (MetricType::AverageValue, "much", "an amount"),
            (MetricType::AverageValue, "-1", "greater than 0"),
            (MetricType::Value, "1", "'Utilization' or 'AverageValue'"),
        ];
        for (metric_type, value, expected) in cases {
            let problem = metrics("cpu", metric_type, &[("value", value)]).unwrap_err();
            assert!(problem.contains(expected), "{metric_type} {value}: {problem}");
        }
        let old = [("value", "50"), ("type", "Utilization")];
        let problem = metrics("cpu", MetricType::Utilization, &old).unwrap_err();
        assert!(
            problem.contains("expected metricType beside the metadata"),
            "{problem}"
        );
        assert!(
            metrics("cpu", MetricType::Utilization, &[])
                .unwrap_err()
                .contains("value")
        );
    }
}
