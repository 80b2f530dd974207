//! `postgresql` on PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use scaler_api::{
    Context, ErrorKind, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::postgresql::PostgresqlTrigger;
use tokio_postgres::{Client, NoTls};
use xtask::services::Server;

use super::{
    proxy::Proxy,
    support::{
        Authority, Live, break_with, context, input, kind, start, start_with, value, with_auth, with_metadata,
    },
};

const LIVE: Live = Live {
    trigger: "postgresql",
    server: "postgresql",
};

async fn client(server: &Server) -> Client {
    let (client, connection) = tokio_postgres::Config::new()
        .host(server.detail("host"))
        .port(server.detail("port").parse().unwrap())
        .user(server.detail("username"))
        .password(server.detail("password"))
        .dbname(server.detail("database"))
        .connect(NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

/// A table of rows behind a proxy.
struct Table {
    proxy: Proxy,
    control: Client,
    input: TriggerInput,
}

impl Table {
    async fn of(server: &Server) -> Self {
        let address = format!("{}:{}", server.detail("host"), server.detail("port"));
        let proxy = Proxy::start(&address).await;
        let control = client(server).await;
        control.batch_execute("CREATE TABLE jobs (id int)").await.unwrap();
        let metadata = [
            ("host", "127.0.0.1"),
            ("port", proxy.port()),
            ("userName", server.detail("username")),
            ("dbName", server.detail("database")),
            ("sslmode", "disable"),
            ("query", "SELECT count(*) FROM jobs"),
            ("targetQueryValue", "4"),
            ("activationTargetQueryValue", "100"),
        ];
        let input = input(&metadata, &[("password", server.detail("password"))]);
        Self {
            proxy,
            control,
            input,
        }
    }

    async fn fill(&self, rows: u64) {
        let sql = format!("TRUNCATE jobs; INSERT INTO jobs SELECT generate_series(1, {rows})");
        self.control.batch_execute(&sql).await.unwrap();
    }
}

#[async_trait]
impl Harness for Table {
    type Trigger = PostgresqlTrigger;

    fn input(&self) -> TriggerInput {
        self.input.clone()
    }

    async fn set_value(&self, value: f64) {
        self.fill(value as u64).await;
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        break_with(&self.proxy, outage);
    }

    fn levels(&self) -> Levels {
        Levels::around(100.0)
    }

    fn context(&self) -> Context {
        context().with_timeout(Duration::from_millis(1000))
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        Some(with_auth(&self.input, &[("password", "wrong")]))
    }

    async fn open_connections(&self) -> Option<usize> {
        Some(self.proxy.open())
    }
}

#[tokio::test]
async fn a_query_conforms_and_survives_a_restart_without_leaving_connections() {
    let Some(mut server) = start("postgresql") else {
        return;
    };
    let table = Table::of(&server).await;
    LIVE.conforms(&table).await;
    LIVE.leaves_no_connection(&table, &table.proxy, 1).await;
    // The numbers of KEDA's own test.
    for (rows, active) in [(50, false), (4000, true), (0, false)] {
        table.fill(rows).await;
        assert_eq!(
            value::<PostgresqlTrigger>(&table.input).await,
            (rows as f64, active)
        );
    }
    LIVE.passed("activation, scale out, drained");
    for (query, expected) in [
        ("SELECT 1.5::numeric", 1.5),
        ("SELECT -2::float8", -2.0),
        ("SELECT 7 UNION ALL SELECT 8", 7.0),
    ] {
        let input = with_metadata(&table.input, &[("query", query)]);
        assert_eq!(value::<PostgresqlTrigger>(&input).await.0, expected, "{query}");
    }
    for (query, expected) in [
        ("SELECT count(*) FROM nowhere", ErrorKind::NotFound),
        ("SELECT 1 WHERE false", ErrorKind::Invalid),
        ("SELECT NULL::int", ErrorKind::Invalid),
        ("SELECT 1, 2", ErrorKind::Invalid),
        ("SELECT 'many'", ErrorKind::Invalid),
        ("SELEKT 1", ErrorKind::Invalid),
    ] {
        let input = with_metadata(&table.input, &[("query", query)]);
        assert_eq!(kind::<PostgresqlTrigger>(&input).await, expected, "{query}");
    }
    LIVE.passed("unknown table, no row, NULL, what is no number");
    let unknown = with_metadata(&table.input, &[("dbName", "nowhere")]);
    assert_eq!(kind::<PostgresqlTrigger>(&unknown).await, ErrorKind::NotFound);
    let url = format!(
        "postgres://{}:{}@127.0.0.1:{}/postgres?sslmode=prefer",
        server.detail("username"),
        server.detail("password"),
        server.detail("port")
    );
    let mut by_url = with_auth(&table.input, &[("connection", &url)]);
    by_url
        .metadata
        .retain(|key, _| key.to_lowercase().contains("query"));
    assert_eq!(value::<PostgresqlTrigger>(&by_url).await.0, 0.0);
    LIVE.passed("a connection string");
    let slow = with_metadata(&table.input, &[("query", "SELECT pg_sleep(60)")]);
    assert_eq!(kind::<PostgresqlTrigger>(&slow).await, ErrorKind::Timeout);
    let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%sleep(60)'";
    let mut left = 1;
    for _ in 0..50 {
        left = table
            .control
            .query_one(running, &[])
            .await
            .unwrap()
            .get::<_, i64>(0);
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(left, 0, "the server goes on with a query that nobody waits for");
    LIVE.passed("a query that takes too long is cancelled");
    LIVE.survives_a_restart(&table, &mut server).await;
}

fn named(name: &str) -> rcgen::CertificateParams {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let names = &mut parameters.distinguished_name;
    *names = rcgen::DistinguishedName::new();
    names.push(rcgen::DnType::CommonName, name);
    parameters
}

#[tokio::test]
async fn certificates_of_clients_are_shown_to_the_server() {
    let authority = Authority::new();
    let Some(server) = start_with("postgresql", &authority.options()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let clients = rcgen::KeyPair::generate().unwrap();
    let mut parameters = named("clients");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let trusted_certificate = parameters.self_signed(&clients).unwrap().pem();
    let issuer = rcgen::Issuer::new(parameters, clients);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = named("app").signed_by(&key, &issuer).unwrap();
    let certificate = file("cert.pem", &certificate.pem());
    let key = file("key.pem", &key.serialize_pem());
    let locked = folder.path().join("locked.pem").display().to_string();
    let openssl = [
        "pkcs8",
        "-topk8",
        "-passout",
        "pass:hunter2",
        "-in",
        &key,
        "-out",
        &locked,
    ];
    assert!(
        std::process::Command::new("openssl")
            .args(openssl)
            .status()
            .unwrap()
            .success()
    );
    // The server looks for certificates once it knows whom to trust.
    let trusted = server.folder().join("trusted.pem");
    std::fs::write(&trusted, trusted_certificate).unwrap();
    let control = client(&server).await;
    let setting = format!("ALTER SYSTEM SET ssl_ca_file = '{}'", trusted.display());
    control.batch_execute(&setting).await.unwrap();
    control.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let query = "SELECT count(*) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND client_dn IS NOT NULL";
    let of = |of_tls: &str| {
        let connection = format!(
            "host=127.0.0.1 port={} user={} password={} dbname=postgres sslmode=require {of_tls}",
            server.detail("port"),
            server.detail("username"),
            server.detail("password"),
        );
        let metadata = [("query", query), ("targetQueryValue", "1")];
        input(&metadata, &[("connection", &connection)])
    };
    assert_eq!(value::<PostgresqlTrigger>(&of("")).await.0, 0.0);
    let plain = format!("sslcert={certificate} sslkey={key}");
    assert_eq!(value::<PostgresqlTrigger>(&of(&plain)).await.0, 1.0);
    let opened = format!("sslcert={certificate} sslkey={locked} sslpassword=hunter2");
    assert_eq!(value::<PostgresqlTrigger>(&of(&opened)).await.0, 1.0);
    LIVE.passed("certificates of clients");
}

/// Gives out one password after the other as a token, the last one again and again.
async fn token_server(
    passwords: &'static [&'static str],
) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let asked = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let count = std::sync::Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let token = passwords[number.min(passwords.len() - 1)];
            let body = format!("{{\"access_token\": \"{token}\", \"expires_in\": 3600}}");
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            assert!(
                request.starts_with("POST /tenant/oauth2/v2.0/token "),
                "{request}"
            );
            stream
                .write_all(format!("{head}{body}").as_bytes())
                .await
                .unwrap();
        }
    });
    (url, asked)
}

#[tokio::test]
async fn a_workload_identity_of_azure_logs_in_with_its_token() {
    use scalers::azure::{AzureEnvironment, WorkloadIdentity};

    let Some(server) = start("postgresql") else { return };
    let control = client(&server).await;
    let user = "CREATE ROLE app LOGIN PASSWORD 'token-2'";
    control.batch_execute(user).await.unwrap();
    let (authority, asked) = token_server(&["token-1", "token-2"]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "service-account-token").unwrap();
    let workload = WorkloadIdentity {
        client_id: Some("app".to_owned()),
        tenant_id: Some("tenant".to_owned()),
        authority_host: Some(authority),
        token_file: Some(file.path().to_owned()),
    };
    let context = context().with(AzureEnvironment::new(workload));
    let metadata = [
        ("host", "127.0.0.1"),
        ("port", server.detail("port")),
        ("userName", "app"),
        ("dbName", server.detail("database")),
        ("sslmode", "prefer"),
        ("query", "SELECT 7"),
        ("targetQueryValue", "4"),
    ];
    let mut input = input(&metadata, &[]);
    input.settings.pod_identity = Some(scaler_api::PodIdentity {
        provider: "azure-workload".to_owned(),
        ..scaler_api::PodIdentity::default()
    });
    let sample = async || {
        let scaler = super::support::connect_in::<PostgresqlTrigger>(&input, &context).await?;
        scaler_api::Scaler::sample(&scaler).await
    };
    assert_eq!(sample().await.unwrap_err().kind(), ErrorKind::Unauthorized);
    // What was refused is asked for anew.
    assert_eq!(sample().await.unwrap().values[0].value, 7.0);
    assert_eq!(sample().await.unwrap().values[0].value, 7.0);
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
    LIVE.passed("a token of Azure");
}

#[tokio::test]
async fn tls_is_checked_as_sslmode_says() {
    let (authority, other) = (Authority::new(), Authority::new());
    let Some(server) = start_with("postgresql", &authority.options()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        std::fs::write(&path, &authority.certificate).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (file("right.pem", &authority), file("wrong.pem", &other));
    for (mode, trusted, expected) in [
        ("require", None, None),
        ("prefer", None, None),
        ("disable", None, None),
        ("verify-full", Some(&right), None),
        ("verify-ca", Some(&right), None),
        ("verify-full", Some(&wrong), Some(ErrorKind::Unavailable)),
        ("verify-ca", Some(&wrong), Some(ErrorKind::Unavailable)),
        ("verify-full", None, Some(ErrorKind::Unavailable)),
        ("require", Some(&wrong), Some(ErrorKind::Unavailable)),
    ] {
        let trusted = trusted
            .map(|path| format!(" sslrootcert={path}"))
            .unwrap_or_default();
        let connection = format!(
            "host=127.0.0.1 port={} user={} password={} dbname=postgres sslmode={mode}{trusted}",
            server.detail("port"),
            server.detail("username"),
            server.detail("password"),
        );
        let query = "SELECT count(*) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
        let metadata = [("query", query), ("targetQueryValue", "1")];
        let input = input(&metadata, &[("connection", &connection)]);
        match expected {
            None => {
                let encrypted = f64::from(u8::from(mode != "disable"));
                assert_eq!(value::<PostgresqlTrigger>(&input).await.0, encrypted, "{mode}");
            }
            Some(expected) => assert_eq!(kind::<PostgresqlTrigger>(&input).await, expected, "{mode}"),
        }
    }
    LIVE.passed("TLS");
    LIVE.passed("TLS with the wrong CA");
}
