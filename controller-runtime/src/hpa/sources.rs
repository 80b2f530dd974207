//! What each type of metric asks for, or why it is invalid, in the words of Kubernetes.

use super::{
    LabelSelector,
    label_selector::display_optional,
    metrics::{InvalidMetric, MetricContext, MetricProposal, Reading},
    pods::{requests, resource_samples},
    replicas::{by_average_value, by_pod_average, by_utilization, total, total_for_average},
    spec::{
        CrossVersionObjectReference, ExternalMetric, Metric, MetricIdentifier, ObjectMetric, PodsMetric,
        Target, TargetType,
    },
    status::{
        ContainerResourceMetricStatus, ExternalMetricStatus, MetricStatus, MetricValueStatus,
        ObjectMetricStatus, PodsMetricStatus, ResourceMetricStatus,
    },
};

/// Computes one metric from what was read of it.
pub(super) fn propose(
    metric: &Metric,
    reading: &Reading,
    context: &MetricContext<'_>,
) -> Result<MetricProposal, InvalidMetric> {
    match metric {
        Metric::External(metric) => external(metric, reading, context),
        Metric::Object(metric) => object(metric, reading, context),
        Metric::Pods(metric) => pods(metric, reading, context),
        Metric::Resource(metric) => {
            let resource = Resource {
                name: &metric.name,
                container: None,
                target: &metric.target,
            };
            let (replicas, name, current) = resource.propose(reading, context).map_err(|error| {
                InvalidMetric::new("FailedGetResourceMetric", error, |error| {
                    format!("failed to get {} resource metric value: {error}", metric.name)
                })
            })?;
            let resource = Some(ResourceMetricStatus {
                current,
                name: metric.name.clone(),
            });
            let metric_type = "Resource".to_owned();
            let status = MetricStatus {
                metric_type,
                resource,
                ..MetricStatus::default()
            };
            Ok(MetricProposal {
                replicas,
                name,
                status,
            })
        }
        Metric::ContainerResource(metric) => {
            let container = Some(metric.container.as_str());
            let resource = Resource {
                name: &metric.name,
                container,
                target: &metric.target,
            };
            let (replicas, name, current) = resource.propose(reading, context).map_err(|error| {
                InvalidMetric::new("FailedGetContainerResourceMetric", error, |error| {
                    format!(
                        "failed to get {} container metric value: {error}",
                        metric.container
                    )
                })
            })?;
            let (container, name_of_resource) = (metric.container.clone(), metric.name.clone());
            let container_resource = Some(ContainerResourceMetricStatus {
                container,
                current,
                name: name_of_resource,
            });
            let metric_type = "ContainerResource".to_owned();
            let status = MetricStatus {
                metric_type,
                container_resource,
                ..MetricStatus::default()
            };
            Ok(MetricProposal {
                replicas,
                name,
                status,
            })
        }
        Metric::Unknown(metric_type) => {
            let error = format!("unknown metric source type {metric_type:?}");
            Err(InvalidMetric::new(
                "InvalidMetricSourceType",
                error,
                str::to_owned,
            ))
        }
    }
}

const EXTERNAL_API: &str = "external metrics API";
const CUSTOM_API: &str = "custom metrics API";
const RESOURCE_API: &str = "resource metrics API";

/// The error of a reading that is none, in the words of the client of that API.
fn unreadable(reading: &Reading, api: &str) -> String {
    match reading {
        Reading::Failed(error) => format!("unable to fetch metrics from {api}: {error}"),
        _ => format!("no metrics returned from {api}"),
    }
}

/// A selector that cannot be converted makes its metric invalid before anything is read.
fn check_selector(identifier: &MetricIdentifier) -> Result<(), String> {
    match identifier.selector.as_ref().map(LabelSelector::to_selector) {
        Some(Err(error)) => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn external(
    metric: &ExternalMetric,
    reading: &Reading,
    context: &MetricContext<'_>,
) -> Result<MetricProposal, InvalidMetric> {
    let name = &metric.metric.name;
    let invalid = |error: String, inner: &str| {
        InvalidMetric::new("FailedGetExternalMetric", error, |error| {
            format!("failed to get {name} external metric value: {inner}{error}")
        })
    };
    let (proposal, current) = if let Some(target) = metric.target.average_value {
        let values = external_values(metric, reading, context.namespace)
            .map_err(|error| invalid(error, &format!("failed to get {name} external metric: ")))?;
        let usage = total_for_average(values);
        let proposal = by_average_value(context.status_replicas, usage, target, context.tolerances);
        (proposal, MetricValueStatus::average_value(proposal.usage))
    } else if let Some(target) = metric.target.value {
        let proposal = external_values(metric, reading, context.namespace)
            .and_then(|values| context.by_value(total(values), target))
            .map_err(|error| invalid(error, &format!("failed to get external metric {name}: ")))?;
        (proposal, MetricValueStatus::value(proposal.usage))
    } else {
        let error =
            "invalid external metric source: neither a value target nor an average value target was set";
        return Err(invalid(error.to_owned(), ""));
    };
    let external = Some(ExternalMetricStatus {
        current,
        metric: metric.metric.clone(),
    });
    let status = MetricStatus {
        metric_type: "External".to_owned(),
        external,
        ..MetricStatus::default()
    };
    Ok(MetricProposal {
        replicas: proposal.replicas,
        name: shown_external(&metric.metric),
        status,
    })
}

fn external_values<'a>(
    metric: &ExternalMetric,
    reading: &'a Reading,
    namespace: &str,
) -> Result<&'a [i64], String> {
    check_selector(&metric.metric)?;
    match reading {
        Reading::External(values) if !values.is_empty() => Ok(values),
        other => {
            let error = unreadable(other, EXTERNAL_API);
            let MetricIdentifier { name, selector } = &metric.metric;
            let selector = display_optional(selector.as_ref());
            Err(format!(
                "unable to get external metric {namespace}/{name}/{selector}: {error}"
            ))
        }
    }
}

fn shown_external(MetricIdentifier { name, selector }: &MetricIdentifier) -> String {
    format!("external metric {name}({})", display_optional(selector.as_ref()))
}

fn object(
    metric: &ObjectMetric,
    reading: &Reading,
    context: &MetricContext<'_>,
) -> Result<MetricProposal, InvalidMetric> {
    let name = &metric.metric.name;
    let invalid = |error: String, inner: &str| {
        InvalidMetric::new("FailedGetObjectMetric", error, |error| {
            format!("failed to get object metric value: {inner}{error}")
        })
    };
    check_selector(&metric.metric).map_err(|error| invalid(error, ""))?;
    let (proposal, current, shown) = match metric.target {
        Target {
            target_type: TargetType::Value,
            value: Some(target),
            ..
        } => {
            let proposal = object_usage(metric, reading, context.namespace)
                .and_then(|usage| context.by_value(usage, target))
                .map_err(|error| invalid(error, ""))?;
            let shown = format!("{} metric {name}", metric.described_object.kind);
            (proposal, MetricValueStatus::value(proposal.usage), shown)
        }
        Target {
            target_type: TargetType::AverageValue,
            average_value: Some(target),
            ..
        } => {
            let usage = object_usage(metric, reading, context.namespace)
                .map_err(|error| invalid(error, &format!("failed to get {name} object metric: ")))?;
            let proposal = by_average_value(context.status_replicas, usage, target, context.tolerances);
            // Kubernetes calls it external; it is kept because people search for what it prints.
            (
                proposal,
                MetricValueStatus::average_value(proposal.usage),
                shown_external(&metric.metric),
            )
        }
        _ => {
            let error =
                "invalid object metric source: neither a value target nor an average value target was set";
            return Err(invalid(error.to_owned(), ""));
        }
    };
    let (described_object, identifier) = (metric.described_object.clone(), metric.metric.clone());
    let object = Some(ObjectMetricStatus {
        current,
        described_object,
        metric: identifier,
    });
    let status = MetricStatus {
        metric_type: "Object".to_owned(),
        object,
        ..MetricStatus::default()
    };
    Ok(MetricProposal {
        replicas: proposal.replicas,
        name: shown,
        status,
    })
}

fn object_usage(metric: &ObjectMetric, reading: &Reading, namespace: &str) -> Result<i64, String> {
    if let Reading::Object(usage) = reading {
        return Ok(*usage);
    }
    // Kubernetes joins these in an odd order; it is kept because people search for what it prints.
    let error = unreadable(reading, CUSTOM_API);
    let CrossVersionObjectReference { kind, name, .. } = &metric.described_object;
    Err(format!(
        "unable to get metric {}: {kind} on {namespace} {name}/{error}",
        metric.metric.name
    ))
}

fn pods(
    metric: &PodsMetric,
    reading: &Reading,
    context: &MetricContext<'_>,
) -> Result<MetricProposal, InvalidMetric> {
    let PodsMetric {
        metric: identifier,
        target,
    } = metric;
    let name = &identifier.name;
    let propose = || {
        if let Some(Err(error)) = identifier
            .selector
            .as_ref()
            .map(super::LabelSelector::to_selector)
        {
            return Err(error.to_string());
        }
        let samples = match reading {
            Reading::Pods(samples) if !samples.is_empty() => samples,
            other => {
                return Err(format!(
                    "unable to get metric {name}: {}",
                    unreadable(other, CUSTOM_API)
                ));
            }
        };
        let target = target.average_value.unwrap_or(0);
        by_pod_average(
            context.spec_replicas,
            samples,
            target,
            false,
            &context.pod_context(),
        )
        .map_err(|error| error.to_string())
    };
    let proposal = propose().map_err(|error| {
        InvalidMetric::new("FailedGetPodsMetric", error, |error| {
            format!("failed to get pods metric value: {error}")
        })
    })?;
    let current = MetricValueStatus::average_value(proposal.usage);
    let pods = Some(PodsMetricStatus {
        current,
        metric: identifier.clone(),
    });
    let status = MetricStatus {
        metric_type: "Pods".to_owned(),
        pods,
        ..MetricStatus::default()
    };
    Ok(MetricProposal {
        replicas: proposal.replicas,
        name: format!("pods metric {name}"),
        status,
    })
}

/// A resource of pods, or of one container of each.
struct Resource<'a> {
    name: &'a str,
    container: Option<&'a str>,
    target: &'a Target,
}

impl Resource<'_> {
    fn propose(
        &self,
        reading: &Reading,
        context: &MetricContext<'_>,
    ) -> Result<(i32, String, MetricValueStatus), String> {
        let Self {
            name,
            container,
            target,
        } = *self;
        let is_cpu = name == "cpu";
        let read = || match reading {
            Reading::Resource(usage) if !usage.is_empty() => Ok(resource_samples(usage, name, container)),
            other => Err(format!(
                "unable to get metrics for resource {name}: {}",
                unreadable(other, RESOURCE_API)
            )),
        };
        let current = context.spec_replicas;
        if let Some(target) = target.average_value {
            let proposal = read().and_then(|samples| {
                by_pod_average(current, &samples, target, is_cpu, &context.pod_context())
                    .map_err(|error| error.to_string())
            });
            let proposal = proposal.map_err(|error| format!("failed to get {name} usage: {error}"))?;
            let status = MetricValueStatus::resource(name, proposal.usage);
            return Ok((proposal.replicas, format!("{name} resource"), status));
        }
        let Some(percent) = target.average_utilization else {
            let error = "invalid resource metric source: neither an average utilization target nor an average value \
                         (usage) target was set";
            return Err(error.to_owned());
        };
        let requests = || requests(context.pods, name, container, context.config);
        let proposal = read().and_then(|samples| {
            by_utilization(
                current,
                &samples,
                requests,
                percent,
                is_cpu,
                &context.pod_context(),
            )
            .map_err(|error| error.to_string())
        });
        let proposal = proposal.map_err(|error| format!("failed to get {name} utilization: {error}"))?;
        let status = MetricValueStatus {
            average_utilization: Some(proposal.utilization),
            ..MetricValueStatus::resource(name, proposal.usage)
        };
        let part = if container.is_some() { " container" } else { "" };
        let shown = format!("{name}{part} resource utilization (percentage of request)");
        Ok((proposal.replicas, shown, status))
    }
}
