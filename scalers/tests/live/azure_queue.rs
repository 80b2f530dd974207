//! `azure-queue` on Azurite.

use async_trait::async_trait;
use scaler_api::{
    Context, ErrorKind, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::{azure_queue::AzureQueueTrigger, http::HttpEnvironment};
use xtask::services::Server;

use super::{
    proxy::Proxy,
    support::{
        Live, base64, break_with, connect_in, context, input, kind, start, value, with_auth, with_metadata,
    },
};

const LIVE: Live = Live {
    trigger: "azure-queue",
    server: "azurite",
};

/// A signature for everything of the account's queues, which the tests make with the key.
fn account_signature(server: &Server) -> String {
    use ::base64::Engine as _;
    let account = server.detail("account");
    let (version, services, types, permissions, end) =
        ("2021-12-02", "q", "sco", "rwdlacup", "2099-01-01T00:00:00Z");
    let text = format!("{account}\n{permissions}\n{services}\n{types}\n\n{end}\n\nhttps,http\n{version}\n\n");
    let standard = ::base64::engine::general_purpose::STANDARD;
    let key = ring::hmac::Key::new(
        ring::hmac::HMAC_SHA256,
        &standard.decode(server.detail("key")).unwrap(),
    );
    let signature = standard.encode(ring::hmac::sign(&key, text.as_bytes()));
    let signature = signature
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    format!("sv={version}&ss={services}&srt={types}&sp={permissions}&se={end}&spr=https,http&sig={signature}")
}

/// A queue behind a proxy.
struct Queue {
    proxy: Proxy,
    http: HttpEnvironment,
    client: reqwest::Client,
    base: String,
    signature: String,
    input: TriggerInput,
}

impl Queue {
    async fn of(server: &Server) -> Self {
        let account = server.detail("account");
        let proxy = Proxy::start(server.detail("address")).await;
        let queue = Self {
            http: HttpEnvironment::new(),
            client: reqwest::Client::new(),
            base: format!("http://{}/{account}", server.detail("address")),
            signature: account_signature(server),
            input: input(
                &[("queueName", "orders"), ("activationQueueLength", "5")],
                &[("connection", &connection(server, &proxy, server.detail("key")))],
            ),
            proxy,
        };
        let created = queue.call(reqwest::Method::PUT, "orders?", "").await;
        assert_eq!(created, 201);
        queue
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: &str) -> u16 {
        let url = format!("{}/{path}&{}", self.base, self.signature).replace("?&", "?");
        let request = self
            .client
            .request(method, url)
            .header("x-ms-version", "2021-12-02");
        let answer = request.body(body.to_owned()).send().await.unwrap();
        answer.status().as_u16()
    }

    async fn send(&self, count: usize) {
        for _ in 0..count {
            let body = format!(
                "<QueueMessage><MessageText>{}</MessageText></QueueMessage>",
                base64("<QueueMessage>")
            );
            assert_eq!(
                self.call(reqwest::Method::POST, "orders/messages?", &body).await,
                201
            );
        }
    }
}

fn connection(server: &Server, proxy: &Proxy, key: &str) -> String {
    let account = server.detail("account");
    format!(
        "DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};QueueEndpoint=http://{}/{account};",
        proxy.address()
    )
}

#[async_trait]
impl Harness for Queue {
    type Trigger = AzureQueueTrigger;

    fn input(&self) -> TriggerInput {
        self.input.clone()
    }

    async fn set_value(&self, value: f64) {
        let cleared = self.call(reqwest::Method::DELETE, "orders/messages?", "").await;
        assert_eq!(cleared, 204);
        self.send(value as usize).await;
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        break_with(&self.proxy, outage);
    }

    fn levels(&self) -> Levels {
        Levels::around(5.0)
    }

    fn context(&self) -> Context {
        context().with(self.http.clone())
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        let text = self.input.authentication["connection"].expose();
        Some(with_auth(
            &self.input,
            &[("connection", &text.replace("AccountKey=Eby8", "AccountKey=AAAA"))],
        ))
    }
}

#[tokio::test]
async fn a_queue_conforms_and_survives_a_restart_without_leaving_connections() {
    let Some(mut server) = start("azurite") else {
        return;
    };
    let queue = Queue::of(&server).await;
    LIVE.conforms(&queue).await;
    for (messages, expected) in [(4.0, (4.0, false)), (10.0, (10.0, true)), (0.0, (0.0, false))] {
        queue.set_value(messages).await;
        assert_eq!(
            value::<AzureQueueTrigger>(&queue.input).await,
            expected,
            "{messages}"
        );
    }
    LIVE.passed("activation, scale out, drained");
    queue.set_value(7.0).await;
    // One in the hands of a consumer.
    let received = queue.call(
        reqwest::Method::GET,
        "orders/messages?numofmessages=1&visibilitytimeout=600",
        "",
    );
    assert_eq!(received.await, 200);
    let visible = with_metadata(&queue.input, &[("queueLengthStrategy", "visibleonly")]);
    assert_eq!(value::<AzureQueueTrigger>(&queue.input).await.0, 7.0);
    assert_eq!(value::<AzureQueueTrigger>(&visible).await.0, 6.0);
    queue.send(33).await;
    assert_eq!(value::<AzureQueueTrigger>(&visible).await.0, 40.0);
    LIVE.passed("visible messages, fewer than 32 and more");
    let signature = format!(
        "QueueEndpoint=http://{}/{};SharedAccessSignature={}",
        queue.proxy.address(),
        server.detail("account"),
        queue.signature
    );
    let signed = with_auth(&queue.input, &[("connection", &signature)]);
    assert_eq!(value::<AzureQueueTrigger>(&signed).await.0, 40.0);
    LIVE.passed("a shared access signature");
    let none = with_metadata(&queue.input, &[("queueName", "returns")]);
    assert_eq!(kind::<AzureQueueTrigger>(&none).await, ErrorKind::NotFound);
    LIVE.passed("unknown queue");
    let mut from_environment = queue.input.clone();
    let text = from_environment.authentication.remove("connection").unwrap();
    from_environment
        .metadata
        .insert("connectionFromEnv".into(), "STORAGE".into());
    from_environment
        .environment
        .insert("STORAGE".into(), text.expose().to_owned());
    connect_in::<AzureQueueTrigger>(&from_environment, &queue.context())
        .await
        .unwrap();
    assert_eq!(value::<AzureQueueTrigger>(&from_environment).await.0, 40.0);
    LIVE.passed("connectionFromEnv");
    LIVE.leaves_few_connections(&queue, &queue.proxy).await;
    LIVE.survives_a_restart(&queue, &mut server).await;
}
