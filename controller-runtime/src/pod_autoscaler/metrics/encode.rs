//! The text: every metric with its series together, as the format wants it.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use scaler_api::keda::KEDA_VERSION;

use super::{
    State,
    registered::Counts,
    series::{MetricSeries, Series, TriggerSeries},
};
use crate::{cloud_events::metrics, store::ObjectKey};

/// What the metrics are written to.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

/// The words that tell the kinds apart.
#[derive(Clone, Copy)]
struct Words {
    /// `type` of most metrics.
    small: &'static str,
    /// `resourceType` of some.
    kind: &'static str,
}

const OBJECT: Words = Words {
    small: "scaledobject",
    kind: "ScaledObject",
};
const JOB: Words = Words {
    small: "scaledjob",
    kind: "ScaledJob",
};

/// One trigger's metric and whose it is.
struct Place<'a> {
    key: &'a ObjectKey,
    words: Words,
    trigger: &'a TriggerSeries,
    metric: &'a MetricSeries,
}

impl State {
    fn all(&self) -> impl Iterator<Item = (&ObjectKey, Words, &Series)> {
        let objects = self.objects.iter().map(|(key, series)| (key, OBJECT, series));
        let jobs = self.jobs.iter().map(|(key, series)| (key, JOB, series));
        objects.chain(jobs)
    }

    /// The first metric of each trigger.
    fn firsts(&self) -> impl Iterator<Item = Place<'_>> {
        self.places().filter(|place| {
            let first = place.trigger.metrics.first();
            first.is_some_and(|first| std::ptr::eq(first, place.metric))
        })
    }

    fn places(&self) -> impl Iterator<Item = Place<'_>> {
        self.all().flat_map(|(key, words, series)| {
            series.triggers.iter().flat_map(move |trigger| {
                trigger.metrics.iter().map(move |metric| Place {
                    key,
                    words,
                    trigger,
                    metric,
                })
            })
        })
    }
}

fn status(status: Option<u16>) -> String {
    status.map_or_else(|| "error".to_owned(), |status| status.to_string())
}

fn count(
    metric: &mut MetricEncoder<'_>,
    labels: &[(&'static str, &str)],
    count: u64,
) -> Result<(), fmt::Error> {
    ConstCounter::new(count).encode(metric.encode_family(&labels)?)
}

fn gauge(
    metric: &mut MetricEncoder<'_>,
    labels: &[(&'static str, &str)],
    value: f64,
) -> Result<(), fmt::Error> {
    ConstGauge::new(value).encode(metric.encode_family(&labels)?)
}

impl Page<'_> {
    fn begin<'a>(
        &'a mut self,
        name: &'a str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'a>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    /// `keda_build_info`.
    pub(super) fn build(&mut self) -> Result<(), fmt::Error> {
        let help = "The release of KEDA that this program stands in for, and what it was built with";
        let labels = [
            ("version", KEDA_VERSION),
            ("git_commit", option_env!("GIT_COMMIT").unwrap_or("unknown")),
            ("goversion", concat!("rust", env!("CARGO_PKG_RUST_VERSION"))),
            ("goos", std::env::consts::OS),
            ("goarch", goarch()),
        ];
        let mut metric = self.begin("keda_build_info", help, MetricType::Gauge)?;
        gauge(&mut metric, &labels, 1.0)
    }

    /// What is said of each trigger's metrics.
    pub(super) fn scalers(&mut self, state: &State) -> Result<(), fmt::Error> {
        type Value = fn(&Place<'_>) -> Option<f64>;
        let gauges: [(&str, &str, Value); 3] = [
            (
                "keda_scaler_metrics_value",
                "The last value of each metric of a scaler, which the HPA divides by the target",
                |place| place.metric.value,
            ),
            (
                "keda_scaler_metrics_latency_seconds",
                "Time that the last sample took, connecting included",
                |place| place.trigger.latency.map(|latency| latency.as_secs_f64()),
            ),
            (
                "keda_scaler_active",
                "Whether the scaler was active at its last sample",
                |place| place.trigger.active.map(|active| f64::from(u8::from(active))),
            ),
        ];
        for (name, help, value) in gauges {
            let mut metric = self.begin(name, help, MetricType::Gauge)?;
            for place in state.places() {
                if let Some(value) = value(&place) {
                    gauge(&mut metric, &place.labels(), value)?;
                }
            }
        }
        let help = "Samples that failed";
        let mut metric = self.begin("keda_scaler_detail_errors", help, MetricType::Counter)?;
        for place in state.places() {
            count(&mut metric, &place.labels(), place.trigger.errors)?;
        }
        let help = "Answers of a source that had no value";
        let mut metric = self.begin("keda_scaler_empty_upstream_responses", help, MetricType::Counter)?;
        for place in state.firsts() {
            let TriggerSeries {
                empty_as_zero,
                empty_as_error,
                ..
            } = place.trigger;
            for (ignored, number) in [("true", *empty_as_zero), ("false", *empty_as_error)] {
                if number > 0 {
                    count(&mut metric, &place.empty_labels(ignored), number)?;
                }
            }
        }
        Ok(())
    }

    /// What is said of each object.
    pub(super) fn objects(&mut self, state: &State) -> Result<(), fmt::Error> {
        for (name, label, help, objects) in [
            (
                "keda_scaled_object_errors",
                "scaledObject",
                "Failures of a ScaledObject or of its triggers",
                &state.objects,
            ),
            (
                "keda_scaled_job_errors",
                "scaledJob",
                "Failures of a ScaledJob or of its triggers",
                &state.jobs,
            ),
        ] {
            let mut metric = self.begin(name, help, MetricType::Counter)?;
            for (key, series) in objects {
                let labels = [("namespace", key.namespace.as_str()), (label, key.name.as_str())];
                count(&mut metric, &labels, series.errors)?;
            }
        }
        let help = "Whether a ScaledObject is paused";
        let mut metric = self.begin("keda_scaled_object_paused", help, MetricType::Gauge)?;
        for (key, series) in &state.objects {
            let labels = [("namespace", key.namespace.as_str()), ("scaledObject", &key.name)];
            if let Some(paused) = series.paused {
                gauge(&mut metric, &labels, f64::from(u8::from(paused)))?;
            }
        }
        let (name, help) = (
            "keda_internal_scale_loop_latency_seconds",
            "How late the last check of an object began",
        );
        let mut metric = self.begin(name, help, MetricType::Gauge)?;
        for (key, words, series) in state.all() {
            let labels = [
                ("namespace", key.namespace.as_str()),
                ("type", words.small),
                ("resource", &key.name),
            ];
            if let Some(late) = series.late {
                gauge(&mut metric, &labels, late.as_secs_f64())?;
            }
        }
        Ok(())
    }

    /// Requests over HTTP.
    pub(super) fn requests(&mut self, state: &State) -> Result<(), fmt::Error> {
        let help = "Requests over HTTP for samples";
        let mut metric = self.begin("keda_scaler_http_requests", help, MetricType::Counter)?;
        for place in state.firsts() {
            for (code, number) in &place.trigger.requests {
                let code = status(*code);
                count(&mut metric, &place.request_labels(&code), *number)?;
            }
        }
        let (name, help) = (
            "keda_scaler_http_request_duration_seconds",
            "Time to the head of the answer of requests over HTTP for samples",
        );
        let mut metric = self.begin(name, help, MetricType::Histogram)?;
        for ((scaler, code), histogram) in &state.durations {
            let code = status(*code);
            let labels = [("scaler", scaler.as_str()), ("status_code", &code)];
            histogram.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// CloudEvents that were sent, and those that wait.
    pub(super) fn cloud_events(&mut self, counts: &metrics::Counts) -> Result<(), fmt::Error> {
        let help = "CloudEvents by source, destination and whether they were taken";
        let name = "keda_cloudeventsource_events_emitted";
        let mut metric = self.begin(name, help, MetricType::Counter)?;
        for (sent, number) in &counts.sent {
            let labels = [
                ("namespace", sent.namespace.as_str()),
                ("cloudeventsource", &sent.source.name),
                ("eventsink", sent.sink),
                ("state", sent.state),
            ];
            count(&mut metric, &labels, *number)?;
        }
        let help = "CloudEvents that wait for their receiver, by the namespace of their source";
        let mut metric = self.begin("keda_cloudeventsource_events_queued", help, MetricType::Gauge)?;
        for (namespace, number) in counts.queued_by_namespace() {
            #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
            gauge(&mut metric, &[("namespace", namespace)], number as f64)?;
        }
        Ok(())
    }

    /// How many resources and triggers there are.
    pub(super) fn registered(&mut self, counts: &Counts) -> Result<(), fmt::Error> {
        // Numbers of what there is exceed no double's precision.
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        let number = |count: u64| count as f64;
        let help = "Triggers by type";
        let mut metric = self.begin("keda_trigger_registered_total", help, MetricType::Gauge)?;
        for (trigger_type, count) in &counts.triggers {
            gauge(&mut metric, &[("type", trigger_type)], number(*count))?;
        }
        let help = "Resources of KEDA by type and namespace";
        let mut metric = self.begin("keda_resource_registered_total", help, MetricType::Gauge)?;
        for ((resource, namespace), count) in &counts.resources {
            let labels = [("type", *resource), ("namespace", namespace.as_str())];
            gauge(&mut metric, &labels, number(*count))?;
        }
        Ok(())
    }
}

impl Place<'_> {
    fn labels(&self) -> [(&'static str, &str); 6] {
        [
            ("namespace", &self.key.namespace),
            ("metric", &self.metric.name),
            // That of a ScaledJob, too; `type` tells which it is.
            ("scaledObject", &self.key.name),
            ("scaler", &self.trigger.scaler),
            ("triggerIndex", &self.trigger.index),
            ("type", self.words.small),
        ]
    }

    fn empty_labels<'a>(&'a self, ignored: &'a str) -> [(&'static str, &'a str); 6] {
        [
            ("namespace", &self.key.namespace),
            ("scaledResource", &self.key.name),
            ("triggerName", &self.trigger.name),
            ("metricName", &self.metric.name),
            ("resourceType", self.words.kind),
            ("ignoreNullValues", ignored),
        ]
    }

    fn request_labels<'a>(&'a self, code: &'a str) -> [(&'static str, &'a str); 6] {
        [
            ("namespace", &self.key.namespace),
            ("scaled_resource", &self.key.name),
            ("scaler", &self.trigger.trigger_type),
            ("trigger_name", &self.trigger.name),
            ("metric_name", &self.metric.name),
            ("status_code", code),
        ]
    }
}

/// The processor's architecture in Go's words.
fn goarch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
