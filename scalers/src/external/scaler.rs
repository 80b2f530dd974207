//! Asks an external scaler.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use scaler_api::{Error, ErrorKind, MetricValue, PushScaler, Quantity, Sample, Scaler, SourceKey};
use tonic::{Code, Status, transport::Channel};

use super::{
    connection::{Connection, Described, ExternalEnvironment},
    protocol::{
        self, GetMetricsRequest, MetricSpec, ScaledObjectRef, external_scaler_client::ExternalScalerClient,
    },
};
use crate::tcp;

/// Asks an external scaler for one object; with `PUSH` it listens to its activations too.
pub struct ExternalScaler<const PUSH: bool = false> {
    pub(super) connection: Arc<Connection>,
    pub(super) environment: ExternalEnvironment,
    pub(super) timeout: Duration,
    pub(super) source: SourceKey,
    pub(super) address: String,
    pub(super) object: ScaledObjectRef,
}

/// Without the object, whose metadata may carry credentials.
impl<const PUSH: bool> fmt::Debug for ExternalScaler<PUSH> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalScaler")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

type Client = ExternalScalerClient<Channel>;

impl<const PUSH: bool> ExternalScaler<PUSH> {
    /// Asks within the deadline. What does not answer in time is not asked again over the same connection.
    async fn ask<T, F>(&self, question: impl FnOnce(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (number, channel) = self.connection.channel();
        let asking = question(ExternalScalerClient::new(channel));
        let answer = tcp::within(self.timeout, asking).await;
        if answer
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Timeout)
        {
            self.connection.give_up(number);
        }
        answer.map_err(|error| error.with_context("scalerAddress", &self.address))
    }

    /// Asks for the metrics, and keeps the answer.
    pub(super) async fn describe(&self) -> Result<Arc<[Described]>, Error> {
        let described = self.ask(|client| self.asked_metrics(client)).await?;
        self.environment.learn(&self.source, Arc::clone(&described));
        Ok(described)
    }

    async fn asked_metrics(&self, mut client: Client) -> Result<Arc<[Described]>, Error> {
        let answer = client.get_metric_spec(self.object.clone()).await.map_err(error)?;
        let described: Result<Vec<_>, _> = answer
            .into_inner()
            .metric_specs
            .into_iter()
            .map(described)
            .collect();
        match described? {
            none if none.is_empty() => Err(Error::invalid("the external scaler has no metrics")),
            some => Ok(some.into()),
        }
    }

    async fn read(&self, mut client: Client) -> Result<Sample, Error> {
        let described = match self.environment.known(&self.source) {
            Some(described) => described,
            None => {
                let described = self.asked_metrics(client.clone()).await?;
                self.environment.learn(&self.source, Arc::clone(&described));
                described
            }
        };
        let mut values = Vec::with_capacity(described.len());
        for metric in &*described {
            let request = GetMetricsRequest {
                scaled_object_ref: Some(self.object.clone()),
                metric_name: metric.name.clone(),
            };
            let answer = client.get_metrics(request).await.map_err(error)?;
            values.push(MetricValue {
                name: metric.name.clone(),
                value: total(&answer.into_inner().metric_values)
                    .map_err(|error| error.with_context("metric", &metric.name))?,
            });
        }
        let active = client.is_active(self.object.clone()).await.map_err(error)?;
        Ok(Sample {
            values,
            active: active.into_inner().result,
        })
    }

    async fn listen(&self) -> Result<BoxStream<'_, Result<bool, Error>>, Error> {
        let (_, channel) = self.connection.channel();
        let mut client = ExternalScalerClient::new(channel);
        let answers = client
            .stream_is_active(self.object.clone())
            .await
            .map_err(error)?
            .into_inner();
        Ok(answers
            .map(|answer| answer.map(|answer| answer.result).map_err(error))
            // Nothing comes after an error.
            .scan(false, |is_over, answer| {
                let answer = (!*is_over).then_some(answer);
                *is_over = answer.as_ref().is_none_or(Result::is_err);
                std::future::ready(answer)
            })
            .boxed())
    }
}

/// A metric's target: the number with a fraction, or where there is none the whole one that older scalers set.
fn described(spec: MetricSpec) -> Result<Described, Error> {
    let target = if spec.target_size_float > 0.0 {
        Quantity::from_f64_milli(spec.target_size_float)
    } else {
        Quantity::from_units(spec.target_size)
    };
    if spec.metric_name.is_empty() {
        return Err(Error::invalid("the external scaler has a metric without a name"));
    }
    if target <= Quantity::ZERO {
        let message = format!(
            "the external scaler's target of {:?} must be greater than 0, got {target}",
            spec.metric_name
        );
        return Err(Error::invalid(message));
    }
    Ok(Described {
        name: spec.metric_name,
        target,
    })
}

/// What an HPA makes of several values of a metric: their sum.
fn total(values: &[protocol::MetricValue]) -> Result<f64, Error> {
    if values.is_empty() {
        return Err(Error::invalid("the external scaler gives no value"));
    }
    let number = |value: &protocol::MetricValue| match value.metric_value_float {
        float if float > 0.0 => float,
        #[allow(clippy::cast_precision_loss, reason = "values have three decimals in the end")]
        _ => value.metric_value as f64,
    };
    Ok(values.iter().map(number).sum())
}

/// What a status means.
#[allow(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
pub(super) fn error(status: Status) -> Error {
    let kind = match status.code() {
        Code::DeadlineExceeded => ErrorKind::Timeout,
        Code::ResourceExhausted => ErrorKind::Throttled,
        Code::Unauthenticated | Code::PermissionDenied => ErrorKind::Unauthorized,
        Code::NotFound => ErrorKind::NotFound,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::AlreadyExists => {
            ErrorKind::Invalid
        }
        Code::Unimplemented => ErrorKind::Unsupported,
        // A scaler that gives no code says Unknown; lost connections have several.
        _ => ErrorKind::Unavailable,
    };
    let mut words = vec![status.message().to_owned()];
    let mut cause = std::error::Error::source(&status);
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.dedup();
    Error::new(kind, "the external scaler does not answer as it should").with_source(words.join(": "))
}

#[async_trait]
impl<const PUSH: bool> Scaler for ExternalScaler<PUSH> {
    async fn sample(&self) -> Result<Sample, Error> {
        self.ask(|client| self.read(client)).await
    }

    fn push(&self) -> Option<&dyn PushScaler> {
        if PUSH { Some(self) } else { None }
    }
}

impl<const PUSH: bool> PushScaler for ExternalScaler<PUSH> {
    /// There is no deadline: an external scaler says nothing until there is something to say.
    fn activations(&self) -> BoxStream<'_, Result<bool, Error>> {
        stream::once(self.listen()).try_flatten().boxed()
    }
}
