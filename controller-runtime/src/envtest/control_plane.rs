//! Starting a control plane, using it, and ending it.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::{Api, Client, Config, config::KubeConfigOptions};
use tokio::time::{Instant, sleep};

use super::{
    Error, Options, Program, Programs,
    flags::{self, ETCD_SOCKET, FRONT_PROXY, Place},
    group::{Group, wait},
    health::{Probe, causes, port_was_taken, tail},
    kubeconfig::{Access, kubeconfig},
    pki::{Authority, Identity, write_private, write_service_account_key},
};

/// How often a program may find its port taken.
const ATTEMPTS: u32 = 5;
/// Between two questions whether something is ready.
const POLL: Duration = Duration::from_millis(50);
/// The longest path that a socket can have is 104 bytes on some systems.
const LONGEST_FOLDER: usize = 90;

/// A control plane that runs as long as this value lives.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped first: what runs is killed before anything else goes.
    running: Running,
    authority: Authority,
    admin: Identity,
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
        Ok(Self {
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
    pub fn kubeconfig(&self) -> PathBuf {
        self.running.folder.join("kubeconfig")
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

/// The processes, and the folder that they use.
#[derive(Debug)]
struct Running {
    children: Mutex<BTreeMap<Program, Child>>,
    folder: PathBuf,
    // Dropped last: until then, it cleans up if this process is killed.
    group: Group,
}

impl Running {
    fn new(folder: Option<&Path>) -> Result<Self, Error> {
        let folder = match folder {
            Some(folder) => own_folder(folder)?,
            None => tempfile::Builder::new()
                .prefix("control-plane-")
                .tempdir()
                .map_err(Error::io("no folder can be made in the temporary directory"))?
                .keep(),
        };
        let group = Group::new(&folder)?;
        let running = Self {
            children: Mutex::default(),
            folder,
            group,
        };
        if running.folder.as_os_str().len() > LONGEST_FOLDER {
            return Err(Error::Folder {
                folder: running.folder.clone(),
                reason: "its path has more than 90 bytes, which is too long for etcd's socket",
            });
        }
        Ok(running)
    }

    fn log(&self, program: Program) -> PathBuf {
        self.folder.join(format!("{program}.log"))
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<Program, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, program: Program, path: &Path, arguments: &[String]) -> Result<(), Error> {
        let log = self.log(program);
        let open = || {
            fs::OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&log)
        };
        let failed = || Error::io(format!("{} cannot be written", log.display()));
        let mut command = Command::new(path);
        command
            .args(arguments)
            .current_dir(&self.folder)
            // The programs take options from variables too; a test has the same result for everybody.
            .env_clear()
            .env("HOME", &self.folder)
            .env("TMPDIR", &self.folder)
            .stdin(Stdio::null())
            .stdout(open().map_err(failed())?)
            .stderr(open().map_err(failed())?);
        let child = self
            .group
            .spawn(&mut command)
            .map_err(Error::io(format!("{} cannot be started", path.display())))?;
        self.children().insert(program, child);
        Ok(())
    }

    /// How a program ended, if it has.
    fn ended(&self, program: Program) -> Option<ExitStatus> {
        self.children().get_mut(&program)?.try_wait().ok().flatten()
    }

    fn processes(&self) -> Vec<ProcessInfo> {
        self.children()
            .iter_mut()
            .map(|(&program, child)| ProcessInfo {
                program,
                pid: child.id(),
                ended: child.try_wait().ok().flatten(),
                log: self.log(program),
            })
            .collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.group.kill();
        for child in self.children().values_mut() {
            wait(child);
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "the control plane's folder stays");
        }
    }
}

/// Makes the folder that somebody chose; whatever is in it would be removed at the end, so it must be empty.
fn own_folder(folder: &Path) -> Result<PathBuf, Error> {
    let failed = || Error::io(format!("{} cannot be made", folder.display()));
    let folder = std::path::absolute(folder).map_err(failed())?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(failed())?;
    if fs::read_dir(&folder).map_err(failed())?.next().is_some() {
        return Err(Error::Folder {
            folder,
            reason: "it is not empty",
        });
    }
    Ok(folder)
}

/// What is needed to start a program.
#[derive(Debug, Clone, Copy)]
struct Start<'a> {
    running: &'a Running,
    programs: &'a Programs,
    options: &'a Options,
}

impl Start<'_> {
    /// Starts a program on a free port and waits until it is ready. Between finding the port and using it, somebody
    /// else may take it: then another one is tried.
    async fn program(self, program: Program, probe: impl Fn(u16) -> Probe) -> Result<u16, Error> {
        let path = self.programs.path(program).ok_or_else(|| Error::ProgramMissing {
            program,
            folder: self.options.bin_dir.clone().unwrap_or_default(),
            named_by: "bin_dir",
        })?;
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            let place = Place {
                folder: &self.running.folder,
                port,
            };
            let arguments = flags::arguments(program, place, self.options);
            self.running.spawn(program, path, &arguments)?;
            match self.ready(program, &probe(port)).await {
                Ok(()) => return Ok(port),
                Err(Error::Exited { log, .. }) if attempt < ATTEMPTS && port_was_taken(&log) => {
                    tracing::debug!(%program, port, "the port was taken; trying another");
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn kwok(self) -> Result<(), Error> {
        if self.options.kwok {
            self.program(Program::Kwok, |_| Probe::Running).await?;
        }
        Ok(())
    }

    async fn ready(self, program: Program, probe: &Probe) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            let last = probe.check().await;
            let log = || tail(&self.running.log(program));
            if let Some(status) = self.running.ended(program) {
                return Err(Error::Exited {
                    program,
                    status,
                    log: log(),
                });
            }
            let Err(last) = last else { return Ok(()) };
            if started.elapsed() >= self.options.start_timeout {
                return Err(Error::NotReady {
                    program,
                    waited: started.elapsed(),
                    last,
                    log: log(),
                });
            }
            sleep(POLL).await;
        }
    }
}

/// A port of loopback that nobody uses now.
fn free_port() -> Result<u16, Error> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(Error::io("127.0.0.1 has no free port"))
}

fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

fn write_credentials(folder: &Path, authority: &Authority) -> Result<(), Error> {
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

fn write_kubeconfigs(
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
async fn client_config(authority: &str, identity: &Identity) -> Result<Config, Error> {
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
    Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .map_err(|error| failed(error.into()))
}

fn on_port(config: &Config, port: u16) -> Config {
    let mut config = config.clone();
    config.cluster_url = url(port).parse().expect("an address and a port are a URI");
    config
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
