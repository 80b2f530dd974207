//! A real SQS server on loopback: ElasticMQ, as `cargo xtask test` has put it into the user's cache directory.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use aws_sdk_sqs::Client;
use scaler_api::Secret;
use scalers::aws::{AwsEnvironment, AwsIdentity};

const VERSION: &str = "1.7.1";
const CONFIGURATION: &str = "elasticmq.conf";
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; it ends when this is dropped.
pub(crate) struct ElasticMq {
    process: Child,
    /// `http://127.0.0.1:<port>`.
    pub(crate) endpoint: String,
    libraries: PathBuf,
    folder: tempfile::TempDir,
}

/// Where the jars are, or `None` where tests may be skipped.
fn libraries() -> Option<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) if Path::new(&folder).is_absolute() => PathBuf::from(folder),
        _ => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    let libraries = cache.join(format!("autoscaler-sdk/elasticmq/{VERSION}/lib"));
    libraries.is_dir().then_some(libraries)
}

impl ElasticMq {
    /// Starts a server; `None` where there is none to start and that is allowed.
    pub(crate) async fn start() -> Option<Self> {
        let Some(libraries) = libraries() else {
            assert!(
                std::env::var_os("AUTOSCALER_TESTS_REQUIRE_TOOLS").is_none(),
                "ElasticMQ {VERSION} is required, but `cargo xtask test` has not downloaded it"
            );
            eprintln!("skipped: there is no ElasticMQ; `cargo xtask test` downloads it");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join(CONFIGURATION), configure(port)).expect("the folder can be written to");
        let server = Self {
            process: spawn(&libraries, folder.path()),
            endpoint: format!("http://127.0.0.1:{port}"),
            libraries,
            folder,
        };
        server.answers().await;
        Some(server)
    }

    /// A client of it; ElasticMQ takes any credentials.
    pub(crate) async fn client(&self) -> Client {
        let keys = AwsIdentity::Keys {
            access_key_id: Secret::new("any"),
            secret_access_key: Secret::new("any"),
            session_token: None,
        };
        let config = AwsEnvironment::new().config(&keys, "elasticmq").await;
        let config = aws_sdk_sqs::config::Builder::from(&config).endpoint_url(&self.endpoint);
        Client::from_conf(config.build())
    }

    /// The URL of a queue of it.
    pub(crate) fn queue_url(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.endpoint)
    }

    /// Ends the server as a crash would; what its queues held is lost.
    pub(crate) fn crash(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it runs");
    }

    /// Starts it again at the same place, without queues.
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(&self.libraries, self.folder.path());
        self.answers().await;
    }

    async fn answers(&self) {
        let client = self.client().await;
        let start = Instant::now();
        while client.list_queues().send().await.is_err() {
            assert!(
                start.elapsed() < PATIENCE,
                "ElasticMQ does not answer on {}",
                self.endpoint
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn spawn(libraries: &Path, folder: &Path) -> Child {
    let log = fs::File::create(folder.join("log")).expect("the folder can be written to");
    Command::new("java")
        .args(["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg(format!("-Dconfig.file={}", folder.join(CONFIGURATION).display()))
        .arg("-cp")
        .arg(libraries.join("*"))
        .arg("org.elasticmq.server.Main")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .expect("java starts")
}

impl Drop for ElasticMq {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn configure(port: u16) -> String {
    format!(
        r#"include classpath("application.conf")
node-address {{ host = "127.0.0.1", port = {port} }}
rest-sqs {{ enabled = true, bind-port = {port}, bind-hostname = "127.0.0.1", sqs-limits = strict }}
rest-stats {{ enabled = false }}
"#
    )
}
