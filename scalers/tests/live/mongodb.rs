//! `mongodb` on FerretDB.

use std::time::Duration;

use async_trait::async_trait;
use mongodb::{
    Client, Collection,
    bson::{Document, doc},
};
use scaler_api::{
    Context, ErrorKind, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::mongodb::MongodbTrigger;
use xtask::services::Server;

use super::{
    proxy::Proxy,
    support::{
        Authority, Live, break_with, context, input, kind, start, start_with, value, with_auth, with_metadata,
    },
};

const LIVE: Live = Live {
    trigger: "mongodb",
    server: "FerretDB",
};

/// A collection behind a proxy.
struct Orders {
    proxy: Proxy,
    orders: Collection<Document>,
    password: String,
    input: TriggerInput,
}

impl Orders {
    async fn of(server: &Server) -> Self {
        let proxy = Proxy::start(server.detail("address")).await;
        let (username, password) = (server.detail("username"), server.detail("password"));
        let address = format!(
            "mongodb://{username}:{password}@{}/?authSource=admin",
            server.detail("address")
        );
        let client = Client::with_uri_str(&address).await.unwrap();
        let orders = client.database("shop").collection("orders");
        let address = format!(
            "mongodb://{username}:{password}@{}/?authSource=admin",
            proxy.address()
        );
        let metadata = [
            ("dbName", "shop"),
            ("collection", "orders"),
            ("query", r#"{"state": "open"}"#),
            ("queryValue", "1"),
            ("activationQueryValue", "4"),
        ];
        Self {
            orders,
            password: password.to_owned(),
            input: input(&metadata, &[("connectionString", &address)]),
            proxy,
        }
    }
}

#[async_trait]
impl Harness for Orders {
    type Trigger = MongodbTrigger;

    fn input(&self) -> TriggerInput {
        self.input.clone()
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.password.clone()]
    }

    async fn set_value(&self, value: f64) {
        self.orders.delete_many(doc! {"state": "open"}).await.unwrap();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it counts"
        )]
        let documents: Vec<_> = (0..value as usize).map(|_| doc! {"state": "open"}).collect();
        if !documents.is_empty() {
            self.orders.insert_many(documents).await.unwrap();
        }
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        break_with(&self.proxy, outage);
    }

    fn levels(&self) -> Levels {
        Levels::around(4.0)
    }

    fn context(&self) -> Context {
        context().with_timeout(Duration::from_millis(2000))
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        let address = self.input.authentication["connectionString"].expose();
        let wrong = address.replace(&self.password, "wrong");
        Some(with_auth(&self.input, &[("connectionString", &wrong)]))
    }
}

#[tokio::test]
async fn a_collection_conforms_and_survives_a_restart_without_leaving_connections() {
    let Some(mut server) = start("ferretdb") else {
        return;
    };
    let orders = Orders::of(&server).await;
    LIVE.conforms(&orders).await;
    for (count, expected) in [(4.0, (4.0, false)), (10.0, (10.0, true)), (0.0, (0.0, false))] {
        orders.set_value(count).await;
        assert_eq!(value::<MongodbTrigger>(&orders.input).await, expected);
    }
    LIVE.passed("activation, scale out, drained");
    orders.set_value(3.0).await;
    orders
        .orders
        .insert_one(doc! {"state": "closed", "n": 7_i64})
        .await
        .unwrap();
    let filter = r#"{"$or": [{"state": "nothing"}, {"n": {"$gte": {"$numberLong": "7"}}}]}"#;
    let other = with_metadata(&orders.input, &[("query", filter)]);
    assert_eq!(value::<MongodbTrigger>(&other).await.0, 1.0);
    let nowhere = with_metadata(&orders.input, &[("collection", "returns")]);
    assert_eq!(value::<MongodbTrigger>(&nowhere).await, (0.0, false));
    LIVE.passed("filters, and a collection that is not there is empty");
    let broken = with_metadata(&orders.input, &[("query", r#"{"n": {"$nothing": 1}}"#)]);
    assert_eq!(kind::<MongodbTrigger>(&broken).await, ErrorKind::Invalid);
    LIVE.passed("a filter that the server does not understand");
    let parts = with_auth(
        &input(&[("query", r#"{"state": "open"}"#)], &[]),
        &[
            ("host", "127.0.0.1"),
            ("port", orders.proxy.port()),
            ("username", server.detail("username")),
            ("password", server.detail("password")),
            ("dbName", "admin"),
        ],
    );
    let parts = with_metadata(&parts, &[("collection", "orders"), ("queryValue", "1")]);
    assert_eq!(value::<MongodbTrigger>(&parts).await, (0.0, false));
    LIVE.passed("an address of parts");
    LIVE.survives_a_restart(&orders, &mut server).await;
    // One for questions, and what the driver watches the server by.
    LIVE.leaves_no_connection(&orders, &orders.proxy, 4).await;
}

#[tokio::test]
async fn tls_is_checked() {
    let authority = Authority::new();
    let Some(server) = start_with("ferretdb", &authority.options()) else {
        return;
    };
    let address = format!(
        "mongodb://{}:{}@{}/?authSource=admin",
        server.detail("username"),
        server.detail("password"),
        server.detail("address")
    );
    let metadata = [
        ("dbName", "shop"),
        ("collection", "orders"),
        ("query", r#"{"state": "open"}"#),
        ("queryValue", "1"),
    ];
    let plain = input(&metadata, &[("connectionString", &address)]);
    assert_eq!(kind::<MongodbTrigger>(&plain).await, ErrorKind::Unavailable);
    let with = |ca: &str| with_auth(&plain, &[("tls", "enable"), ("ca", ca)]);
    let right = with(&authority.certificate);
    assert_eq!(value::<MongodbTrigger>(&right).await, (0.0, false));
    LIVE.passed("TLS");
    let wrong = with(&Authority::new().certificate);
    assert_eq!(kind::<MongodbTrigger>(&wrong).await, ErrorKind::Unavailable);
    LIVE.passed("TLS with the wrong CA");
}
