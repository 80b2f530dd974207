//! The certificates and kubeconfigs of a control plane, as files.

use std::path::Path;

use kube::{Config, config::KubeConfigOptions};

use super::{
    Error, Options,
    flags::FRONT_PROXY,
    kubeconfig::{Access, kubeconfig},
    pki::{Authority, Identity, write_private, write_service_account_key},
};

pub(super) fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

pub(super) fn write_credentials(folder: &Path, authority: &Authority) -> Result<(), Error> {
    let names = [
        "localhost",
        "127.0.0.1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "10.0.0.1",
    ];
    write_private(&folder.join("ca.crt"), &authority.certificate())?;
    authority
        .server("kube-apiserver", &names)?
        .write(folder, "server")?;
    // An authority of its own, so that no client's certificate passes for the front proxy's.
    let front_proxy = Authority::new("front-proxy-ca")?;
    write_private(&folder.join("front-proxy-ca.crt"), &front_proxy.certificate())?;
    front_proxy
        .client(FRONT_PROXY, None)?
        .write(folder, "front-proxy-client")?;
    write_service_account_key(folder)?;
    write_private(&folder.join("kwok.yaml"), "")
}

pub(super) fn write_kubeconfigs(
    folder: &Path,
    authority: &Authority,
    admin: &Identity,
    server: &str,
    options: &Options,
) -> Result<(), Error> {
    // Without accounts of their own, all controllers are the controller manager.
    let group = (!options.service_account_credentials).then_some("system:masters");
    let controller_manager = authority.client("system:kube-controller-manager", group)?;
    let scheduler = authority.client("system:kube-scheduler", None)?;
    for (name, identity) in [
        ("kubeconfig", admin),
        ("controller-manager.kubeconfig", &controller_manager),
        ("scheduler.kubeconfig", &scheduler),
    ] {
        let value = kubeconfig(&Access {
            server,
            authority: &authority.certificate(),
            identity,
            impersonate: None,
        });
        write_private(&folder.join(name), &value.to_string())?;
    }
    Ok(())
}

/// A client's configuration for servers of this control plane; the port is still open.
pub(super) async fn client_config(authority: &str, identity: &Identity) -> Result<Config, Error> {
    let value = kubeconfig(&Access {
        server: &url(1),
        authority,
        identity,
        impersonate: None,
    });
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| Error::Io {
        action: "the kubeconfig cannot be used".to_owned(),
        source: std::io::Error::other(error),
    };
    let parsed = serde_json::from_value(value).map_err(|error| failed(error.into()))?;
    let mut config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .map_err(|error| failed(error.into()))?;
    // kube takes HTTPS_PROXY for loopback too.
    config.proxy_url = None;
    Ok(config)
}

pub(super) fn on_port(config: &Config, port: u16) -> Config {
    let mut config = config.clone();
    config.cluster_url = url(port).parse().expect("an address and a port are a URI");
    config
}
