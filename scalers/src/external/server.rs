//! The other end of the protocol: serves the triggers of a [`Registry`] to a KEDA.
//!
//! A ScaledObject of KEDA reads one of them through a trigger of type `external` or `external-push`, whose metadata is that
//! of the trigger here. Which type that is says the key `triggerType`, or the server, if it serves one type only:
//!
//! ```yaml
//! triggers:
//! - type: external-push
//!   metadata:
//!     scalerAddress: scalers.keda.svc:9090
//!     triggerType: cron
//!     timezone: Europe/Berlin
//!     start: 0 8 * * *
//!     end: 0 18 * * *
//!     desiredReplicas: "10"
//! ```
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use scaler_api::{Context, Registry};
//! use scalers::external::server::ExternalServer;
//!
//! let mut registry = Registry::new();
//! scalers::register_all(&mut registry);
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:9090").await?;
//! ExternalServer::new(registry, Context::new())
//!     .serve(listener, None, std::future::pending())
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! KEDA asks twice for a sample, once for the value and once for the activity, and again for every HPA: all of them share one,
//! as do ScaledObjects whose triggers are equal. A trigger that nobody asks for any more is dropped with its connection.
//! KEDA does not pass the parameters of a TriggerAuthentication on; what the environment of the target's container holds
//! (`<key>FromEnv`) it does, and credentials of the server's own come from [`ExternalServer::with_authentication`].

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{self, Poll},
    time::Duration,
};

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use scaler_api::{
    Context, DEFAULT_SAMPLE_MAX_AGE, Error, ErrorKind, MetricSpec, MetricTarget, ParsedTrigger, Registry,
    Sample, Scaler, Secret, SourceKey, TriggerInput, TriggerSettings,
    layer::{Layer as _, Shared, Timeout},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    sync::mpsc,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tonic::{
    Code, Request, Response, Status,
    transport::{Server, server::Connected},
};

use super::protocol::{
    self, GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricValue,
    ScaledObjectRef,
    external_scaler_server::{ExternalScaler, ExternalScalerServer},
};

/// The key of the metadata that names the type of the trigger.
const TRIGGER_TYPE: &str = "triggerType";
/// How often a source that does not push is sampled for whoever listens, where nothing else was said.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// A trigger that nobody has asked for as long as this is dropped.
const FORGET: Duration = Duration::from_secs(300);
/// How long a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves triggers by KEDA's protocol of external scalers.
pub struct ExternalServer {
    shared: Arc<Serving>,
}

struct Serving {
    registry: Registry,
    context: Context,
    trigger_type: Option<String>,
    authentication: BTreeMap<String, Secret>,
    max_age: Duration,
    poll_every: Duration,
    sources: Mutex<BTreeMap<SourceKey, Source>>,
}

struct Source {
    shared: Arc<Shared>,
    used: Instant,
}

impl fmt::Debug for ExternalServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalServer")
            .field("registry", &self.shared.registry)
            .field("trigger_type", &self.shared.trigger_type)
            .finish_non_exhaustive()
    }
}

impl ExternalServer {
    /// Serves the types of `registry`; scalers are connected in `context`, whose timeout is the deadline of a sample.
    #[must_use]
    pub fn new(registry: Registry, context: Context) -> Self {
        Self {
            shared: Arc::new(Serving {
                registry,
                context,
                trigger_type: None,
                authentication: BTreeMap::new(),
                max_age: DEFAULT_SAMPLE_MAX_AGE,
                poll_every: POLL_EVERY,
                sources: Mutex::default(),
            }),
        }
    }

    /// Serves triggers of this type where the metadata has no `triggerType`.
    #[must_use]
    pub fn of_type(self, trigger_type: &str) -> Self {
        self.with(|serving| serving.trigger_type = Some(trigger_type.to_owned()))
    }

    /// Parameters that every trigger gets, as from a TriggerAuthentication.
    #[must_use]
    pub fn with_authentication(self, parameters: BTreeMap<String, Secret>) -> Self {
        self.with(|serving| serving.authentication = parameters)
    }

    /// How old a sample may be that is given again; 5 s by default. With zero, KEDA's question for the value and that for the
    /// activity are two samples.
    #[must_use]
    pub fn sharing_samples_for(self, max_age: Duration) -> Self {
        self.with(|serving| serving.max_age = max_age)
    }

    /// How often a source that does not push is sampled for those who listen to it; 5 s by default.
    #[must_use]
    pub fn polling_every(self, interval: Duration) -> Self {
        self.with(|serving| serving.poll_every = interval)
    }

    fn with(mut self, change: impl FnOnce(&mut Serving)) -> Self {
        let serving = Arc::get_mut(&mut self.shared).expect("it is shared only once it serves");
        change(serving);
        self
    }

    /// Serves at `listener`, with TLS if there is any, until `shutdown`.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let tls = tls.map(|config| {
            let mut config = (*config).clone();
            config.alpn_protocols = vec![b"h2".to_vec()];
            TlsAcceptor::from(Arc::new(config))
        });
        Server::builder()
            .serve_with_incoming_shutdown(ExternalScalerServer::new(self), incoming(listener, tls), shutdown)
            .await
            .map_err(|error| Error::unavailable("the server of external scalers failed").with_source(error))
    }
}

impl Serving {
    /// The trigger that KEDA's object describes.
    #[allow(
        clippy::result_large_err,
        reason = "it is what every method of the protocol returns"
    )]
    fn parse(&self, object: ScaledObjectRef) -> Result<ParsedTrigger, Status> {
        let mut metadata = object.scaler_metadata;
        let trigger_type = metadata
            .remove(TRIGGER_TYPE)
            .or_else(|| self.trigger_type.clone())
            .ok_or_else(|| {
                Status::invalid_argument(format!("missing required parameter {TRIGGER_TYPE:?}"))
            })?;
        // KEDA has put the value in the place of the variable's name.
        let mut environment = BTreeMap::new();
        for (key, value) in metadata.iter_mut().filter(|(key, _)| key.ends_with("FromEnv")) {
            environment.insert(key.clone(), std::mem::replace(value, key.clone()));
        }
        let input = TriggerInput {
            metadata,
            authentication: self.authentication.clone(),
            environment,
            settings: TriggerSettings {
                namespace: object.namespace,
                name: object.name,
                ..TriggerSettings::default()
            },
        };
        self.registry
            .parse(&trigger_type, &input)
            .map_err(|problems| Status::invalid_argument(problems.to_string()))
    }

    /// The scaler of a trigger, shared by all that are equal.
    #[allow(
        clippy::result_large_err,
        reason = "it is what every method of the protocol returns"
    )]
    async fn source(&self, parsed: ParsedTrigger) -> Result<Arc<Shared>, Status> {
        let key = parsed.trigger.source_key();
        if let Some(shared) = self.known(&key) {
            return Ok(shared);
        }
        let connecting = parsed.trigger.connect(&self.context);
        let scaler = tokio::time::timeout(self.context.timeout, connecting)
            .await
            .map_err(|_| Status::deadline_exceeded("the scaler did not connect in time"))?
            .map_err(|error| status(&error))?;
        let scaler = Timeout::new(self.context.timeout).layer(scaler);
        let shared = Arc::new(Shared::new(scaler).with_max_age(self.max_age));
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let source = sources.entry(key).or_insert(Source {
            shared,
            used: Instant::now(),
        });
        Ok(Arc::clone(&source.shared))
    }

    fn known(&self, key: &SourceKey) -> Option<Arc<Shared>> {
        let (now, mut sources) = (
            Instant::now(),
            self.sources.lock().unwrap_or_else(PoisonError::into_inner),
        );
        let known = sources.get_mut(key).map(|source| {
            source.used = now;
            Arc::clone(&source.shared)
        });
        sources.retain(|_, source| now - source.used < FORGET);
        known
    }

    #[allow(
        clippy::result_large_err,
        reason = "it is what every method of the protocol returns"
    )]
    async fn sample(&self, object: Option<ScaledObjectRef>) -> Result<Sample, Status> {
        let object = object.ok_or_else(|| Status::invalid_argument("there is no scaledObjectRef"))?;
        let source = self.source(self.parse(object)?).await?;
        source.sample().await.map_err(|error| status(&error))
    }
}

/// The status of an error; its kind is the code.
fn status(error: &Error) -> Status {
    let code = match error.kind() {
        ErrorKind::Timeout => Code::DeadlineExceeded,
        ErrorKind::Throttled => Code::ResourceExhausted,
        ErrorKind::Unauthorized => Code::Unauthenticated,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::Internal => Code::Internal,
        _ => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

/// A value as older versions of KEDA read it: a whole number, which is never too low.
#[allow(clippy::cast_possible_truncation, reason = "a cast from a float saturates")]
fn whole(value: f64) -> i64 {
    value.ceil() as i64
}

fn described(spec: &MetricSpec) -> Option<protocol::MetricSpec> {
    let target = match spec.target() {
        MetricTarget::AverageValue(target) | MetricTarget::Value(target) => target.as_f64(),
        _ => return None,
    };
    Some(protocol::MetricSpec {
        metric_name: spec.external_name()?.to_owned(),
        target_size: whole(target),
        target_size_float: target,
    })
}

type Activations = BoxStream<'static, Result<IsActiveResponse, Status>>;

#[async_trait::async_trait]
impl ExternalScaler for ExternalServer {
    type StreamIsActiveStream = Activations;
    type StreamMetricSpecStream = BoxStream<'static, Result<GetMetricSpecResponse, Status>>;

    async fn is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        let sample = self.shared.sample(Some(request.into_inner())).await?;
        Ok(Response::new(IsActiveResponse {
            result: sample.active,
        }))
    }

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Activations>, Status> {
        let parsed = self.shared.parse(request.into_inner())?;
        let source = self.shared.source(parsed).await?;
        let (sender, receiver) = mpsc::channel(4);
        let every = self.shared.poll_every;
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = sender.closed() => {}
                () = listen(&source, every, &sender) => {}
            }
        });
        Ok(Response::new(
            stream::unfold(receiver, async |mut receiver| {
                let next = receiver.recv().await?;
                Some((next, receiver))
            })
            .boxed(),
        ))
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        let parsed = self.shared.parse(request.into_inner())?;
        let metrics = parsed.trigger.discover(&self.shared.context).await;
        let metrics = metrics.map_err(|error| status(&error))?;
        let metric_specs: Vec<_> = metrics.iter().filter_map(described).collect();
        if metric_specs.is_empty() {
            let message = format!(
                "triggers of type {} have no external metric",
                parsed.trigger.trigger_type()
            );
            return Err(Status::invalid_argument(message));
        }
        Ok(Response::new(GetMetricSpecResponse { metric_specs }))
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let request = request.into_inner();
        let sample = self.shared.sample(request.scaled_object_ref).await?;
        let name = request.metric_name;
        let value = sample
            .values
            .into_iter()
            .find(|value| value.name.eq_ignore_ascii_case(&name))
            .ok_or_else(|| Status::not_found(format!("there is no metric {name:?}")))?;
        Ok(Response::new(GetMetricsResponse {
            metric_values: vec![MetricValue {
                metric_name: name,
                metric_value: whole(value.value),
                metric_value_float: value.value,
            }],
        }))
    }

    /// Metrics follow from the metadata, which KEDA has.
    async fn stream_metric_spec(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        Err(Status::unimplemented("metrics do not change"))
    }
}

type Heard = mpsc::Sender<Result<IsActiveResponse, Status>>;

/// Tells what a source pushes; one that does not is polled, and every change told.
async fn listen(source: &Shared, every: Duration, heard: &Heard) {
    if let Some(push) = source.push() {
        let mut activations = push.activations();
        while let Some(active) = activations.next().await {
            if !tell(active, heard).await {
                return;
            }
        }
        return;
    }
    let mut last = None;
    loop {
        let active = source.sample_within(every).await.map(|(sample, _)| sample.active);
        let is_news = active.as_ref().ok() != last.as_ref();
        last = active.as_ref().ok().copied();
        if is_news && !tell(active, heard).await {
            return;
        }
        tokio::time::sleep(every).await;
    }
}

/// Whether there is more to tell: not after an error, and not to somebody who is gone.
async fn tell(active: Result<bool, Error>, heard: &Heard) -> bool {
    let is_well = active.is_ok();
    let answer = active
        .map(|result| IsActiveResponse { result })
        .map_err(|error| status(&error));
    heard.send(answer).await.is_ok() && is_well
}

/// A client's connection.
struct Incoming(Box<dyn crate::tcp::Stream>);

impl Connected for Incoming {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}

/// The connections of a listener; handshakes go on beside each other.
fn incoming(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
) -> impl futures::Stream<Item = std::io::Result<Incoming>> {
    let accepted = stream::unfold(listener, async |listener| {
        let stream = listener.accept().await.map(|(stream, _)| stream);
        Some((stream, listener))
    });
    let handshake = move |stream: std::io::Result<tokio::net::TcpStream>| {
        let tls = tls.clone();
        async move {
            let stream = match stream {
                Ok(stream) => stream,
                Err(error) => {
                    // Out of descriptors, as a rule; at once again would be a busy loop.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    return Some(Err(error));
                }
            };
            stream.set_nodelay(true).ok();
            let Some(tls) = tls else {
                return Some(Ok(Incoming(Box::new(stream))));
            };
            // Who does not make it is nobody's concern.
            let accepted = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await;
            Some(Ok(Incoming(Box::new(accepted.ok()?.ok()?))))
        }
    };
    accepted
        .map(handshake)
        .buffer_unordered(64)
        .filter_map(std::future::ready)
        .boxed()
}
