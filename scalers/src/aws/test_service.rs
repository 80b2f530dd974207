//! A server on loopback that answers as a service of AWS does, for the suite that every scaler passes.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::{marker::PhantomData, sync::Mutex, time::Duration};

use async_trait::async_trait;
use scaler_api::{
    Context, Secret, Trigger, TriggerInput,
    conformance::{Harness, Levels, Outage},
};

use super::AwsEnvironment;
use crate::http::test_server::{Reply, TestServer};

/// A service that shows one number to the trigger `T`.
pub(crate) struct TestService<T> {
    pub(crate) server: TestServer,
    environment: AwsEnvironment,
    metadata: Vec<(&'static str, &'static str)>,
    answer: fn(f64) -> String,
    activation: f64,
    value: Mutex<f64>,
    trigger: PhantomData<fn() -> T>,
}

impl<T> TestService<T> {
    /// `answer` is the JSON that shows a value; a trigger of `metadata` is idle at `activation`.
    pub(crate) async fn start(
        metadata: &[(&'static str, &'static str)],
        activation: f64,
        answer: fn(f64) -> String,
    ) -> Self {
        let server = TestServer::start(Reply::Body(200, answer(0.0))).await;
        server.require("AKIAGOOD");
        Self {
            server,
            environment: AwsEnvironment::new(),
            metadata: metadata.to_vec(),
            answer,
            activation,
            value: Mutex::default(),
            trigger: PhantomData,
        }
    }

    pub(crate) fn input_with(&self, access_key: &str) -> TriggerInput {
        let connection = [
            ("awsRegion", "eu-west-1".to_owned()),
            ("awsEndpoint", self.server.url("/")),
        ];
        let metadata = self
            .metadata
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()));
        let keys = [
            ("awsAccessKeyID", access_key),
            ("awsSecretAccessKey", "hunter2hunter2"),
            ("awsSessionToken", "t0ken"),
        ];
        TriggerInput {
            metadata: metadata
                .chain(connection)
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            authentication: keys
                .map(|(key, value)| (key.to_owned(), Secret::new(value)))
                .into(),
            ..TriggerInput::default()
        }
    }

    pub(crate) fn context(&self) -> Context {
        Context::new()
            .with(self.environment.clone())
            .with_timeout(Duration::from_millis(1500))
    }

    fn show(&self) {
        let value = *self.value.lock().unwrap();
        self.server.reply(Reply::Body(200, (self.answer)(value)));
    }
}

#[async_trait]
impl<T: Trigger> Harness for TestService<T> {
    type Trigger = T;

    fn input(&self) -> TriggerInput {
        self.input_with("AKIAGOOD")
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
        Levels::around(self.activation)
    }

    fn context(&self) -> Context {
        Self::context(self)
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        Some(self.input_with("AKIAWRONG"))
    }
}
