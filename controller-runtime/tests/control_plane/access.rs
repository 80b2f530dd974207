//! Who may do what.

use controller_runtime::envtest::{ControlPlane, shared_or_skip};
use k8s_openapi::{
    api::{
        authentication::v1::{SelfSubjectReview, TokenRequest, TokenRequestSpec},
        core::v1::{ConfigMap, Secret, ServiceAccount},
        rbac::v1::RoleBinding,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, KeyPair};
use serde_json::{Value, json};

use crate::support::{client_of, code};

/// The administrator's kubeconfig with another user's credentials.
async fn with_credentials(control_plane: &ControlPlane, user: Value) -> Client {
    let text = std::fs::read(control_plane.kubeconfig()).expect("a kubeconfig");
    let mut kubeconfig: Value = serde_json::from_slice(&text).expect("JSON");
    kubeconfig["users"][0]["user"] = user;
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("usable")).expect("a client")
}

async fn who(client: Client) -> Result<(String, Vec<String>), kube::Error> {
    let reviews: Api<SelfSubjectReview> = Api::all(client);
    let review = reviews
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await?;
    let user = review
        .status
        .and_then(|status| status.user_info)
        .unwrap_or_default();
    Ok((user.username.unwrap_or_default(), user.groups.unwrap_or_default()))
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let Some(control_plane) = shared_or_skip().await else {
        return;
    };
    let mut authority = CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "kubernetes-ca");
    let authority =
        CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("signed");
    let mut admin = CertificateParams::default();
    admin
        .distinguished_name
        .push(DnType::CommonName, "kubernetes-admin");
    admin
        .distinguished_name
        .push(DnType::OrganizationName, "system:masters");
    admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    let certificate = admin.signed_by(&key, &authority).expect("signed");
    let bytes = |pem: String| json!(k8s_openapi::ByteString(pem.into_bytes()));
    let user = json!({
        "client-certificate-data": bytes(certificate.pem()),
        "client-key-data": bytes(key.serialize_pem()),
    });
    let error = who(with_credentials(control_plane, user).await)
        .await
        .expect_err("an impostor");
    assert_eq!(code(&error), 401);
}

#[tokio::test]
async fn a_token_that_nobody_signed_is_refused() {
    let Some(control_plane) = shared_or_skip().await else {
        return;
    };
    let client = with_credentials(control_plane, json!({"token": "forged"})).await;
    let error = who(client).await.expect_err("an impostor");
    assert_eq!(code(&error), 401);
}

#[tokio::test]
async fn whoever_has_no_role_may_do_nothing_and_a_group_may_get_one() {
    let Some(control_plane) = shared_or_skip().await else {
        return;
    };
    let kubeconfig = control_plane
        .kubeconfig_for("alice", &["readers"])
        .expect("a kubeconfig");
    let client = client_of(&kubeconfig).await;
    let (name, groups) = who(client.clone()).await.expect("authenticated");
    assert_eq!(name, "alice");
    assert!(groups.contains(&"readers".to_owned()), "{groups:?}");
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let error = config_maps
        .list(&ListParams::default())
        .await
        .expect_err("no role");
    assert_eq!(code(&error), 403);

    let bindings: Api<RoleBinding> = Api::namespaced(control_plane.client("default"), "default");
    let binding = json!({
        "metadata": {"name": "readers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "readers"}],
    });
    let binding = serde_json::from_value(binding).expect("a binding");
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .expect("the administrator may");
    crate::support::eventually("the role is known", || async {
        config_maps.list(&ListParams::default()).await.ok()
    })
    .await;
    let secrets: Api<Secret> = Api::namespaced(client, "default");
    let error = secrets
        .list(&ListParams::default())
        .await
        .expect_err("`view` has no secrets");
    assert_eq!(code(&error), 403);
}

#[tokio::test]
async fn a_user_may_be_in_several_groups() {
    let Some(control_plane) = shared_or_skip().await else {
        return;
    };
    let kubeconfig = control_plane
        .kubeconfig_for("bob", &["one", "two"])
        .expect("a kubeconfig");
    let (name, groups) = who(client_of(&kubeconfig).await).await.expect("authenticated");
    assert_eq!(name, "bob");
    for group in ["one", "two", "system:authenticated"] {
        assert!(
            groups.iter().any(|member| member == group),
            "{group} is not in {groups:?}"
        );
    }
    assert!(!groups.iter().any(|group| group == "system:masters"));
}

#[tokio::test]
async fn a_service_account_gets_a_token_that_authenticates_it() {
    let Some(control_plane) = shared_or_skip().await else {
        return;
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(control_plane.client("default"), "default");
    let request = TokenRequest {
        spec: TokenRequestSpec::default(),
        ..TokenRequest::default()
    };
    let token = accounts
        .create_token_request("default", &PostParams::default(), &request)
        .await
        .expect("tokens are issued")
        .status
        .expect("a token");
    let client = with_credentials(control_plane, json!({"token": token.token})).await;
    let (name, groups) = who(client.clone()).await.expect("authenticated");
    assert_eq!(name, "system:serviceaccount:default:default");
    assert!(
        groups.contains(&"system:serviceaccounts:default".to_owned()),
        "{groups:?}"
    );
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    let error = definitions
        .list(&ListParams::default())
        .await
        .expect_err("no role");
    assert_eq!(code(&error), 403);
}
