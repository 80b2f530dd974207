//! Apache Kafka: one node, broker and controller at once.

use super::{
    Options, Program, Server,
    install::Source,
    process::{Process, Ready, free_port},
};

pub(super) const KAFKA: Program =
    Program::new("kafka", "4.1.0", Source::Maven("org.apache.kafka:kafka_2.13"));

const USERNAME: &str = "scaler";
const PASSWORD: &str = "autoscaler-password";
/// The mechanisms that have a password which the broker keeps.
const SCRAM: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];

/// A listener of the broker: its name, which is also that of the detail that tells its address; its protocol; its port.
type Listener = (&'static str, &'static str, u16);

/// Kafka in KRaft mode with listeners for plain connections, SASL, and if there is a certificate the same with TLS.
///
/// Clients go where the broker says that it is. At `proxied` it says that it is at `proxy`, where nobody listens: a test
/// puts its proxy there. Like `sasl` it wants a login. `mutual-tls` wants the server's own certificate from its clients.
pub(super) fn kafka(options: &Options) -> anyhow::Result<Server> {
    let libraries = KAFKA.folder()?.join("lib").join("*");
    let mut server = Server::new("kafka", options)?;
    let (controller, proxy) = (free_port()?, free_port()?);
    let mut listeners: Vec<Listener> = vec![
        ("plain", "PLAINTEXT", free_port()?),
        ("proxied", "SASL_PLAINTEXT", free_port()?),
        ("sasl", "SASL_PLAINTEXT", free_port()?),
    ];
    if let Some((certificate, key)) = &options.tls {
        server.write("keystore.pem", &format!("{key}{certificate}"))?;
        listeners.push(("tls", "SSL", free_port()?));
        listeners.push(("mutual-tls", "SSL", free_port()?));
        listeners.push(("sasl-tls", "SASL_SSL", free_port()?));
    }
    for (name, _, port) in &listeners {
        server.set(name, format!("127.0.0.1:{port}"));
    }
    server.set("proxy", format!("127.0.0.1:{proxy}"));
    server.set("username", USERNAME);
    server.set("password", PASSWORD);
    let properties = properties(&server, &listeners, controller, proxy);
    let properties = server.write("server.properties", &properties)?;
    let ready = Ready::Port(listeners[0].2);
    let java = Process::new("java", ready)
        .arguments([
            "-Xmx256m",
            "-Xms64m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-cp",
        ])
        .arguments([libraries]);
    let format = java
        .clone()
        .arguments([
            "kafka.tools.StorageTool",
            "format",
            "-t",
            "AAAAAAAAQACAAAAAAAAAAA",
        ])
        .arguments(["-c", &properties]);
    let format = SCRAM.iter().fold(format, |format, mechanism| {
        let user = format!("{mechanism}=[name={USERNAME},password={PASSWORD}]");
        format.arguments(["--add-scram", &user])
    });
    format.run()?;
    server.add(&java.arguments(["kafka.Kafka", &properties]))?;
    Ok(server)
}

fn properties(server: &Server, listeners: &[Listener], controller: u16, proxy: u16) -> String {
    let addresses = |port: &dyn Fn(&Listener) -> u16| {
        let all = listeners
            .iter()
            .map(|one| format!("{}://127.0.0.1:{}", one.0.to_uppercase(), port(one)));
        all.collect::<Vec<_>>().join(",")
    };
    let bound = addresses(&|one| one.2);
    let advertised = addresses(&|one| if one.0 == "proxied" { proxy } else { one.2 });
    let protocols: Vec<_> = listeners
        .iter()
        .map(|one| format!("{}:{}", one.0.to_uppercase(), one.1))
        .collect();
    let mut text = format!(
        "process.roles=broker,controller\nnode.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\ncontroller.listener.names=CONTROLLER\n\
         listeners={bound},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners={advertised}\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,{}\ninter.broker.listener.name=PLAIN\n\
         log.dirs={}\noffsets.topic.num.partitions=1\noffsets.topic.replication.factor=1\n\
         group.initial.rebalance.delay.ms=0\n",
        protocols.join(","),
        server.path("data")
    );
    for (name, ..) in listeners.iter().filter(|one| one.1.starts_with("SASL")) {
        text += &sasl(name);
    }
    for (name, ..) in listeners.iter().filter(|one| one.1.ends_with("SSL")) {
        text += &format!(
            "listener.name.{name}.ssl.keystore.type=PEM\nlistener.name.{name}.ssl.keystore.location={}\n",
            server.path("keystore.pem")
        );
    }
    if listeners.iter().any(|one| one.0 == "mutual-tls") {
        let prefix = "listener.name.mutual-tls.ssl";
        text += &format!(
            "{prefix}.client.auth=required\n{prefix}.truststore.type=PEM\n{prefix}.truststore.location={}\n",
            server.path("certificate.pem")
        );
    }
    text
}

/// Every mechanism that scalers know; tokens are taken that nobody signed.
fn sasl(listener: &str) -> String {
    let module = "org.apache.kafka.common.security";
    let logins = [
        (
            "PLAIN",
            format!("{module}.plain.PlainLoginModule required user_{USERNAME}=\"{PASSWORD}\";"),
        ),
        (SCRAM[0], format!("{module}.scram.ScramLoginModule required;")),
        (SCRAM[1], format!("{module}.scram.ScramLoginModule required;")),
        (
            "OAUTHBEARER",
            format!(
                "{module}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
            ),
        ),
    ];
    let names: Vec<_> = logins.iter().map(|(name, _)| *name).collect();
    let start = format!(
        "listener.name.{listener}.sasl.enabled.mechanisms={}\n",
        names.join(",")
    );
    logins.iter().fold(start, |text, (name, login)| {
        let name = name.to_lowercase();
        format!("{text}listener.name.{listener}.{name}.sasl.jaas.config={login}\n")
    })
}
