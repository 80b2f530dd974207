//! Databases: PostgreSQL, MariaDB and etcd.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

use rustix::process::Signal;

use super::{
    Options, Program, Server,
    install::Source,
    process::{Process, Ready, free_port},
};

pub(super) const POSTGRESQL: Program =
    Program::new("postgresql", "debian", Source::System("initdb", &["postgresql"]));
pub(super) const MARIADB: Program = Program::new(
    "mariadb",
    "debian",
    Source::Debian(&["mariadb-server-core", "mariadb-client-core"]),
);
pub(super) const ETCD: Program = Program::new("etcd", "control-plane", Source::ControlPlane);

const USERNAME: &str = "scaler";
const PASSWORD: &str = "autoscaler-password";
const DATABASE: &str = "app";

/// A user that is not root, if this one is: PostgreSQL does not run as root.
fn unprivileged(folder: &Path) -> Option<u32> {
    const NOBODY: u32 = 65534;
    let owner = fs::metadata(folder).ok()?.uid();
    (owner == 0).then_some(NOBODY)
}

fn give(path: &str, user: Option<u32>) -> anyhow::Result<()> {
    if let Some(user) = user {
        chown(path, Some(user), Some(user))?;
    }
    Ok(())
}

/// PostgreSQL, whose users log in with SCRAM-SHA-256.
pub(super) fn postgresql(options: &Options) -> anyhow::Result<Server> {
    let folder = POSTGRESQL.folder()?;
    let (root, programs) = match folder.join("initdb").is_file() {
        true => (Path::new("/").to_owned(), folder),
        false => (folder.clone(), unpacked(&folder)),
    };
    let mut server = Server::new("postgresql", options)?;
    let user = unprivileged(server.folder());
    give(&server.folder().display().to_string(), user)?;
    let (data, port) = (server.path("data"), free_port()?);
    let password = server.write("password", PASSWORD)?;
    give(&password, user)?;
    let program = |name: &str| {
        Process::new(programs.join(name), Ready::Port(port))
            .user(user)
            .libraries(&root)
    };
    program("initdb")
        .arguments(["-D", &data, "-A", "scram-sha-256", "-U", USERNAME, "-N"])
        .arguments(["--pwfile", &password])
        .run()?;
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        format!("unix_socket_directories={}", server.folder().display()),
        "fsync=off".to_owned(),
        "shared_buffers=16MB".to_owned(),
        "max_connections=40".to_owned(),
    ];
    if options.tls.is_some() {
        for name in ["certificate.pem", "key.pem"] {
            give(&server.path(name), user)?;
        }
        fs::set_permissions(server.path("key.pem"), fs::Permissions::from_mode(0o600))?;
        settings.push("ssl=on".to_owned());
        settings.push(format!("ssl_cert_file={}", server.path("certificate.pem")));
        settings.push(format!("ssl_key_file={}", server.path("key.pem")));
    }
    let settings = settings
        .into_iter()
        .flat_map(|setting| ["-c".to_owned(), setting]);
    let ready = program("psql")
        .arguments(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", USERNAME])
        .arguments(["-d", "postgres", "-c", "SELECT 1"])
        .environment("PGPASSWORD", PASSWORD);
    let process = Process::new(programs.join("postgres"), Ready::Command(Box::new(ready)))
        .user(user)
        .libraries(&root)
        .arguments(["-D".to_owned(), data])
        .arguments(settings)
        .ends_by(Signal::INT);
    server.add(&process)?;
    server.set("host", "127.0.0.1");
    server.set("port", port.to_string());
    server.set("username", USERNAME);
    server.set("password", PASSWORD);
    server.set("database", "postgres");
    Ok(server)
}

/// Where Debian's packages have PostgreSQL's programs.
fn unpacked(root: &Path) -> std::path::PathBuf {
    let versions = fs::read_dir(root.join("usr/lib/postgresql"))
        .into_iter()
        .flatten();
    let mut programs = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    programs.next().unwrap_or_else(|| root.join("usr/bin"))
}

/// MariaDB, with a database and a user of it.
pub(super) fn mariadb(options: &Options) -> anyhow::Result<Server> {
    let root = MARIADB.folder()?;
    let mut server = Server::new("mariadb", options)?;
    // It runs as root if that is said; another user may not reach the programs in the cache directory.
    let user = format!("--user={}", user_name());
    let (data, port) = (server.path("data"), free_port()?);
    let base = root.join("usr").display().to_string();
    Process::new(root.join("usr/bin/mariadb-install-db"), Ready::Port(port))
        .arguments(["--no-defaults".to_owned(), format!("--basedir={base}")])
        .arguments([format!("--datadir={data}"), "--skip-test-db".to_owned()])
        .arguments(["--auth-root-authentication-method=normal", &user])
        .libraries(&root)
        .run()?;
    let statements = server.write(
        "init.sql",
        &format!(
            "CREATE DATABASE IF NOT EXISTS {DATABASE};\n\
             CREATE USER IF NOT EXISTS '{USERNAME}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON {DATABASE}.* TO '{USERNAME}'@'%';\nGRANT PROCESS ON *.* TO '{USERNAME}'@'%';\n"
        ),
    )?;
    let ready = Process::new(root.join("usr/bin/mariadb"), Ready::Port(port))
        .arguments(["--no-defaults".to_owned(), "--host=127.0.0.1".to_owned()])
        .arguments([format!("--port={port}"), format!("--user={USERNAME}")])
        .arguments(["--execute=SELECT 1", DATABASE])
        .environment("MYSQL_PWD", PASSWORD)
        .libraries(&root);
    let mut process = Process::new(root.join("usr/sbin/mariadbd"), Ready::Command(Box::new(ready)))
        .arguments(["--no-defaults".to_owned(), format!("--basedir={base}")])
        .arguments([format!("--datadir={data}"), format!("--init-file={statements}")])
        .arguments([format!("--port={port}"), "--bind-address=127.0.0.1".to_owned()])
        .arguments([format!("--socket={}", server.path("socket"))])
        .arguments([
            "--innodb-buffer-pool-size=16M",
            "--innodb-flush-log-at-trx-commit=0",
        ])
        .arguments(["--skip-name-resolve", "--performance-schema=off", &user])
        .libraries(&root);
    if options.tls.is_some() {
        process = process.arguments([
            format!("--ssl-cert={}", server.path("certificate.pem")),
            format!("--ssl-key={}", server.path("key.pem")),
        ]);
    }
    server.add(&process)?;
    server.set("host", "127.0.0.1");
    server.set("port", port.to_string());
    server.set("username", USERNAME);
    server.set("password", PASSWORD);
    server.set("database", DATABASE);
    Ok(server)
}

fn user_name() -> String {
    let output = std::process::Command::new("id").arg("-un").output();
    let name = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    name.unwrap_or_default()
}

/// etcd, of one member.
pub(super) fn etcd(options: &Options) -> anyhow::Result<Server> {
    let program = ETCD.folder()?.join("etcd");
    let mut server = Server::new("etcd", options)?;
    let (client, peer) = (free_port()?, free_port()?);
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let (url, peer) = (
        format!("{scheme}://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let mut process = Process::new(program, Ready::Port(client))
        .arguments(["--data-dir".to_owned(), server.path("data")])
        .arguments(["--listen-client-urls", &url, "--advertise-client-urls", &url])
        .arguments([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .arguments(["--initial-cluster".to_owned(), format!("default={peer}")])
        .arguments(["--unsafe-no-fsync", "--log-level", "warn"]);
    if options.tls.is_some() {
        process = process
            .arguments(["--cert-file".to_owned(), server.path("certificate.pem")])
            .arguments(["--key-file".to_owned(), server.path("key.pem")]);
    }
    server.add(&process)?;
    server.set("endpoint", url);
    Ok(server)
}
