//! Kubeconfig files that hold everything: certificates are inside, so that a copy works anywhere on this machine.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::pki::Identity;

/// Where a kubeconfig leads, and as whom.
#[derive(Debug)]
pub(super) struct Access<'a> {
    pub(super) server: &'a str,
    pub(super) authority: &'a str,
    pub(super) identity: &'a Identity,
    /// The user and groups to act as, if they are not the certificate's.
    pub(super) impersonate: Option<(&'a str, &'a [&'a str])>,
}

/// The kubeconfig, in JSON, which is YAML too.
pub(super) fn kubeconfig(access: &Access<'_>) -> Value {
    let mut user = json!({
        "client-certificate-data": base64(&access.identity.certificate),
        "client-key-data": base64(&access.identity.key),
    });
    if let Some((name, groups)) = access.impersonate {
        user["as"] = json!(name);
        user["as-groups"] = json!(groups);
    }
    let name = "control-plane";
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": access.server,
            "certificate-authority-data": base64(access.authority),
        }}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    })
}

fn base64(text: &str) -> Value {
    json!(ByteString(text.as_bytes().to_vec()))
}

#[cfg(test)]
mod checks {
    use super::*;

    fn identity() -> Identity {
        Identity {
            certificate: "certificate".to_owned(),
            key: "key".to_owned(),
        }
    }

    #[test]
    fn a_kubeconfig_is_what_kube_reads() {
        let value = kubeconfig(&Access {
            server: "https://127.0.0.1:6443",
            authority: "authority",
            identity: &identity(),
            impersonate: None,
        });
        let parsed: kube::config::Kubeconfig = serde_json::from_value(value).expect("a kubeconfig");
        let cluster = parsed.clusters[0].cluster.as_ref().expect("a cluster");
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:6443"));
        assert_eq!(
            cluster.certificate_authority_data.as_deref(),
            Some("YXV0aG9yaXR5")
        );
        let user = parsed.auth_infos[0].auth_info.as_ref().expect("a user");
        assert_eq!(user.client_certificate_data.as_deref(), Some("Y2VydGlmaWNhdGU="));
        assert_eq!(user.impersonate, None);
        assert_eq!(parsed.current_context.as_deref(), Some("control-plane"));
    }

    #[test]
    fn whoever_is_in_several_groups_is_impersonated() {
        let value = kubeconfig(&Access {
            server: "https://127.0.0.1:6443",
            authority: "authority",
            identity: &identity(),
            impersonate: Some(("alice", &["one", "two"])),
        });
        let user = &value["users"][0]["user"];
        assert_eq!(user["as"], "alice");
        assert_eq!(user["as-groups"], json!(["one", "two"]));
    }
}
