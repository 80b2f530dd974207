//! The suite passes a good scaler, through every layer, and fails bad ones.

use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::registry::Registry;
use serde::Deserialize;

use super::*;
use crate::{
    Error, ErrorKind, Field, MetricSpec, MetricTarget, PushScaler, Quantity, Sample, Secret, Source,
    SourceKey,
    layer::{Chaos, Layer, Metered, Retry, SampleMetrics, Sharing, Traced},
    metadata::GoDuration,
    testing::{Probe, State, World},
};

/// What the trigger under test does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    ZeroOnOutage,
    ActiveAtThreshold,
    WrongOutageKind,
    ShowsPassword,
    Leaks,
    ForgetsName,
    AcceptsAnybody,
    StaysBusyWhenDropped,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProbeTrigger {
    length: i64,
    activation_length: f64,
    timeout: Option<GoDuration>,
    login: Login,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Login {
    password: Secret,
}

impl fmt::Debug for ProbeTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {:?} {:?}",
            self.length, self.activation_length, self.timeout, self.login
        )
    }
}

static FIELDS: [Field; 4] = [
    Field::new("length", "Work per replica.").default("5"),
    Field::new("activationLength", "Above it the trigger is active.")
        .default("0")
        .aliases(&["activation"]),
    Field::new("timeout", "Deadline of a request."),
    Field::new("password", "Lets the scaler in.")
        .required()
        .from(&[Source::Authentication])
        .secret(),
];

impl Trigger for ProbeTrigger {
    const TYPE: &'static str = "probe";
    type Scaler = ProbeScaler;

    fn fields() -> &'static [Field] {
        &FIELDS
    }

    fn example() -> &'static str {
        "length: \"5\"\nactivationLength: \"2\"\ntimeout: 3s\n"
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        let target = MetricTarget::AverageValue(Quantity::from_units(self.length));
        vec![MetricSpec::External {
            name: "probe".into(),
            target,
        }]
    }

    fn source_key(&self) -> SourceKey {
        SourceKey::new(Self::TYPE).secret("password", &self.login.password)
    }

    async fn connect(self, context: &Context) -> Result<ProbeScaler, Error> {
        let world = context
            .get::<Arc<World>>()
            .ok_or_else(|| Error::invalid("no world"))?;
        let fault = context.get::<Fault>().map_or(Fault::None, |fault| *fault);
        if self.login.password.expose() != "hunter2" && fault != Fault::AcceptsAnybody {
            return Err(Error::new(ErrorKind::Unauthorized, "the password is wrong"));
        }
        let mut probe = Probe::new(&world);
        probe.activation = self.activation_length;
        if fault == Fault::Leaks {
            std::mem::forget(Probe::new(&world));
        }
        Ok(ProbeScaler {
            probe,
            fault,
            busy: AtomicBool::new(false),
        })
    }
}

struct ProbeScaler {
    probe: Probe,
    fault: Fault,
    busy: AtomicBool,
}

impl fmt::Debug for ProbeScaler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.fault == Fault::ShowsPassword {
            "probe for hunter2"
        } else {
            "probe"
        })
    }
}

#[async_trait]
impl Scaler for ProbeScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        if self.fault == Fault::StaysBusyWhenDropped && self.busy.swap(true, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Internal, "busy"));
        }
        let mut result = self.probe.sample().await;
        self.busy.store(false, Ordering::SeqCst);
        match (&mut result, self.fault) {
            (Err(_), Fault::ZeroOnOutage) => return Ok(Sample::single("probe", 0.0, false)),
            (Err(_), Fault::WrongOutageKind) => return Err(Error::not_found("the source is down")),
            (Ok(sample), Fault::ActiveAtThreshold) => {
                sample.active = sample.values[0].value >= self.probe.activation
            }
            (Ok(sample), Fault::ForgetsName) => sample.values[0].name.clear(),
            _ => {}
        }
        result
    }

    fn push(&self) -> Option<&dyn PushScaler> {
        self.probe.push()
    }
}

struct ProbeHarness {
    world: Arc<World>,
    fault: Fault,
    layers: Stack,
}

impl ProbeHarness {
    fn new(fault: Fault) -> Self {
        Self {
            world: Arc::default(),
            fault,
            layers: Stack::new(),
        }
    }

    fn through(layer: impl Layer) -> Self {
        Self {
            layers: Stack::new().with(layer),
            ..Self::new(Fault::None)
        }
    }
}

fn input(password: &str) -> TriggerInput {
    let mut input = TriggerInput::default();
    input.metadata.insert("activationLength".into(), "2".into());
    input
        .authentication
        .insert("password".into(), Secret::new(password));
    input
}

#[async_trait]
impl Harness for ProbeHarness {
    type Trigger = ProbeTrigger;

    fn input(&self) -> TriggerInput {
        input("hunter2")
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        Some(input("hunter3"))
    }

    fn context(&self) -> Context {
        Context::new().with(Arc::clone(&self.world)).with(self.fault)
    }

    fn levels(&self) -> Levels {
        Levels::around(2.0)
    }

    fn layers(&self) -> Stack {
        self.layers.clone().with(Timeout::new(self.context().timeout))
    }

    async fn set_value(&self, value: f64) {
        self.world.set_delay(Duration::from_millis(5));
        self.world.set_value(value);
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        self.world.set_state(match outage {
            None => State::Up,
            Some(Outage::Down) => State::Down,
            Some(Outage::Silent) => State::Silent,
        });
    }

    async fn open_connections(&self) -> Option<usize> {
        Some(self.world.open.load(Ordering::SeqCst))
    }

    async fn push_activation(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_scaler_passes_every_case() {
    let report = run(&ProbeHarness::new(Fault::None)).await;
    for case in report.cases() {
        assert_eq!(case.outcome, Outcome::Passed, "{}\n{report}", case.name);
    }
    assert_eq!(report.cases().len(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_good_scaler_passes_through_every_layer() {
    let metrics = SampleMetrics::register(&mut Registry::default());
    assert_conforms(&ProbeHarness::through(Sharing::new(Duration::ZERO))).await;
    assert_conforms(&ProbeHarness::through(Retry::new(2))).await;
    assert_conforms(&ProbeHarness::through(Traced::new("probe"))).await;
    assert_conforms(&ProbeHarness::through(Metered::new(metrics, "probe"))).await;
    assert_conforms(&ProbeHarness::through(
        Chaos::new(1).with_delays(Duration::from_secs(1)),
    ))
    .await;
    assert_conforms(&ProbeHarness::through(Timeout::new(Duration::from_secs(1)))).await;
}

#[tokio::test(start_paused = true)]
async fn bad_scalers_fail_the_case_that_is_about_them() {
    for (fault, expected) in [
        (
            Fault::ZeroOnOutage,
            "an outage is an error: Down: a value instead of an error",
        ),
        (
            Fault::WrongOutageKind,
            "an outage is an error: Down: an error of kind NotFound",
        ),
        (
            Fault::ActiveAtThreshold,
            "activation is strictly above: at 2 active is true",
        ),
        (
            Fault::ShowsPassword,
            "credentials are hidden: Debug of the scaler shows a credential",
        ),
        (Fault::Leaks, "dropped scalers leave nothing open"),
        (
            Fault::ForgetsName,
            "samples follow the source: the metrics are [\"probe\"], the values are of [\"\"]",
        ),
        (
            Fault::AcceptsAnybody,
            "bad credentials are told: a value instead of an error",
        ),
        (
            Fault::StaysBusyWhenDropped,
            "a dropped sample leaves no trace: after a sample was dropped at poll 1",
        ),
    ] {
        let report = run(&ProbeHarness::new(fault)).await;
        let failed: Vec<_> = report
            .cases()
            .iter()
            .filter(|case| matches!(case.outcome, Outcome::Failed(_)))
            .map(|case| case.name)
            .collect();
        // A scaler that can be busy has the other two cases about several samples against it, too.
        assert_eq!(
            failed.len(),
            if fault == Fault::StaysBusyWhenDropped {
                3
            } else {
                1
            },
            "{fault:?}\n{report}"
        );
        assert!(
            report.to_string().contains(&format!("FAILED   {expected}")),
            "{fault:?}\n{report}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn chaos_does_not_conform() {
    let report = run(&ProbeHarness::through(Chaos::new(1).with_errors(0.5))).await;
    assert!(!report.passed(), "{report}");
}

mod fields {
    use super::*;

    /// A harness of a trigger whose fields do not fit its struct.
    macro_rules! misfit {
        ($name:ident, $fields:expr, $example:literal, $why:literal) => {
            mod $name {
                use super::*;

                #[derive(Debug, Deserialize)]
                struct Misfit {
                    length: Option<i64>,
                    mode: Option<String>,
                }

                impl Trigger for Misfit {
                    const TYPE: &'static str = "misfit";
                    type Scaler = Probe;

                    fn fields() -> &'static [Field] {
                        static FIELDS: &[Field] = $fields;
                        FIELDS
                    }

                    fn example() -> &'static str {
                        $example
                    }

                    fn metrics(&self) -> Vec<MetricSpec> {
                        let length = self.length.unwrap_or(1);
                        let name = self.mode.clone().unwrap_or_else(|| "misfit".into());
                        vec![MetricSpec::External {
                            name,
                            target: MetricTarget::Value(Quantity::from_units(length)),
                        }]
                    }

                    fn source_key(&self) -> SourceKey {
                        SourceKey::new(Self::TYPE)
                    }

                    async fn connect(self, _: &Context) -> Result<Probe, Error> {
                        Ok(Probe::new(&Arc::default()))
                    }
                }

                struct MisfitHarness;

                #[async_trait]
                impl Harness for MisfitHarness {
                    type Trigger = Misfit;

                    fn input(&self) -> TriggerInput {
                        TriggerInput::default()
                    }

                    async fn set_value(&self, _: f64) {}

                    async fn set_outage(&self, _: Option<Outage>) {}
                }

                #[tokio::test(start_paused = true)]
                async fn is_found() {
                    let report = run(&MisfitHarness).await.to_string();
                    assert!(report.contains(concat!("FAILED   ", $why)), "{report}");
                }
            }
        };
    }

    misfit!(
        an_undescribed_key,
        &[Field::new("length", "A length.")],
        "length: \"1\"",
        "fields describe the struct: the struct reads [\"mode\"], which fields() does not list"
    );
    misfit!(
        an_unread_field,
        &[
            Field::new("length", "A length."),
            Field::new("mode", "A mode."),
            Field::new("more", "More.")
        ],
        "length: \"1\"",
        "fields describe the struct: fields() lists [\"more\"], which the struct does not read"
    );
    misfit!(
        a_default_that_is_not_allowed,
        &[
            Field::new("length", "A length."),
            Field::new("mode", "A mode.").allowed(&["a"]).default("b")
        ],
        "length: \"1\"",
        "fields describe the struct: the default \"b\" of \"mode\" is not one of [\"a\"]"
    );
    misfit!(
        an_example_with_a_number,
        &[Field::new("length", "A length."), Field::new("mode", "A mode.")],
        "length: 1",
        "the example parses: the value of \"length\" is no string, 1 must be quoted"
    );
    misfit!(
        an_example_with_an_unknown_key,
        &[Field::new("length", "A length."), Field::new("mode", "A mode.")],
        "lenght: \"1\"",
        "the example parses: parameter \"lenght\" is unknown (did you mean \"length\"?)"
    );
    misfit!(
        a_name_that_is_not_normalised,
        &[
            Field::new("length", "A length."),
            Field::new("mode", "A mode.").default("a.b")
        ],
        "length: \"1\"",
        "metrics are stable: \"a.b\" is not normalised"
    );
}
