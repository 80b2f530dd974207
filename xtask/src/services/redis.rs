//! Redis: one server, a cluster of six nodes, or a primary with a replica under a sentinel.

use std::path::Path;

use super::{
    Options, Program, Server,
    install::Source,
    process::{Process, Ready, free_port, patiently},
};

pub(super) const PROGRAM: Program = Program::new(
    "redis",
    "debian",
    Source::Debian(&["redis-server", "redis-tools", "redis-sentinel"]),
);

const PASSWORD: &str = "autoscaler-password";
/// The name under which the sentinel knows the primary.
const PRIMARY: &str = "primary";

/// A single server. A user `scaler` may only read.
pub(super) fn single(options: &Options) -> anyhow::Result<Server> {
    let root = PROGRAM.folder()?;
    let mut server = Server::new("redis", options)?;
    let port = free_port()?;
    let mut arguments = common(&server);
    if options.tls.is_some() {
        let tls_port = free_port()?;
        arguments.extend([
            format!("--tls-port {tls_port}"),
            format!("--tls-cert-file {}", server.path("certificate.pem")),
            format!("--tls-key-file {}", server.path("key.pem")),
            "--tls-auth-clients no".to_owned(),
        ]);
        server.set("tlsAddress", format!("127.0.0.1:{tls_port}"));
    }
    let user = format!("--user scaler on >{PASSWORD} ~* +@read +@scripting +@connection");
    arguments.extend([
        format!("--port {port}"),
        user,
        format!("--requirepass {PASSWORD}"),
    ]);
    server.add(&redis(&root, port, &arguments))?;
    server.set("address", format!("127.0.0.1:{port}"));
    server.set("username", "scaler");
    server.set("password", PASSWORD);
    Ok(server)
}

/// Three primaries with a replica each.
pub(super) fn cluster(options: &Options) -> anyhow::Result<Server> {
    let root = PROGRAM.folder()?;
    let mut server = Server::new("redis-cluster", options)?;
    let mut addresses = Vec::new();
    for node in 0..6 {
        let (port, bus) = (free_port()?, free_port()?);
        let mut arguments = common(&server);
        arguments.extend([
            format!("--port {port}"),
            format!("--cluster-enabled yes --cluster-port {bus} --cluster-node-timeout 2000"),
            format!(
                "--cluster-config-file {}",
                server.path(&format!("node-{node}.conf"))
            ),
            format!("--requirepass {PASSWORD} --masterauth {PASSWORD}"),
        ]);
        server.add(&redis(&root, port, &arguments))?;
        addresses.push(format!("127.0.0.1:{port}"));
    }
    let create = ["--cluster", "create"]
        .map(str::to_owned)
        .into_iter()
        .chain(addresses.iter().cloned())
        .chain(["--cluster-replicas", "1", "--cluster-yes"].map(str::to_owned));
    client(&root).arguments(create).run()?;
    let is_whole = client(&root).arguments(["--cluster", "check", &addresses[5]]);
    patiently(|| is_whole.run().is_ok());
    for primary in &addresses[..3] {
        wait_for_replica(&root, primary)?;
    }
    server.set("addresses", addresses.join(","));
    server.set("password", PASSWORD);
    Ok(server)
}

/// A primary, a replica, and a sentinel that decides by itself.
pub(super) fn sentinel(options: &Options) -> anyhow::Result<Server> {
    let root = PROGRAM.folder()?;
    let mut server = Server::new("redis-sentinel", options)?;
    let (primary, replica, sentinel) = (free_port()?, free_port()?, free_port()?);
    for port in [primary, replica] {
        let mut arguments = common(&server);
        arguments.push(format!(
            "--port {port} --requirepass {PASSWORD} --masterauth {PASSWORD}"
        ));
        if port == replica {
            arguments.push(format!("--replicaof 127.0.0.1 {primary}"));
        }
        server.add(&redis(&root, port, &arguments))?;
    }
    wait_for_replica(&root, &format!("127.0.0.1:{primary}"))?;
    let configuration = format!(
        "port {sentinel}\nbind 127.0.0.1\ndir {}\nprotected-mode no\n\
         requirepass sentinel-password\n\
         sentinel monitor {PRIMARY} 127.0.0.1 {primary} 1\n\
         sentinel auth-pass {PRIMARY} {PASSWORD}\n\
         sentinel down-after-milliseconds {PRIMARY} 1000\n\
         sentinel failover-timeout {PRIMARY} 3000\n",
        server.folder().display()
    );
    let configuration = server.write("sentinel.conf", &configuration)?;
    let process = Process::new(root.join("usr/bin/redis-server"), Ready::Port(sentinel))
        .arguments([configuration.as_str(), "--sentinel"])
        .libraries(&root);
    server.add(&process)?;
    server.set("addresses", format!("127.0.0.1:{sentinel}"));
    server.set("sentinelMaster", PRIMARY);
    server.set("sentinelPassword", "sentinel-password");
    server.set("primary", format!("127.0.0.1:{primary}"));
    server.set("replica", format!("127.0.0.1:{replica}"));
    server.set("password", PASSWORD);
    Ok(server)
}

fn common(server: &Server) -> Vec<String> {
    vec![
        "--bind 127.0.0.1".to_owned(),
        format!("--dir {}", server.folder().display()),
        "--appendonly no".to_owned(),
        "--databases 16".to_owned(),
        // A replica that comes waits for no others.
        "--repl-diskless-sync-delay 0".to_owned(),
    ]
}

fn redis(root: &Path, port: u16, arguments: &[String]) -> Process {
    let words = arguments.iter().flat_map(|argument| argument.split(' '));
    Process::new(root.join("usr/bin/redis-server"), Ready::Port(port))
        .arguments(words)
        .arguments(["--save", ""])
        .libraries(root)
}

/// Waits until a replica has all that its primary has.
fn wait_for_replica(root: &Path, primary: &str) -> anyhow::Result<()> {
    let port = primary.rsplit_once(':').map_or(primary, |(_, port)| port);
    client(root).arguments(["-p", port, "WAIT", "1", "20000"]).run()
}

fn client(root: &Path) -> Process {
    Process::new(root.join("usr/bin/redis-cli"), Ready::Port(0))
        .environment("REDISCLI_AUTH", PASSWORD)
        .libraries(root)
}
