//! How offsets are read: from whom to ask what, over connections that are kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use scaler_api::{Error, ErrorKind};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Mutex,
};

use super::{
    lag::{Offsets, Partition},
    sasl::Login,
    wire::{self, Layout, Request},
};
use crate::tcp::{self, Failure, Kept, Peer, Stream, Tls};

/// The longest answer that is read: metadata of some ten thousand partitions.
const MAX_ANSWER: i32 = 16 * 1024 * 1024;

/// How an answer begins of a server that takes no connection without TLS.
const TLS_ALERT: u8 = 21;
const TLS_VERSION: u8 = 3;

/// Whoever knows where a group and its partitions are.
#[async_trait]
pub(super) trait KafkaLag: std::fmt::Debug + Send + Sync {
    /// The offsets of every partition that counts.
    async fn offsets(&self) -> Result<BTreeMap<Partition, Offsets>, Error>;
}

#[async_trait]
impl KafkaLag for Kept<Cluster> {
    async fn offsets(&self) -> Result<BTreeMap<Partition, Offsets>, Error> {
        self.ask().await
    }
}

/// Brokers, and the group that is asked for. It does not join the group.
pub(super) struct Cluster {
    /// Where to begin; the others are told there.
    pub(super) servers: Vec<String>,
    pub(super) tls: Option<Tls>,
    pub(super) login: Login,
    pub(super) group: String,
    /// None for all that the group has committed to.
    pub(super) topics: BTreeSet<String>,
    /// The partitions that count, if not all do.
    pub(super) only: Option<BTreeSet<i32>>,
    /// How long one server may take to take a connection.
    pub(super) patience: Duration,
}

/// Connections to brokers, by address.
pub(super) struct Session {
    /// The address at which it began.
    first: String,
    wires: BTreeMap<String, Wire>,
    /// Whether a question was begun and not ended: what comes next is its answer, and nobody's.
    is_dirty: bool,
}

/// A connection to one broker.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    number: i32,
}

#[async_trait]
impl Peer for Cluster {
    type Connection = Arc<Mutex<Session>>;
    type Answer = BTreeMap<Partition, Offsets>;

    async fn connect(&self) -> Result<Arc<Mutex<Session>>, Error> {
        let mut last = Error::invalid("no bootstrap server is given");
        for first in &self.servers {
            match tcp::within(self.patience, self.begin(first)).await {
                Ok(wire) => {
                    return Ok(Arc::new(Mutex::new(Session {
                        first: first.clone(),
                        wires: BTreeMap::from([(first.clone(), wire)]),
                        is_dirty: false,
                    })));
                }
                Err(error) if error.is_transient() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    async fn ask(&self, session: &Arc<Mutex<Session>>) -> Result<BTreeMap<Partition, Offsets>, Failure> {
        let mut session = session.lock().await;
        if session.is_dirty {
            return Err(Failure::lost(Error::unavailable(
                "the connection was given up by another sample",
            )));
        }
        session.is_dirty = true;
        let answer = session.offsets(self).await;
        session.is_dirty = false;
        answer
    }
}

impl Cluster {
    /// Connects to the broker that knows the others. One that takes connections and no more is none where there are others.
    async fn begin(&self, address: &str) -> Result<Wire, Error> {
        let mut wire = self.dial(address).await?;
        if self.servers.len() > 1 {
            let answer = wire.call(Request::metadata(std::iter::empty())).await;
            answer.map_err(|failure| failure.error.with_context("address", address))?;
        }
        Ok(wire)
    }

    /// Connects to a broker and logs in.
    async fn dial(&self, address: &str) -> Result<Wire, Error> {
        let stream = tcp::connect(address, self.tls.as_ref()).await?;
        let mut wire = Wire { stream, number: 0 };
        let logged_in = self.login.log_in(&mut wire, tcp::host(address)).await;
        logged_in.map_err(|failure| failure.error.with_context("address", address))?;
        Ok(wire)
    }

    fn counts(&self, partition: i32) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&partition))
    }

    fn layout(&self, answer: &[u8], topics: &BTreeSet<String>) -> Result<Layout, Failure> {
        let layout = wire::metadata(answer, |partition| self.counts(partition));
        let layout = layout.map_err(Failure::answered)?;
        for topic in topics {
            if !layout.leaders.keys().any(|(name, _)| name == topic) {
                let error = Error::not_found("the topic has no partition that counts");
                return Err(Failure::answered(error.with_context("topic", topic)));
            }
        }
        Ok(layout)
    }
}

impl Session {
    async fn offsets(&mut self, cluster: &Cluster) -> Result<BTreeMap<Partition, Offsets>, Failure> {
        if cluster.topics.is_empty() {
            return self.offsets_of_all(cluster).await;
        }
        let first = self.first.clone();
        let questions = vec![
            (first.clone(), Request::metadata(cluster.topics.iter())?),
            (first, Request::find_coordinator(&cluster.group)?),
        ];
        let [layout, coordinator] = self.exchange(cluster, questions).await?;
        let layout = cluster.layout(&layout, &cluster.topics)?;
        let coordinator = wire::find_coordinator(&coordinator).map_err(Failure::answered)?;
        let partitions: BTreeSet<Partition> = layout.leaders.keys().cloned().collect();
        let mut questions = vec![(
            coordinator,
            Request::offset_fetch(&cluster.group, Some(&partitions))?,
        )];
        questions.extend(ends(&layout)?);
        let answers = self.exchange_all(cluster, questions).await?;
        let (committed, ends) = answers.split_first().ok_or_else(lost_answer)?;
        let committed = wire::offset_fetch(committed).map_err(Failure::answered)?;
        join(&layout, &committed, ends)
    }

    /// The group has to be asked first which topics it has.
    async fn offsets_of_all(&mut self, cluster: &Cluster) -> Result<BTreeMap<Partition, Offsets>, Failure> {
        let first = self.first.clone();
        let question = vec![(first.clone(), Request::find_coordinator(&cluster.group)?)];
        let [coordinator] = self.exchange(cluster, question).await?;
        let coordinator = wire::find_coordinator(&coordinator).map_err(Failure::answered)?;
        let question = vec![(coordinator, Request::offset_fetch(&cluster.group, None)?)];
        let [committed] = self.exchange(cluster, question).await?;
        let committed = wire::offset_fetch(&committed).map_err(Failure::answered)?;
        let topics: BTreeSet<String> = committed.keys().map(|(topic, _)| topic.clone()).collect();
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let question = vec![(first, Request::metadata(topics.iter())?)];
        let [layout] = self.exchange(cluster, question).await?;
        let layout = cluster.layout(&layout, &topics)?;
        let answers = self.exchange_all(cluster, ends(&layout)?).await?;
        join(&layout, &committed, &answers)
    }

    async fn exchange<const N: usize>(
        &mut self,
        cluster: &Cluster,
        questions: Vec<(String, Request)>,
    ) -> Result<[Vec<u8>; N], Failure> {
        let answers = self.exchange_all(cluster, questions).await?;
        answers.try_into().map_err(|_| lost_answer())
    }

    /// Sends every question before the first answer is read. No answer is left unread, unless its connection is lost.
    async fn exchange_all(
        &mut self,
        cluster: &Cluster,
        questions: Vec<(String, Request)>,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        for (address, _) in &questions {
            if !self.wires.contains_key(address) {
                let wire = cluster.dial(address).await.map_err(Failure::answered)?;
                self.wires.insert(address.clone(), wire);
            }
        }
        // One write for each broker: what comes in several waits for the acknowledgement of the one before.
        let mut frames = BTreeMap::<&String, Vec<u8>>::new();
        let mut asked = Vec::new();
        for (address, question) in &questions {
            let wire = self.wires.get_mut(address).ok_or_else(lost_answer)?;
            let (number, frame) = wire.frame(question);
            frames.entry(address).or_default().extend(frame);
            asked.push((address, number));
        }
        for (address, frames) in frames {
            let wire = self.wires.get_mut(address).ok_or_else(lost_answer)?;
            wire.write(&frames).await?;
        }
        let mut answers = Vec::new();
        for (address, number) in asked {
            let wire = self.wires.get_mut(address).ok_or_else(lost_answer)?;
            answers.push(wire.receive(number).await?);
        }
        Ok(answers)
    }
}

/// What to ask which leader.
fn ends(layout: &Layout) -> Result<Vec<(String, Request)>, Failure> {
    let mut by_leader = BTreeMap::<&String, BTreeSet<Partition>>::new();
    for (partition, leader) in &layout.leaders {
        let address = layout.brokers.get(leader).ok_or_else(|| {
            let error = Error::unavailable("the partition has no leader");
            let error = error.with_context("topic", &partition.0);
            Failure::answered(error.with_context("partition", partition.1.to_string()))
        })?;
        by_leader.entry(address).or_default().insert(partition.clone());
    }
    let questions = by_leader
        .into_iter()
        .map(|(address, partitions)| Ok((address.clone(), Request::list_offsets(&partitions)?)));
    questions.collect()
}

/// Puts together what the coordinator and the leaders said. A partition of which no leader spoke is an error, not 0.
fn join(
    layout: &Layout,
    committed: &BTreeMap<Partition, i64>,
    answers: &[Vec<u8>],
) -> Result<BTreeMap<Partition, Offsets>, Failure> {
    let mut ends = BTreeMap::new();
    for answer in answers {
        ends.extend(wire::list_offsets(answer).map_err(Failure::answered)?);
    }
    let offsets = layout.leaders.keys().map(|partition| {
        let latest = ends.get(partition).copied().ok_or_else(|| {
            let error = Error::invalid("the leader does not tell the end of a partition");
            let error = error.with_context("topic", &partition.0);
            Failure::answered(error.with_context("partition", partition.1.to_string()))
        })?;
        let committed = committed.get(partition).copied();
        Ok((partition.clone(), Offsets { committed, latest }))
    });
    offsets.collect()
}

fn lost_answer() -> Failure {
    Failure::lost(Error::new(
        ErrorKind::Internal,
        "there are fewer answers than questions",
    ))
}

impl Wire {
    /// One question, one answer.
    pub(super) async fn call(&mut self, question: Result<Request, Failure>) -> Result<Vec<u8>, Failure> {
        let (number, frame) = self.frame(&question?);
        self.write(&frame).await?;
        self.receive(number).await
    }

    fn frame(&mut self, question: &Request) -> (i32, Vec<u8>) {
        self.number = self.number.wrapping_add(1);
        (self.number, question.frame(self.number))
    }

    async fn write(&mut self, frames: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(frames).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }

    async fn receive(&mut self, number: i32) -> Result<Vec<u8>, Failure> {
        let size = self.stream.read_i32().await.map_err(lost)?;
        if let [TLS_ALERT, TLS_VERSION, ..] = size.to_be_bytes() {
            let message = "the broker speaks TLS, expected tls: enable";
            return Err(Failure::lost(Error::invalid(message)));
        }
        if !(4..=MAX_ANSWER).contains(&size) {
            return Err(Failure::lost(wire::odd()));
        }
        if self.stream.read_i32().await.map_err(lost)? != number {
            return Err(Failure::lost(wire::odd()));
        }
        let mut answer = vec![0; usize::try_from(size - 4).unwrap_or(0)];
        self.stream.read_exact(&mut answer).await.map_err(lost)?;
        Ok(answer)
    }
}

fn lost(error: std::io::Error) -> Failure {
    Failure::lost(Error::unavailable("the connection to the broker failed").with_source(error))
}
