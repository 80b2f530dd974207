//! The metadata, and both ends of the protocol against each other.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use scaler_api::{ErrorKind, MetricTarget, Quantity, metadata};

use super::*;

fn input(pairs: &[(&str, &str)], secrets: &[(&str, &str)]) -> TriggerInput {
    let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let secret = |(key, value): &(&str, &str)| ((*key).to_owned(), Secret::new(*value));
    TriggerInput {
        metadata: pairs.iter().map(text).collect(),
        authentication: secrets.iter().map(secret).collect(),
        environment: [("TOKEN".to_owned(), "hunter2".to_owned())].into(),
        settings: TriggerSettings {
            namespace: "shop".into(),
            name: "worker".into(),
            ..TriggerSettings::default()
        },
    }
}

#[test]
fn section_5_13_all_metadata_is_passed_on_and_nothing_of_the_authentication() {
    let pairs = [
        ("scalerAddress", "a:1"),
        ("warehouse", "north"),
        ("tokenFromEnv", "TOKEN"),
        ("otherFromEnv", "UNSET"),
    ];
    let (trigger, warnings) =
        metadata::parse::<ExternalTrigger>(&input(&pairs, &[("password", "secret")])).unwrap();
    assert!(warnings.warnings().is_empty(), "{warnings}");
    let passed: Vec<_> = trigger
        .metadata
        .iter()
        .map(|(key, value)| (key.as_str(), value.expose()))
        .collect();
    assert_eq!(
        passed,
        [
            ("scalerAddress", "a:1"),
            ("tokenFromEnv", "hunter2"),
            ("warehouse", "north")
        ]
    );
    assert!(!format!("{trigger:?}").contains("hunter2"));
}

#[test]
fn all_problems_are_reported_at_once() {
    let pairs = [("scalerAddress", "http://a:1"), ("enableTLS", "perhaps")];
    let secrets = [("tlsClientCert", "hunter2"), ("caCert", "hunter2")];
    let found = metadata::parse::<ExternalPushTrigger>(&input(&pairs, &secrets))
        .unwrap_err()
        .to_string();
    for expected in [
        "scalerAddress \"http://a:1\" is no address",
        "\"enableTLS\"",
        "tlsClientKey must be provided with tlsClientCert",
        "caCert is not a certificate in PEM",
    ] {
        assert!(found.contains(expected), "{expected:?} is not in {found}");
    }
    assert!(!found.contains("hunter2"), "{found}");
}

#[test]
fn tls_is_on_when_it_is_asked_for_or_there_is_a_certificate() {
    let has_tls = |pairs: &[(&str, &str)], secrets: &[(&str, &str)]| {
        let mut pairs = pairs.to_vec();
        pairs.push(("scalerAddress", "a:1"));
        let trigger: ExternalTrigger = metadata::parse(&input(&pairs, &[])).unwrap().0;
        let trigger = ExternalTrigger::<false> {
            ca_cert: secrets.first().map(|(_, value)| Secret::new(*value)),
            ..trigger
        };
        trigger.tls().is_some()
    };
    assert!(!has_tls(&[("unsafeSsl", "true")], &[]));
    assert!(has_tls(&[("enableTLS", "true")], &[]));
    assert!(has_tls(&[], &[("caCert", "pem")]));
}

#[cfg(feature = "external-server")]
mod both_ends {
    use std::time::Duration;

    use async_trait::async_trait;
    use futures::{StreamExt as _, stream};
    use scaler_api::{
        Registry, Sample, Scaler,
        conformance::{self, Harness, Levels, Outage},
    };
    use tokio::{net::TcpListener, sync::watch};

    use super::*;
    use crate::external::server::ExternalServer;

    /// A trigger whose source is in the context.
    #[derive(Debug, Deserialize)]
    struct Shelf {
        #[serde(rename = "targetValue")]
        target: f64,
        token: Option<Secret>,
    }

    #[derive(Debug)]
    struct State {
        value: Mutex<f64>,
        outage: Mutex<Option<Outage>>,
        pushed: watch::Sender<Option<bool>>,
        samples: AtomicUsize,
        pushes: bool,
    }

    #[derive(Debug)]
    struct ShelfScaler(Arc<State>, Option<Secret>);

    impl Trigger for Shelf {
        const TYPE: &'static str = "shelf";
        type Scaler = ShelfScaler;

        fn fields() -> &'static [Field] {
            const FIELDS: &[Field] = &[
                Field::new("targetValue", "Target.").required(),
                Field::new("token", "Token.")
                    .from(&[Source::Environment, Source::Authentication])
                    .secret(),
            ];
            FIELDS
        }

        fn example() -> &'static str {
            "targetValue: \"1\"\n"
        }

        fn metrics(&self) -> Vec<MetricSpec> {
            vec![MetricSpec::External {
                name: "shelf.items".into(),
                target: MetricTarget::AverageValue(Quantity::from_f64_milli(self.target)),
            }]
        }

        fn source_key(&self) -> SourceKey {
            SourceKey::new("shelf").secret("token", &self.token.clone().unwrap_or_default())
        }

        async fn connect(self, context: &Context) -> Result<ShelfScaler, Error> {
            let state = context.get::<Arc<State>>().unwrap();
            Ok(ShelfScaler((*state).clone(), self.token))
        }
    }

    #[async_trait]
    impl Scaler for ShelfScaler {
        async fn sample(&self) -> Result<Sample, Error> {
            self.0.samples.fetch_add(1, Ordering::SeqCst);
            let outage = *self.0.outage.lock().unwrap();
            match outage {
                None => {}
                Some(Outage::Silent) => std::future::pending().await,
                Some(_) => return Err(Error::unavailable("the shelf is gone")),
            }
            if self.1.as_ref().is_some_and(|token| token.expose() == "wrong") {
                return Err(Error::new(ErrorKind::Unauthorized, "the token is wrong"));
            }
            let value = *self.0.value.lock().unwrap();
            Ok(Sample::single("shelf.items", value, value > 5.5))
        }

        fn push(&self) -> Option<&dyn scaler_api::PushScaler> {
            self.0.pushes.then_some(self as _)
        }
    }

    impl scaler_api::PushScaler for ShelfScaler {
        fn activations(&self) -> stream::BoxStream<'_, Result<bool, Error>> {
            stream::unfold(self.0.pushed.subscribe(), async |mut pushed| {
                pushed.changed().await.ok()?;
                let active = *pushed.borrow_and_update();
                Some((Ok(active?), pushed))
            })
            .boxed()
        }
    }

    struct Ends<const PUSH: bool> {
        state: Arc<State>,
        address: String,
        environment: ExternalEnvironment,
        task: tokio::task::JoinHandle<Result<(), Error>>,
    }

    impl<const PUSH: bool> Drop for Ends<PUSH> {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    impl<const PUSH: bool> Ends<PUSH> {
        async fn start(pushes: bool, max_age: Duration) -> Self {
            let state = Arc::new(State {
                value: Mutex::default(),
                outage: Mutex::default(),
                pushed: watch::Sender::new(None),
                samples: AtomicUsize::default(),
                pushes,
            });
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let mut registry = Registry::new();
            registry.register::<Shelf>();
            let context = Context::new()
                .with(Arc::clone(&state))
                .with_timeout(Duration::from_millis(200));
            let server = ExternalServer::new(registry, context)
                .of_type("shelf")
                .sharing_samples_for(max_age)
                .polling_every(Duration::from_millis(30));
            let task = tokio::spawn(server.serve(listener, None, std::future::pending()));
            Self {
                state,
                address,
                environment: ExternalEnvironment::new(),
                task,
            }
        }

        fn input_with(&self, token: &str) -> TriggerInput {
            let pairs = [
                ("scalerAddress", self.address.as_str()),
                ("targetValue", "2.5"),
                ("tokenFromEnv", "TOKEN"),
            ];
            let mut input = input(&pairs, &[]);
            input.environment.insert("TOKEN".into(), token.into());
            input
        }

        async fn connect(&self, input: &TriggerInput) -> ExternalScaler<PUSH> {
            let (trigger, _) = metadata::parse::<ExternalTrigger<PUSH>>(input).unwrap();
            trigger.connect(&self.context()).await.unwrap()
        }
    }

    #[async_trait]
    impl<const PUSH: bool> Harness for Ends<PUSH> {
        type Trigger = ExternalTrigger<PUSH>;

        fn input(&self) -> TriggerInput {
            self.input_with("hunter2hunter2")
        }

        fn secrets(&self) -> Vec<String> {
            vec!["hunter2hunter2".into()]
        }

        async fn set_value(&self, value: f64) {
            *self.state.value.lock().unwrap() = value;
        }

        async fn set_outage(&self, outage: Option<Outage>) {
            *self.state.outage.lock().unwrap() = outage;
        }

        fn levels(&self) -> Levels {
            Levels::around(5.5)
        }

        fn context(&self) -> Context {
            Context::new()
                .with(self.environment.clone())
                .with_timeout(Duration::from_millis(500))
        }

        fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
            Some(self.input_with("wrong"))
        }

        async fn open_connections(&self) -> Option<usize> {
            Some(self.environment.connections())
        }

        async fn push_activation(&self) -> bool {
            // Until somebody listens.
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if self.state.pushed.receiver_count() > 0 {
                    break;
                }
            }
            self.state.pushed.send_replace(Some(true));
            PUSH
        }
    }

    #[tokio::test]
    async fn external_conforms() {
        conformance::assert_conforms(&Ends::<false>::start(false, Duration::ZERO).await).await;
    }

    #[tokio::test]
    async fn external_push_conforms() {
        conformance::assert_conforms(&Ends::<true>::start(true, Duration::ZERO).await).await;
    }

    #[tokio::test]
    async fn metrics_outlive_an_outage_and_one_connection_and_one_sample_serve_all() {
        let ends = Ends::<false>::start(false, Duration::from_secs(5)).await;
        ends.set_value(7.0).await;
        let (trigger, _) = metadata::parse::<ExternalTrigger>(&ends.input()).unwrap();
        let metrics = trigger.discover(&ends.context()).await.unwrap();
        assert_eq!(metrics[0].external_name(), Some("shelf.items"), "not normalised");
        assert_eq!(
            *metrics[0].target(),
            MetricTarget::AverageValue(Quantity::from_millis(2500))
        );
        let (one, other) = (
            ends.connect(&ends.input()).await,
            ends.connect(&ends.input_with("other")).await,
        );
        assert_eq!(
            one.sample().await.unwrap(),
            Sample::single("shelf.items", 7.0, true)
        );
        let samples = ends.state.samples.load(Ordering::SeqCst);
        assert_eq!(samples, 1, "the value and the activity are one sample");
        other.sample().await.unwrap();
        assert_eq!(ends.environment.connections(), 1);
        ends.task.abort();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(trigger.discover(&ends.context()).await.unwrap(), metrics);
        assert_eq!(one.sample().await.unwrap_err().kind(), ErrorKind::Unavailable);
        drop((one, other));
        assert_eq!(ends.environment.connections(), 0);
        let elsewhere = Context::new().with(ExternalEnvironment::new());
        let error = trigger.discover(&elsewhere).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "nobody ever said");
    }

    #[tokio::test]
    async fn who_listens_to_a_source_that_does_not_push_is_told_what_polls_find() {
        let ends = Ends::<true>::start(false, Duration::from_secs(5)).await;
        ends.set_value(1.0).await;
        let scaler = ends.connect(&ends.input()).await;
        let mut activations = scaler.push().unwrap().activations();
        assert!(!activations.next().await.unwrap().unwrap());
        *ends.state.value.lock().unwrap() = 9.0;
        assert!(activations.next().await.unwrap().unwrap());
        *ends.state.outage.lock().unwrap() = Some(Outage::Down);
        let error = activations.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(activations.next().await.is_none());
    }

    #[tokio::test]
    async fn what_the_server_cannot_read_is_the_callers_fault() {
        let ends = Ends::<false>::start(false, Duration::from_secs(5)).await;
        for (key, value, expected) in [
            ("triggerType", "nothing", "no scaler found for type: nothing"),
            ("targetValue", "many", "\"targetValue\""),
        ] {
            let mut input = ends.input();
            input.metadata.insert(key.into(), value.into());
            let error = ends.connect(&input).await.sample().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(expected), "{error}");
        }
        let closed = Context::new().with(ExternalEnvironment::closed());
        let (trigger, _) = metadata::parse::<ExternalTrigger>(&ends.input()).unwrap();
        let error = trigger.connect(&closed).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
