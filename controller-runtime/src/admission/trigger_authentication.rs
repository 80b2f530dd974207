//! The rules for a TriggerAuthentication and a ClusterTriggerAuthentication.

use scaler_api::keda::{OAuth2, PodIdentitySpec, TriggerAuthenticationSpec};

use super::{Findings, Severity};

const AUTHENTICATION: &str = "incorrect-authentication";

/// Every rule; `object` is `Kind namespace/name`.
#[must_use]
pub fn check(object: &str, spec: &TriggerAuthenticationSpec) -> Findings {
    let mut findings = Findings::about(object);
    if let Some(identity) = &spec.pod_identity {
        match identity.provider.as_str() {
            "azure-workload" => azure(identity, &mut findings),
            "aws" => aws(identity, &mut findings),
            _ => {}
        }
    }
    if let Some(oauth2) = &spec.oauth2 {
        client_credentials(oauth2, &mut findings);
    }
    findings
}

fn add(findings: &mut Findings, field: &str, value: &str, message: &str) {
    findings.add(
        Severity::AdmissionError,
        AUTHENTICATION,
        format!("spec.{field}"),
        value,
        message,
    );
}

fn is_given(text: Option<&String>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

fn azure(identity: &PodIdentitySpec, findings: &mut Findings) {
    if identity.identity_id.as_deref() == Some("") {
        let message = "is empty, expected the id of an identity, or no identityId at all";
        add(findings, "podIdentity.identityId", "", message);
    }
    let authority = identity.identity_authority_host.as_ref();
    if is_given(authority) && !is_given(identity.identity_tenant_id.as_ref()) {
        let message = "is missing, which identityAuthorityHost needs";
        add(findings, "podIdentity.identityTenantId", "", message);
    }
}

fn aws(identity: &PodIdentitySpec, findings: &mut Findings) {
    let role = identity.role_arn.as_ref().filter(|role| !role.is_empty());
    if let Some(role) = role
        && identity.identity_owner.as_deref() == Some("workload")
    {
        let message =
            "names a role, expected none where identityOwner is workload: the workload's own is taken";
        add(findings, "podIdentity.roleArn", role, message);
    }
    if is_given(identity.external_id.as_ref()) && role.is_none() {
        let message = "is missing, which externalID needs: it is a condition for assuming a role";
        add(findings, "podIdentity.roleArn", "", message);
    }
}

fn client_credentials(oauth2: &OAuth2, findings: &mut Findings) {
    if oauth2.client_id.is_empty() {
        add(
            findings,
            "oauth2.clientId",
            "",
            "is empty, expected the id of a client",
        );
    }
    let url = oauth2.token_url.parse::<http::Uri>();
    let is_http = url.is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    });
    if !is_http {
        let message = format!("is {:?}, expected an http or https URL", oauth2.token_url);
        add(findings, "oauth2.tokenUrl", &oauth2.token_url, &message);
    }
}

#[cfg(test)]
mod tests {
    //! keda.md §7, last paragraph.
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn section_7_each_row_is_refused_where_it_says() {
        let azure = |more: Value| with(json!({"provider": "azure-workload"}), &more);
        let aws = |more: Value| with(json!({"provider": "aws"}), &more);
        let oauth2 = |client: &str, url: &str| json!({"oauth2": {"clientId": client, "tokenUrl": url}});
        let cases = [
            (azure(json!({})), vec![]),
            (azure(json!({"identityId": "id"})), vec![]),
            (
                azure(json!({"identityId": ""})),
                vec!["spec.podIdentity.identityId"],
            ),
            (
                azure(json!({"identityAuthorityHost": "h"})),
                vec!["spec.podIdentity.identityTenantId"],
            ),
            (
                azure(json!({"identityAuthorityHost": "h", "identityTenantId": "t"})),
                vec![],
            ),
            (aws(json!({"roleArn": "r"})), vec![]),
            (aws(json!({"roleArn": "r", "identityOwner": "keda"})), vec![]),
            (aws(json!({"identityOwner": "workload"})), vec![]),
            (
                aws(json!({"roleArn": "r", "identityOwner": "workload"})),
                vec!["spec.podIdentity.roleArn"],
            ),
            (aws(json!({"externalID": "x"})), vec!["spec.podIdentity.roleArn"]),
            (aws(json!({"externalID": "x", "roleArn": "r"})), vec![]),
            (oauth2("c", "https://issuer/token"), vec![]),
            (oauth2("c", "http://issuer:8080/token"), vec![]),
            (
                oauth2("", "ftp://issuer"),
                vec!["spec.oauth2.clientId", "spec.oauth2.tokenUrl"],
            ),
            (oauth2("c", "issuer/token"), vec!["spec.oauth2.tokenUrl"]),
            (oauth2("c", ""), vec!["spec.oauth2.tokenUrl"]),
            (
                json!({"secretTargetRef": [{"parameter": "p", "name": "n", "key": "k"}]}),
                vec![],
            ),
        ];
        for (spec, expected) in cases {
            let parsed = serde_json::from_value(spec.clone()).unwrap();
            let findings = check("TriggerAuthentication shop/a", &parsed);
            let found: Vec<_> = findings
                .all()
                .iter()
                .map(|finding| finding.field.as_str())
                .collect();
            assert_eq!(found, expected, "{spec}");
        }
    }

    fn with(mut identity: Value, more: &Value) -> Value {
        let more = more.as_object().unwrap().clone();
        identity.as_object_mut().unwrap().extend(more);
        json!({"podIdentity": identity})
    }
}
