//! What the objects of the API server lack to trust the certificate.

use k8s_openapi::{
    ByteString, api::admissionregistration::v1::ValidatingWebhookConfiguration,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use serde_json::{Value, json};

/// The merge patch after which an APIService carries `bundle`; `None` where it does, or is not served by a Service.
pub(super) fn for_api_service(object: &APIService, bundle: &ByteString) -> Option<Value> {
    let spec = object.spec.as_ref()?;
    spec.service.as_ref()?;
    // The API server refuses a bundle beside the permission to do without.
    let is_insecure = spec.insecure_skip_tls_verify == Some(true);
    if spec.ca_bundle.as_ref() == Some(bundle) && !is_insecure {
        return None;
    }
    let mut patch = json!({"spec": {"caBundle": bundle}});
    if is_insecure {
        patch["spec"]["insecureSkipTLSVerify"] = Value::Null;
    }
    Some(patch)
}

/// The strategic merge patch after which every webhook carries `bundle`; `None` where they do.
pub(super) fn for_webhooks(object: &ValidatingWebhookConfiguration, bundle: &ByteString) -> Option<Value> {
    let webhooks = object.webhooks.iter().flatten();
    let lacking: Vec<Value> = webhooks
        .filter(|webhook| webhook.client_config.ca_bundle.as_ref() != Some(bundle))
        .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}}))
        .collect();
    (!lacking.is_empty()).then(|| json!({"webhooks": lacking}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> ByteString {
        ByteString(b"ours".to_vec())
    }

    #[test]
    fn an_api_service_is_patched_where_it_carries_something_else() {
        let service = json!({"namespace": "n", "name": "s"});
        let ours = json!({"spec": {"caBundle": "b3Vycw=="}});
        let cases = [
            (json!({"service": service}), Some(ours.clone())),
            (json!({"service": service, "caBundle": "dGhlaXJz"}), Some(ours)),
            (json!({"service": service, "caBundle": "b3Vycw=="}), None),
            (
                json!({"service": service, "insecureSkipTLSVerify": true}),
                Some(json!({"spec": {"caBundle": "b3Vycw==", "insecureSkipTLSVerify": null}})),
            ),
            (json!({}), None),
        ];
        for (spec, expected) in cases {
            let mut object = json!({"spec": spec});
            object["spec"]["groupPriorityMinimum"] = 1.into();
            object["spec"]["versionPriority"] = 1.into();
            let object: APIService = serde_json::from_value(object).unwrap();
            assert_eq!(for_api_service(&object, &bundle()), expected, "{spec}");
        }
    }

    #[test]
    fn only_the_webhooks_that_lack_the_bundle_are_named() {
        let webhook = |name: &str, bundle: &str| {
            json!({
                "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {"url": "https://x", "caBundle": bundle},
            })
        };
        let object = |webhooks: Value| serde_json::from_value(json!({"webhooks": webhooks})).unwrap();
        let some = object(json!([
            webhook("a", "b3Vycw=="),
            webhook("b", "dGhlaXJz"),
            webhook("c", "")
        ]));
        let lacks = |name: &str| json!({"name": name, "clientConfig": {"caBundle": "b3Vycw=="}});
        assert_eq!(
            for_webhooks(&some, &bundle()),
            Some(json!({"webhooks": [lacks("b"), lacks("c")]}))
        );
        let all = object(json!([webhook("a", "b3Vycw==")]));
        assert_eq!(for_webhooks(&all, &bundle()), None);
    }
}
