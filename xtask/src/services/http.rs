//! Servers that are asked over HTTP: external scalers, Prometheus, ElasticMQ, moto, Azurite and Vault.

use super::{
    Options, Program, Server,
    install::Source,
    process::{Process, Ready, free_port},
};

pub(super) const PROMETHEUS: Program = Program::new("prometheus", "debian", Source::Debian(&["prometheus"]));
pub(super) const ELASTICMQ: Program = Program::new(
    "elasticmq",
    "1.7.1",
    Source::Maven("org.elasticmq:elasticmq-server_2.13"),
);
/// Which moto that is.
pub(crate) const MOTO_VERSION: &str = "5.2.5";
/// Services that need more packages than the server itself are left out.
pub(super) const MOTO: Program = Program::new(
    "moto",
    MOTO_VERSION,
    Source::Python("moto[server,secretsmanager]==5.2.5"),
);
/// Later ones need a newer node than Debian's and the images of CI have.
pub(super) const AZURITE: Program = Program::new("azurite", "3.35.0", Source::Npm("azurite@3.35.0"));
/// Vault's own program carries every plugin and storage there is. This one is its core with what the tests use (KV, PKI,
/// login by Kubernetes), everything in memory, which builds in a fraction of the time. The version is one under the MPL.
pub(super) const VAULT: Program = Program::new(
    "vault",
    "1.13.1",
    Source::Go(
        include_str!("vault/go.mod.txt"),
        include_str!("vault/main.go.txt"),
    ),
);

/// KEDA's own code of the protocol, in a scaler and in a caller of one; it builds in a few seconds.
pub(super) const EXTERNAL_SCALER: Program = Program::new(
    "external-scaler",
    "2.20.1",
    Source::Go(
        include_str!("external_scaler/go.mod.txt"),
        include_str!("external_scaler/main.go.txt"),
    ),
);

/// An external scaler of one metric, which is steered over HTTP at `control`.
pub(super) fn external_scaler(options: &Options) -> anyhow::Result<Server> {
    let program = EXTERNAL_SCALER.folder()?.join("external-scaler");
    let mut server = Server::new("external-scaler", options)?;
    let (port, control) = (free_port()?, free_port()?);
    let mut process = Process::new(&program, Ready::Http(control, "/"))
        .arguments(["-address".to_owned(), format!("127.0.0.1:{port}")])
        .arguments(["-control".to_owned(), format!("127.0.0.1:{control}")]);
    if options.tls.is_some() {
        process = process
            .arguments(["-certificate".to_owned(), server.path("certificate.pem")])
            .arguments(["-key".to_owned(), server.path("key.pem")]);
    }
    server.add(&process.arguments(["serve"]))?;
    server.set("address", format!("127.0.0.1:{port}"));
    server.set("control", format!("http://127.0.0.1:{control}/"));
    server.set("program", program.display().to_string());
    Ok(server)
}

/// Prometheus, which scrapes itself every second, and what stands in its file `targets` more often.
pub(super) fn prometheus(options: &Options) -> anyhow::Result<Server> {
    let root = PROMETHEUS.folder()?;
    let mut server = Server::new("prometheus", options)?;
    let port = free_port()?;
    let targets = server.write("targets.json", "[]")?;
    let configuration = server.write(
        "prometheus.yml",
        &format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs:\n- job_name: itself\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n\
             - job_name: others\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n\
             \x20 file_sd_configs: [{{files: ['{targets}'], refresh_interval: 1s}}]\n"
        ),
    )?;
    let process = Process::new(root.join("usr/bin/prometheus"), Ready::Http(port, "/-/ready"))
        .arguments([format!("--config.file={configuration}")])
        .arguments([format!("--web.listen-address=127.0.0.1:{port}")])
        .arguments([format!("--storage.tsdb.path={}", server.path("data"))])
        .libraries(&root);
    server.add(&process)?;
    server.set("url", format!("http://127.0.0.1:{port}"));
    server.set("targets", targets);
    Ok(server)
}

/// ElasticMQ, an SQS server.
pub(super) fn elasticmq(options: &Options) -> anyhow::Result<Server> {
    let libraries = ELASTICMQ.folder()?.join("lib").join("*");
    let mut server = Server::new("elasticmq", options)?;
    let port = free_port()?;
    let configuration = server.write(
        "elasticmq.conf",
        &format!(
            "include classpath(\"application.conf\")\n\
             node-address {{ host = \"127.0.0.1\", port = {port} }}\n\
             rest-sqs {{ enabled = true, bind-port = {port}, bind-hostname = \"127.0.0.1\", sqs-limits = strict }}\n\
             rest-stats {{ enabled = false }}\n"
        ),
    )?;
    let process = Process::new("java", Ready::Port(port))
        .arguments(["-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arguments([format!("-Dconfig.file={configuration}"), "-cp".to_owned()])
        .arguments([libraries])
        .arguments(["org.elasticmq.server.Main"]);
    server.add(&process)?;
    server.set("url", format!("http://127.0.0.1:{port}"));
    Ok(server)
}

/// moto, a server that answers as AWS does.
pub(super) fn moto(options: &Options) -> anyhow::Result<Server> {
    let program = MOTO.folder()?.join("bin/moto_server");
    let mut server = Server::new("moto", options)?;
    let port = free_port()?;
    let arguments = [
        "-H".to_owned(),
        "127.0.0.1".to_owned(),
        "-p".to_owned(),
        port.to_string(),
    ];
    server.add(&Process::new(program, Ready::Http(port, "/moto-api/")).arguments(arguments))?;
    server.set("url", format!("http://127.0.0.1:{port}"));
    Ok(server)
}

/// The queues of Azurite, Microsoft's own server that answers as a storage account does.
pub(super) fn azurite(options: &Options) -> anyhow::Result<Server> {
    // The account and the key that everybody knows.
    const ACCOUNT: &str = "devstoreaccount1";
    const KEY: &str =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    let program = AZURITE
        .folder()?
        .join("node_modules/azurite/dist/src/queue/main.js");
    let mut server = Server::new("azurite", options)?;
    let port = free_port()?;
    let process = Process::new("node", Ready::Port(port))
        .arguments([program])
        .arguments(["--queueHost", "127.0.0.1", "--queuePort", &port.to_string()])
        .arguments(["--location", &server.path("data")])
        .arguments(["--silent", "--disableTelemetry"]);
    server.add(&process)?;
    server.set("address", format!("127.0.0.1:{port}"));
    server.set("account", ACCOUNT);
    server.set("key", KEY);
    Ok(server)
}

/// Vault's core with everything in memory.
pub(super) fn vault(options: &Options) -> anyhow::Result<Server> {
    let program = VAULT.folder()?.join("vault");
    let mut server = Server::new("vault", options)?;
    let port = free_port()?;
    let arguments = [
        format!("--listen=127.0.0.1:{port}"),
        "--root-token=root".to_owned(),
    ];
    server.add(&Process::new(program, Ready::Port(port)).arguments(arguments))?;
    server.set("url", format!("http://127.0.0.1:{port}"));
    server.set("token", "root");
    Ok(server)
}
