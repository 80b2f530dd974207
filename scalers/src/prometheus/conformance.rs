//! The suite that every scaler passes, over HTTP on loopback.

use std::time::Duration;

use async_trait::async_trait;
use scaler_api::{
    Context, Secret, TriggerInput,
    conformance::{self, Harness, Levels, Outage},
};

use super::PrometheusTrigger;
use crate::http::{
    HttpEnvironment,
    test_server::{Reply, TestServer},
};

struct Endpoint {
    server: TestServer,
    value: std::sync::Mutex<f64>,
}

impl Endpoint {
    fn input(&self, token: &str) -> TriggerInput {
        let metadata = [
            ("serverAddress", self.server.url("")),
            ("query", "up".to_owned()),
            ("threshold", "8".to_owned()),
            ("activationThreshold", "5.5".to_owned()),
            ("authModes", "bearer".to_owned()),
        ];
        TriggerInput {
            metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
            authentication: [("bearerToken".to_owned(), Secret::new(token))].into(),
            ..TriggerInput::default()
        }
    }

    fn show(&self) {
        let value = *self.value.lock().unwrap();
        self.server.reply(Reply::Body(
            200,
            format!("{{\"data\":{{\"result\":[{{\"value\":[1,\"{value}\"]}}]}}}}"),
        ));
    }
}

#[async_trait]
impl Harness for Endpoint {
    type Trigger = PrometheusTrigger;

    fn input(&self) -> TriggerInput {
        self.input("hunter2hunter2")
    }

    async fn set_value(&self, value: f64) {
        *self.value.lock().unwrap() = value;
        self.show();
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        match outage {
            None => self.show(),
            Some(Outage::Silent) => self.server.reply(Reply::Silence),
            Some(_) => self.server.reply(Reply::Body(503, String::new())),
        }
    }

    fn levels(&self) -> Levels {
        Levels::around(5.5)
    }

    fn context(&self) -> Context {
        Context::new()
            .with(HttpEnvironment::new())
            .with_timeout(Duration::from_millis(500))
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        Some(self.input("wrong"))
    }

    async fn open_connections(&self) -> Option<usize> {
        Some(self.server.open_connections())
    }
}

#[tokio::test]
async fn it_conforms() {
    let server = TestServer::start(Reply::Silence).await;
    server.require("authorization: Bearer hunter2hunter2\r\n");
    conformance::assert_conforms(&Endpoint {
        server,
        value: std::sync::Mutex::default(),
    })
    .await;
}
