//! Starting a control plane, using it, and ending it.

use std::{
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::{Api, Client, Config};
use tokio::time::{Instant, sleep};

use super::{
    Error, Options, Program, Programs,
    credentials::{client_config, on_port, url, write_credentials, write_kubeconfigs},
    flags::ETCD_SOCKET,
    health::{Probe, causes},
    kubeconfig::{Access, kubeconfig},
    pki::{Authority, Identity, write_private},
    running::Running,
    start::{POLL, Start},
};

/// A control plane that runs as long as this value lives.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped first: what runs is killed before anything else goes.
    running: Running,
    authority: Authority,
    admin: Identity,
    kubeconfig: PathBuf,
    server_url: String,
    config: Config,
    programs: Programs,
    users: AtomicU32,
}

/// A process of a control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Which program it runs.
    pub program: Program,
    /// Its process id.
    pub pid: u32,
    /// How it ended, if it has.
    pub ended: Option<ExitStatus>,
    /// Where its output goes.
    pub log: PathBuf,
}

impl ControlPlane {
    /// Starts a control plane, and returns when it is ready: every program says so, the namespace `default` has its
    /// service account, and `kube-system/extension-apiserver-authentication` is published. If the programs are
    /// nowhere, they are built first; stderr shows how far that is.
    ///
    /// Must be called on a tokio runtime whose time is real.
    ///
    /// # Errors
    /// If the programs cannot be found or built, or one of them does not become ready; then nothing is left behind.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let (programs, options) = prepare(options).await?;
        let running = Running::new(options.folder.as_deref())?;
        let authority = Authority::new("kubernetes-ca")?;
        let admin = authority.client("kubernetes-admin", Some("system:masters"))?;
        write_credentials(&running.folder, &authority)?;
        let start = Start {
            running: &running,
            programs: &programs,
            options: &options,
        };
        let socket = running.folder.join(ETCD_SOCKET);
        start
            .program(Program::Etcd, |_| Probe::Etcd(socket.clone()))
            .await?;

        let authority_pem = authority.certificate();
        let config = client_config(&authority_pem, &admin).await?;
        let probe = |port, path| Probe::Https(Box::new(on_port(&config, port)), path);
        let port = start
            .program(Program::ApiServer, |port| probe(port, "/readyz"))
            .await?;
        let server_url = url(port);
        write_kubeconfigs(&running.folder, &authority, &admin, &server_url, &options)?;
        futures::try_join!(
            start.program(Program::ControllerManager, |port| probe(port, "/healthz")),
            start.program(Program::Scheduler, |port| probe(port, "/healthz")),
            start.kwok(),
        )?;
        let config = on_port(&config, port);
        wait_for_objects(&config, options.start_timeout).await?;
        running.all_run()?;
        Ok(Self {
            kubeconfig: running.folder.join("kubeconfig"),
            running,
            authority,
            admin,
            server_url,
            config,
            programs,
            users: AtomicU32::new(0),
        })
    }

    /// A client with all rights, whose default namespace is `namespace`. Make one on each tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn client(&self, namespace: &str) -> Client {
        let mut config = self.config.clone();
        namespace.clone_into(&mut config.default_namespace);
        Client::try_from(config).expect("the same configuration made a client at the start")
    }

    /// The kubeconfig of the administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Writes a kubeconfig for a user in some groups, who may do what RBAC says.
    ///
    /// The user has a certificate of the cluster's authority. A certificate here names one group at most; with more,
    /// the administrator impersonates the user, which is the same to RBAC.
    ///
    /// # Errors
    /// If the certificate cannot be made, or the file not written.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf, Error> {
        let own;
        let (identity, impersonate) = if groups.len() <= 1 {
            own = self.authority.client(user, groups.first().copied())?;
            (&own, None)
        } else {
            (&self.admin, Some((user, groups)))
        };
        let value = kubeconfig(&Access {
            server: &self.server_url,
            authority: &self.authority.certificate(),
            identity,
            impersonate,
        });
        let number = self.users.fetch_add(1, Ordering::Relaxed);
        let path = self.running.folder.join(format!("user-{number}.kubeconfig"));
        write_private(&path, &value.to_string())?;
        Ok(path)
    }

    /// Where the API server listens: `https://127.0.0.1:<port>`.
    #[must_use]
    pub fn server_url(&self) -> &str {
        &self.server_url
    }

    /// The certificate of the authority that signed the server's and every client's, as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.authority.certificate()
    }

    /// The folder with the data, certificates and logs (`<program>.log`).
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.running.folder
    }

    /// The programs in use, kubectl among them where it was found.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The processes, and how those have ended that have.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessInfo> {
        self.running.processes()
    }

    /// Ends everything, as dropping does, without blocking the runtime's thread.
    pub async fn stop(self) {
        if let Err(error) = tokio::task::spawn_blocking(move || drop(self)).await {
            tracing::error!(%error, "the control plane could not be ended cleanly");
        }
    }
}

/// Finds the programs, or builds them.
async fn prepare(options: Options) -> Result<(Programs, Options), Error> {
    let work = move || {
        let programs = Programs::find_or_build(&options, &mut |line| eprintln!("{line}"))?;
        Ok((programs, options))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Io {
            action: "the programs could not be looked for".to_owned(),
            source: std::io::Error::other(error),
        }),
    }
}

/// What controllers of the control plane make shortly after it is up, and every test takes for granted.
async fn wait_for_objects(config: &Config, timeout: Duration) -> Result<(), Error> {
    let client = Client::try_from(config.clone()).map_err(|source| Error::Client {
        server: config.cluster_url.to_string(),
        source: Box::new(source),
    })?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let config_maps: Api<ConfigMap> = Api::namespaced(client, "kube-system");
    let authentication = "extension-apiserver-authentication";
    present("namespace default", timeout, || {
        namespaces.get_metadata("default")
    })
    .await?;
    present("service account default/default", timeout, || {
        accounts.get_metadata("default")
    })
    .await?;
    present(
        "config map kube-system/extension-apiserver-authentication",
        timeout,
        || config_maps.get_metadata(authentication),
    )
    .await
}

async fn present<T, F>(what: &'static str, timeout: Duration, get: impl Fn() -> F) -> Result<(), Error>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let started = Instant::now();
    loop {
        let Err(error) = get().await else { return Ok(()) };
        if started.elapsed() >= timeout {
            return Err(Error::Missing {
                what,
                waited: started.elapsed(),
                last: causes(&error),
            });
        }
        sleep(POLL).await;
    }
}
