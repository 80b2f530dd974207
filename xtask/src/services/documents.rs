//! Servers of documents and files: FerretDB, Elasticsearch, and one of HTTP.

use std::fs;

use super::{
    Options, Program, Server,
    install::Source,
    process::{Process, Ready, free_port},
};

/// FerretDB speaks MongoDB's protocol, and keeps its documents in SQLite, where version 1 can. It builds in about a minute of
/// processor time.
pub(super) const FERRETDB: Program = Program::new(
    "ferretdb",
    "1.24.0",
    Source::Go(
        include_str!("ferretdb/go.mod.txt"),
        include_str!("ferretdb/main.go.txt"),
    ),
);
/// The server's own libraries with HTTP and search templates, which are 33 MB; its distribution is in no registry that
/// carries one for today's Java. What of it needs a licence, such as users, is not among them.
pub(super) const ELASTICSEARCH: Program = Program::new(
    "elasticsearch",
    "7.17.28",
    Source::Maven(
        "org.elasticsearch:elasticsearch org.elasticsearch.plugin:transport-netty4-client \
         org.elasticsearch.plugin:lang-mustache-client org.apache.logging.log4j:log4j-core:2.17.1",
    ),
);
/// The HTTP server of Python's own library.
pub(super) const HTTP: Program = Program::new(
    "python3",
    "debian",
    Source::System("python3", &["python3-minimal"]),
);

const USERNAME: &str = "scaler";
const PASSWORD: &str = "autoscaler-password";
const API_KEY: &str = "autoscaler-key";

/// FerretDB with one user.
pub(super) fn ferretdb(options: &Options) -> anyhow::Result<Server> {
    let program = FERRETDB.folder()?.join("ferretdb");
    let mut server = Server::new("ferretdb", options)?;
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    fs::create_dir_all(server.path("data"))?;
    let mut process = Process::new(program, Ready::Port(port))
        .arguments(["-data".to_owned(), server.path("data")])
        .arguments(["-username", USERNAME, "-password", PASSWORD]);
    process = match options.tls {
        None => process.arguments(["-address", &address]),
        Some(_) => process
            .arguments(["-secure", &address])
            .arguments(["-certificate".to_owned(), server.path("certificate.pem")])
            .arguments(["-key".to_owned(), server.path("key.pem")]),
    };
    server.add(&process)?;
    server.set("address", address);
    server.set("port", port.to_string());
    server.set("username", USERNAME);
    server.set("password", PASSWORD);
    Ok(server)
}

/// Elasticsearch, of one node.
pub(super) fn elasticsearch(options: &Options) -> anyhow::Result<Server> {
    let libraries = ELASTICSEARCH.folder()?.join("lib").join("*");
    let mut server = Server::new("elasticsearch", options)?;
    let (port, transport) = (free_port()?, free_port()?);
    let program = server.write("Main.java", include_str!("elasticsearch/Main.java"))?;
    let process = Process::new("java", Ready::Port(port))
        .arguments([
            "-Xmx256m",
            "-Xms128m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
        ])
        .arguments(["-cp".into(), libraries.into_os_string()])
        .arguments([program, server.path("data"), port.to_string()])
        .arguments([
            format!("{USERNAME}:{PASSWORD}"),
            API_KEY.to_owned(),
            transport.to_string(),
        ]);
    fs::create_dir_all(server.path("data"))?;
    server.add(&process)?;
    server.set("url", format!("http://127.0.0.1:{port}"));
    server.set("username", USERNAME);
    server.set("password", PASSWORD);
    server.set("api-key", API_KEY);
    Ok(server)
}

/// An HTTP server of the files in its folder `files`; those in `files/private` are for one user.
pub(super) fn http(options: &Options) -> anyhow::Result<Server> {
    let program = HTTP.folder()?.join("python3");
    let mut server = Server::new("http", options)?;
    let port = free_port()?;
    let script = server.write("serve_files.py", include_str!("serve_files.py"))?;
    fs::create_dir_all(server.path("files/private"))?;
    let (scheme, certificate, key) = match options.tls {
        None => ("http", String::new(), String::new()),
        Some(_) => ("https", server.path("certificate.pem"), server.path("key.pem")),
    };
    let process = Process::new(program, Ready::Port(port))
        .arguments([script, port.to_string(), server.path("files")])
        .arguments([format!("{USERNAME}:{PASSWORD}"), certificate, key]);
    server.add(&process)?;
    server.set("url", format!("{scheme}://127.0.0.1:{port}"));
    server.set("files", server.path("files"));
    server.set("username", USERNAME);
    server.set("password", PASSWORD);
    Ok(server)
}
