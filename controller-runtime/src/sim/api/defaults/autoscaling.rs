//! Defaults of HorizontalPodAutoscalers.

use serde_json::{Value, json};

use crate::sim::api::value::{self, default};

/// One replica at least, 80 % of CPU without metrics; scaling rules only where a behavior is given.
pub(super) fn autoscaler(object: &mut Value) {
    default(object, &["spec", "minReplicas"], 1);
    default(
        object,
        &["status"],
        json!({"currentMetrics": null, "desiredReplicas": 0}),
    );
    if value::items(object, &["spec", "metrics"]).is_empty() {
        let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}});
        value::set(
            object,
            &["spec", "metrics"],
            json!([{"type": "Resource", "resource": cpu}]),
        );
    }
    if value::at(object, &["spec", "behavior"]).is_none_or(|behavior| !behavior.is_object()) {
        return;
    }
    default(
        object,
        &["spec", "behavior", "scaleUp", "stabilizationWindowSeconds"],
        0,
    );
    for (direction, policies) in [
        (
            "scaleUp",
            json!([
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]),
        ),
        (
            "scaleDown",
            json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]),
        ),
    ] {
        default(object, &["spec", "behavior", direction, "selectPolicy"], "Max");
        default(object, &["spec", "behavior", direction, "policies"], policies);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behavior_is_filled_in_only_where_there_is_one() {
        let mut plain = json!({"spec": {"maxReplicas": 3}});
        autoscaler(&mut plain);
        assert_eq!(plain["spec"]["minReplicas"], 1);
        assert_eq!(
            plain["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
            80
        );
        assert!(plain["spec"].get("behavior").is_none());

        let mut given =
            json!({"spec": {"maxReplicas": 3, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}}});
        autoscaler(&mut given);
        let behavior = &given["spec"]["behavior"];
        assert_eq!(behavior["scaleUp"]["stabilizationWindowSeconds"], 0);
        assert_eq!(behavior["scaleUp"]["policies"].as_array().unwrap().len(), 2);
        assert_eq!(behavior["scaleDown"]["stabilizationWindowSeconds"], 5);
        assert_eq!(behavior["scaleDown"]["selectPolicy"], "Max");
    }
}
