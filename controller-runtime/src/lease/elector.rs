//! Reads the Lease, decides, and writes it, if nobody else has meanwhile.

use std::{collections::BTreeSet, convert::Infallible, fmt, sync::Arc, time::Duration};

use futures::future::{Either, pending, select};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams, core::ObjectMeta, runtime::watcher};
use scaler_api::SharedClock;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use super::{ElectorOptions, InvalidOptions, Leadership, Observed, Own, Step, Writes, decide};
use crate::{
    events::{EventType, Recorder},
    store::Informer,
};

const MICROSECOND: SignedDuration = SignedDuration::from_micros(1);

/// Stands for election to a Lease.
///
/// A replica that is not elected watches the Lease, and looks at it every retry period as well, so it takes over at once when the Lease is given
/// back, and as soon as it ends when its holder is gone.
pub struct Elector {
    leases: Api<Lease>,
    clock: SharedClock,
    recorder: Option<Recorder>,
    writes: Option<Writes>,
    options: ElectorOptions,
    leadership: Leadership,
    own: Own,
    observed: Option<Observed>,
}

impl fmt::Debug for Elector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elector")
            .field("options", &self.options)
            .field("leadership", &self.leadership)
            .finish_non_exhaustive()
    }
}

/// What came of looking at the Lease.
enum Outcome {
    /// It is this process's, by a write that was begun then.
    Held { since: Instant },
    /// It is another's until then.
    Taken { until: Instant },
}

/// However the election ends, nobody leads by it afterwards.
struct StepDown(Leadership);

impl Drop for StepDown {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Elector {
    /// Stands for nothing before it [runs](Self::run).
    ///
    /// # Errors
    /// If the options elect nobody, or two.
    pub fn new(client: Client, clock: SharedClock, options: ElectorOptions) -> Result<Self, InvalidOptions> {
        options.check()?;
        Ok(Self {
            leases: Api::namespaced(client, &options.namespace),
            clock,
            recorder: None,
            writes: None,
            own: Own {
                identity: options.identity.clone(),
                lease_duration: options.lease_duration,
                written: BTreeSet::new(),
            },
            options,
            leadership: Leadership::standby(),
            observed: None,
        })
    }

    /// Publishes an event about the Lease when this process begins or stops leading.
    #[must_use]
    pub fn with_recorder(self, recorder: Recorder) -> Self {
        Self {
            recorder: Some(recorder),
            ..self
        }
    }

    /// Gives the Lease back only when `writes` are settled: those of the client that all work goes through.
    #[must_use]
    pub fn with_writes(self, writes: Writes) -> Self {
        Self {
            writes: Some(writes),
            ..self
        }
    }

    /// Whether this process leads.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Elects until `shutdown` resolves; a leader that had to step down stands again.
    ///
    /// The order of the end: `shutdown` resolves (whatever writes without asking the [`Leadership`] must have
    /// stopped by then), the leadership ends, everything that runs in
    /// [`while_leading`](Leadership::while_leading) is dropped, its [writes](Self::with_writes) have their answers, and
    /// only then is the Lease given back, so that another replica leads at once. If something does not stop, the Lease is not given back but ends by itself. If this future is dropped
    /// instead, the leadership ends and the Lease is left to end by itself.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let step_down = StepDown(self.leadership.clone());
        match select(std::pin::pin!(shutdown), std::pin::pin!(self.elect())).await {
            Either::Left(((), _)) => {}
            Either::Right((never, _)) => match never {},
        }
        let has_led = self.leadership.leads();
        drop(step_down);
        if has_led {
            self.announce("stopped leading");
        }
        let limit = Instant::now() + self.patience();
        let give_back = async {
            self.leadership.idle().await;
            if let Some(writes) = &self.writes {
                writes.settled().await;
            }
            match self.release().await {
                // A renewal that was under way came first.
                Err(kube::Error::Api(status)) if status.is_conflict() => self.release().await,
                result => result,
            }
        };
        match timeout_at(limit, give_back).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not given back, it will end by itself"),
            Err(_elapsed) => tracing::warn!("the lease was not given back in time, it will end by itself"),
        }
    }

    /// How long one request may take: a lost one must not cost the leadership.
    fn patience(&self) -> Duration {
        self.options.renew_deadline / 2
    }

    async fn elect(&mut self) -> Infallible {
        loop {
            let since = self.stand_by().await;
            self.leadership.lead_until(since + self.options.renew_deadline);
            self.announce("became leader");
            self.renew(since).await;
            self.leadership.set(false);
            self.announce("stopped leading");
            // The next term begins with nothing of this one.
            self.leadership.idle().await;
        }
    }

    /// Looks at the Lease until it is this process's; says when the write that made it so was begun.
    async fn stand_by(&mut self) -> Instant {
        let changed = Arc::new(Notify::new());
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.options.name));
        let mut watch = Informer::with_config(self.leases.clone(), only);
        watch.subscribe({
            let changed = Arc::clone(&changed);
            move |_| changed.notify_one()
        });
        let looking = async {
            loop {
                let limit = Instant::now() + self.patience();
                let next = match timeout_at(limit, self.attempt(true)).await {
                    Ok(Ok(Outcome::Held { since })) => return since,
                    Ok(Ok(Outcome::Taken { until })) => Some(until),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "standing for election failed, trying again");
                        None
                    }
                    Err(_elapsed) => None,
                };
                let usual = Instant::now() + self.options.retry_period;
                tokio::select! {
                    biased;
                    () = changed.notified() => {}
                    () = sleep_until(next.map_or(usual, |next| next.min(usual))) => {}
                }
            }
        };
        let watching = async {
            watch.run().await;
            pending::<()>().await;
        };
        tokio::select! {
            biased;
            since = looking => since,
            () = watching => pending().await,
        }
    }

    /// Renews until that is not possible any more.
    async fn renew(&mut self, mut since: Instant) {
        let pause = self.options.retry_period;
        loop {
            let deadline = since + self.options.renew_deadline;
            sleep_until((Instant::now() + pause).min(deadline)).await;
            if Instant::now() >= deadline {
                tracing::warn!("the lease was not renewed in time");
                return;
            }
            let limit = deadline.min(Instant::now() + self.patience());
            match timeout_at(limit, self.attempt(false)).await {
                Ok(Ok(Outcome::Held { since: renewed })) => {
                    since = renewed;
                    self.leadership.lead_until(since + self.options.renew_deadline);
                }
                Ok(Ok(Outcome::Taken { .. })) => {
                    tracing::warn!("the lease is another's");
                    return;
                }
                Ok(Err(error)) => tracing::warn!(%error, "the lease was not renewed, trying again"),
                Err(_elapsed) => tracing::warn!("renewing the lease took too long, trying again"),
            }
        }
    }

    /// Looks, unless what was seen last will do, decides and writes; once more if somebody else wrote meanwhile.
    async fn attempt(&mut self, look: bool) -> kube::Result<Outcome> {
        if look {
            self.look().await?;
        }
        match self.act().await {
            Err(kube::Error::Api(status))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                self.look().await?;
                self.act().await
            }
            result => result,
        }
    }

    async fn look(&mut self) -> kube::Result<()> {
        let lease = self.leases.get_opt(&self.options.name).await?;
        // Only now: a renewal that was seen late is waited for longer, never shorter.
        self.observed = Observed::after(self.observed.take(), lease, Instant::now());
        Ok(())
    }

    async fn act(&mut self) -> kube::Result<Outcome> {
        let since = Instant::now();
        let known = self.observed.as_ref();
        let spec = known.map(|observed| observed.spec.clone()).unwrap_or_default();
        let (spec, is_new) = match decide(known, &self.own, since) {
            Step::Wait { until } => return Ok(Outcome::Taken { until }),
            Step::Create => (self.taken(LeaseSpec::default()), true),
            Step::Take => (self.taken(spec), false),
            Step::Renew => (self.renewed(spec), false),
        };
        self.write(spec, is_new).await?;
        Ok(Outcome::Held { since })
    }

    fn taken(&self, spec: LeaseSpec) -> LeaseSpec {
        let is_first = spec == LeaseSpec::default();
        let transitions = spec
            .lease_transitions
            .unwrap_or(0)
            .saturating_add(i32::from(!is_first));
        let now = self.now();
        self.renewed(LeaseSpec {
            holder_identity: Some(self.options.identity.clone()),
            acquire_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..spec
        })
    }

    fn renewed(&self, spec: LeaseSpec) -> LeaseSpec {
        let seconds = self.options.lease_duration.as_millis().div_ceil(1000);
        let now = self.now();
        let renewed = match &spec.renew_time {
            // A clock that stands still must not make a renewal look like none.
            Some(known) if known.0 == now => now.saturating_add(MICROSECOND).unwrap_or(now),
            _ => now,
        };
        LeaseSpec {
            renew_time: Some(MicroTime(renewed)),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            ..spec
        }
    }

    /// The time of day as a Lease has it.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// Writes `spec` over the Lease that was seen last and no other.
    async fn write(&mut self, spec: LeaseSpec, is_new: bool) -> kube::Result<()> {
        // Before it is sent: the answer may be lost.
        let renewed = spec.renew_time.as_ref().map(|time| time.0);
        self.own.written.extend(renewed);
        let known = self
            .observed
            .as_ref()
            .and_then(|observed| observed.lease.as_ref());
        let metadata = match known {
            Some(known) if !is_new => known.metadata.clone(),
            _ => ObjectMeta {
                name: Some(self.options.name.clone()),
                ..ObjectMeta::default()
            },
        };
        let lease = Lease {
            metadata,
            spec: Some(spec),
        };
        let params = PostParams::default();
        let written = if is_new {
            self.leases.create(&params, &lease).await?
        } else {
            self.leases.replace(&self.options.name, &params, &lease).await?
        };
        self.own.written.retain(|time| Some(*time) == renewed);
        self.observed = Observed::after(self.observed.take(), Some(written), Instant::now());
        Ok(())
    }

    /// Gives the Lease back, if it is this process's.
    async fn release(&mut self) -> kube::Result<()> {
        if self.own.written.is_empty() {
            return Ok(());
        }
        self.look().await?;
        let Some(observed) = self.observed.as_ref() else {
            return Ok(());
        };
        if observed.lease.is_none() || !self.own.wrote(&observed.spec) {
            return Ok(());
        }
        let now = self.now();
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            ..observed.spec.clone()
        };
        self.write(spec, false).await
    }

    fn announce(&self, what: &str) {
        tracing::info!(
            lease = self.options.name,
            identity = self.options.identity,
            "{what}"
        );
        let Some(recorder) = &self.recorder else { return };
        let known = self
            .observed
            .as_ref()
            .and_then(|observed| observed.lease.as_ref());
        let about = ObjectReference {
            api_version: Some("coordination.k8s.io/v1".to_owned()),
            kind: Some("Lease".to_owned()),
            namespace: Some(self.options.namespace.clone()),
            name: Some(self.options.name.clone()),
            uid: known.and_then(|lease| lease.metadata.uid.clone()),
            ..ObjectReference::default()
        };
        let message = format!("{} {what}", self.options.identity);
        recorder.publish_about(about, EventType::Normal, "LeaderElection", message);
    }
}
