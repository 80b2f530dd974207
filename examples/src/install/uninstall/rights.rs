//! What `autoscaler manifests` prints besides the definitions: how the process is asked, itself, and its rights.

use std::time::Duration;

use kube::ResourceExt as _;

use super::{
    kinds::{
        API_SERVICE, BUDGET, CERTIFICATE, CLAIM, CLUSTER_ROLE, CLUSTER_ROLE_BINDING, DAEMON_SET, DEPLOYMENT,
        ISSUER, JOB, LEASE, NAMESPACE, POD, ROLE, ROLE_BINDING, SECRET, SERVICE, SERVICE_ACCOUNT,
        STATEFUL_SET, WEBHOOK,
    },
    session::Session,
};
use crate::{
    install::{connect::Kind, manifests},
    names,
};

/// The label of everything that is installed.
const OURS: &str = "app.kubernetes.io/name=autoscaler";

/// Nobody asks the process any more: an APIService without anybody behind it would break discovery for the whole cluster.
pub(super) async fn unregister(session: &Session) -> anyhow::Result<()> {
    if let Some(object) = session.get(API_SERVICE, None, names::API_SERVICE).await? {
        let service = &object.data["spec"]["service"];
        if service["name"] == names::NAME && service["namespace"] == session.namespace.as_str() {
            session.delete_this(API_SERVICE, &object).await?;
        } else {
            let (namespace, name) = (&service["namespace"], &service["name"]);
            session.say(&format!(
                "APIService {} left: it belongs to Service {}/{}",
                names::API_SERVICE,
                namespace.as_str().unwrap_or("?"),
                name.as_str().unwrap_or("?")
            ));
        }
    }
    session.delete(WEBHOOK, None, names::WEBHOOK_CONFIGURATION).await
}

/// The process ends, and with it everything that would make again what is taken away.
pub(super) async fn stop(session: &Session, limit: Duration) -> anyhow::Result<()> {
    let namespace = Some(session.namespace.as_str());
    session.delete(BUDGET, namespace, names::NAME).await?;
    session.delete(DEPLOYMENT, namespace, names::NAME).await?;
    let selector = format!("{OURS},app.kubernetes.io/component=controller");
    session
        .wait(limit, async || {
            let pods = session.list(POD, namespace, &selector).await?;
            let names: Vec<_> = pods.iter().map(|pod| pod.name_any()).collect();
            Ok((!names.is_empty()).then(|| format!("Pod {}", names.join(", "))))
        })
        .await?;
    for name in [names::LEASE, names::LEASE_PODS, names::LEASE_NODES] {
        let Some(lease) = session.get(LEASE, namespace, name).await? else {
            continue;
        };
        if let Some(holder) = lease.data["spec"]["holderIdentity"]
            .as_str()
            .filter(|holder| !holder.is_empty())
        {
            session.say(&format!(
                "Lease {name} is held by {holder}: if that process still runs outside the cluster, end it"
            ));
        }
        session.delete_this(LEASE, &lease).await?;
    }
    Ok(())
}

/// Roles, the Service, the certificate, and the namespace if nothing else is in it.
pub(super) async fn revoke(session: &Session) -> anyhow::Result<()> {
    for kind in [CLUSTER_ROLE_BINDING, ROLE_BINDING, CLUSTER_ROLE, ROLE] {
        for object in session.list(kind, None, OURS).await? {
            if object.name_any().starts_with(names::NAME) {
                session.delete_this(kind, &object).await?;
            }
        }
    }
    let namespace = Some(session.namespace.as_str());
    for kind in [CERTIFICATE, ISSUER, SERVICE] {
        session.delete(kind, namespace, names::NAME).await?;
    }
    session
        .delete(SECRET, namespace, names::CERTIFICATE_SECRET)
        .await?;
    for account in session.list(SERVICE_ACCOUNT, namespace, OURS).await? {
        session.delete_this(SERVICE_ACCOUNT, &account).await?;
    }
    own_namespace(session).await
}

async fn own_namespace(session: &Session) -> anyhow::Result<()> {
    /// What shows that somebody else lives there.
    const INHABITANTS: [Kind; 7] = [DEPLOYMENT, STATEFUL_SET, DAEMON_SET, JOB, POD, CLAIM, SERVICE];
    let name = session.namespace.as_str();
    let Some(namespace) = session.get(NAMESPACE, None, name).await? else {
        return Ok(());
    };
    let ours = namespace
        .labels()
        .get("app.kubernetes.io/name")
        .map(String::as_str)
        == Some(names::NAME);
    if !ours || name == "default" || name.starts_with("kube-") {
        session.say(&format!("Namespace {name} left: it was there before"));
        return Ok(());
    }
    if session.is_dry_run() {
        session.say(&format!(
            "Namespace {name} would be deleted, if nothing else is in it"
        ));
        return Ok(());
    }
    for kind in INHABITANTS {
        let objects = session.list(kind, Some(name), "").await?;
        let stays = |object: &&kube::core::DynamicObject| object.metadata.deletion_timestamp.is_none();
        if let Some(object) = objects.iter().find(stays) {
            let found = object.name_any();
            session.say(&format!("Namespace {name} left: {} {found} is in it", kind.kind));
            return Ok(());
        }
    }
    session.delete_this(NAMESPACE, &namespace).await
}

/// The application of the walk-through.
pub(super) async fn sample(session: &Session) -> anyhow::Result<()> {
    let selector = format!("app.kubernetes.io/name={}", manifests::SAMPLE_NAME);
    for namespace in session.list(NAMESPACE, None, &selector).await? {
        session.delete_this(NAMESPACE, &namespace).await?;
    }
    Ok(())
}
