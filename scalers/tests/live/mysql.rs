//! `mysql` on MariaDB.

use std::time::Duration;

use async_trait::async_trait;
use mysql_async::{Conn, OptsBuilder, prelude::Queryable as _};
use scaler_api::{
    Context, ErrorKind, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::mysql::MysqlTrigger;
use tokio::sync::Mutex;
use xtask::services::Server;

use super::{
    proxy::Proxy,
    support::{
        Authority, Live, break_with, context, input, kind, start, start_with, value, with_auth, with_metadata,
    },
};

const LIVE: Live = Live {
    trigger: "mysql",
    server: "mariadb",
};

async fn client(server: &Server) -> Conn {
    let options = OptsBuilder::default()
        .ip_or_hostname(server.detail("host"))
        .tcp_port(server.detail("port").parse().unwrap())
        .user(Some(server.detail("username")))
        .pass(Some(server.detail("password")))
        .db_name(Some(server.detail("database")))
        .prefer_socket(false);
    Conn::new(options).await.unwrap()
}

/// A table of rows behind a proxy.
struct Table {
    proxy: Proxy,
    control: Mutex<Conn>,
    input: TriggerInput,
}

impl Table {
    async fn of(server: &Server) -> Self {
        let address = format!("{}:{}", server.detail("host"), server.detail("port"));
        let proxy = Proxy::start(&address).await;
        let mut control = client(server).await;
        control.query_drop("CREATE TABLE jobs (id int)").await.unwrap();
        let metadata = [
            ("host", "127.0.0.1"),
            ("port", proxy.port()),
            ("username", server.detail("username")),
            ("dbName", server.detail("database")),
            ("query", "SELECT count(*) FROM jobs"),
            ("queryValue", "4"),
            ("activationQueryValue", "100"),
        ];
        let input = input(&metadata, &[("password", server.detail("password"))]);
        Self {
            proxy,
            control: Mutex::new(control),
            input,
        }
    }

    async fn fill(&self, rows: u64) {
        let mut control = self.control.lock().await;
        control.query_drop("DELETE FROM jobs").await.unwrap();
        if rows > 0 {
            let sql = format!("INSERT INTO jobs SELECT seq FROM seq_1_to_{rows}");
            control.query_drop(sql).await.unwrap();
        }
    }
}

#[async_trait]
impl Harness for Table {
    type Trigger = MysqlTrigger;

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
    let Some(mut server) = start("mariadb") else {
        return;
    };
    let table = Table::of(&server).await;
    LIVE.conforms(&table).await;
    LIVE.leaves_no_connection(&table, &table.proxy, 1).await;
    // The numbers of KEDA's own test.
    for (rows, active) in [(50, false), (4000, true), (0, false)] {
        table.fill(rows).await;
        assert_eq!(value::<MysqlTrigger>(&table.input).await, (rows as f64, active));
    }
    LIVE.passed("activation, scale out, drained");
    for (query, expected) in [
        ("SELECT 1.5", 1.5),
        ("SELECT -2e0", -2.0),
        ("SELECT 7 UNION ALL SELECT 8", 7.0),
        ("SELECT 18446744073709551615", 18446744073709551615.0),
    ] {
        let input = with_metadata(&table.input, &[("query", query)]);
        assert_eq!(value::<MysqlTrigger>(&input).await.0, expected, "{query}");
    }
    for (query, expected) in [
        ("SELECT count(*) FROM nowhere", ErrorKind::NotFound),
        ("SELECT 1 FROM jobs WHERE false", ErrorKind::Invalid),
        ("SELECT NULL", ErrorKind::Invalid),
        ("SELECT 1, 2", ErrorKind::Invalid),
        ("SELECT 'many'", ErrorKind::Invalid),
        ("SELEKT 1", ErrorKind::Invalid),
    ] {
        let input = with_metadata(&table.input, &[("query", query)]);
        assert_eq!(kind::<MysqlTrigger>(&input).await, expected, "{query}");
    }
    LIVE.passed("unknown table, no row, NULL, what is no number");
    let unknown = with_metadata(&table.input, &[("dbName", "nowhere")]);
    assert_eq!(
        kind::<MysqlTrigger>(&unknown).await,
        ErrorKind::Unauthorized,
        "no right to any but its own"
    );
    let slow = with_metadata(&table.input, &[("query", "SELECT sleep(60)")]);
    assert_eq!(kind::<MysqlTrigger>(&slow).await, ErrorKind::Timeout);
    LIVE.passed("a query that takes too long");
    LIVE.survives_a_restart(&table, &mut server).await;
}

#[tokio::test]
async fn tls_is_checked_as_the_connection_string_says() {
    let authority = Authority::new();
    let Some(server) = start_with("mariadb", &authority.options()) else {
        return;
    };
    let of = |tls: &str| {
        let connection = format!(
            "{}:{}@tcp(127.0.0.1:{})/{}?parseTime=true&tls={tls}",
            server.detail("username"),
            server.detail("password"),
            server.detail("port"),
            server.detail("database"),
        );
        let query = "SELECT variable_value <> '' FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'";
        let metadata = [("query", query), ("queryValue", "1")];
        input(&metadata, &[("connectionString", &connection)])
    };
    assert_eq!(value::<MysqlTrigger>(&of("false")).await.0, 0.0);
    assert_eq!(value::<MysqlTrigger>(&of("skip-verify")).await.0, 1.0);
    LIVE.passed("TLS");
    assert_eq!(kind::<MysqlTrigger>(&of("true")).await, ErrorKind::Unavailable);
    LIVE.passed("TLS with the wrong CA");
}
