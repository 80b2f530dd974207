//! The rules for a CloudEventSource and a ClusterCloudEventSource.

use scaler_api::{
    keda::{CLOUD_EVENT_TYPES, CloudEventSourceSpec},
    metadata::nearest,
};

use super::{Findings, Severity};

const EVENTING: &str = "incorrect-event-source";

/// Every rule; `object` is `Kind namespace/name`.
#[must_use]
pub fn check(object: &str, spec: &CloudEventSourceSpec) -> Findings {
    let mut findings = Findings::about(object);
    let Some(subscription) = &spec.event_subscription else {
        return findings;
    };
    let included = subscription.included_event_types.as_deref();
    let excluded = subscription.excluded_event_types.as_deref();
    if included.is_some() && excluded.is_some() {
        findings.add(
            Severity::AdmissionError,
            EVENTING,
            "spec.eventSubscription",
            "",
            "has both includedEventTypes and excludedEventTypes, expected one of them",
        );
    }
    for (list, types) in [("includedEventTypes", included), ("excludedEventTypes", excluded)] {
        for (index, event_type) in types.unwrap_or_default().iter().enumerate() {
            if !CLOUD_EVENT_TYPES.contains(&event_type.as_str()) {
                unknown(&mut findings, list, index, event_type);
            }
        }
    }
    findings
}

fn unknown(findings: &mut Findings, list: &str, index: usize, event_type: &str) {
    let hint = nearest(event_type, CLOUD_EVENT_TYPES.into_iter())
        .map_or_else(String::new, |nearest| format!(" (did you mean {nearest:?}?)"));
    findings.add(
        Severity::AdmissionError,
        EVENTING,
        format!("spec.eventSubscription.{list}[{index}]"),
        event_type,
        format!("{event_type:?} is no type of event{hint}"),
    );
}
