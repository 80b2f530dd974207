//! Two brokers in memory, so to speak: which of them is asked for what, and what their errors come to.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};

use scaler_api::ErrorKind;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    client::{Cluster, KafkaLag as _},
    lag::{Offsets, Partition},
    sasl::Login,
};
use crate::tcp::Kept;

const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const OFFSET_FETCH: i16 = 9;
const FIND_COORDINATOR: i16 = 10;

/// What a broker answers to a request with this key, `None` to hang up.
type Answers = Box<dyn Fn(i16, &[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// A broker on loopback.
struct Broker {
    address: String,
    asked: Arc<Mutex<Vec<i16>>>,
    made: Arc<AtomicUsize>,
    answers: Arc<Mutex<Answers>>,
}

impl Broker {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = Self {
            address: listener.local_addr().unwrap().to_string(),
            asked: Arc::default(),
            made: Arc::default(),
            answers: Arc::new(Mutex::new(Box::new(|_, _| None))),
        };
        let (asked, made) = (Arc::clone(&broker.asked), Arc::clone(&broker.made));
        let answers = Arc::clone(&broker.answers);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                made.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&asked), Arc::clone(&answers)));
            }
        });
        broker
    }

    fn answer(&self, answers: impl Fn(i16, &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) {
        *self.answers.lock().unwrap() = Box::new(answers);
    }

    fn asked(&self) -> Vec<i16> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, asked: Arc<Mutex<Vec<i16>>>, answers: Arc<Mutex<Answers>>) {
    while let Ok(size) = stream.read_i32().await {
        let mut request = vec![0; usize::try_from(size).unwrap()];
        stream.read_exact(&mut request).await.unwrap();
        let key = i16::from_be_bytes([request[0], request[1]]);
        asked.lock().unwrap().push(key);
        let Some(answer) = answers.lock().unwrap()(key, &request[20..]) else {
            return;
        };
        let size = i32::try_from(answer.len() + 4).unwrap().to_be_bytes();
        let frame = [&size[..], &request[4..8], &answer].concat();
        stream.write_all(&frame).await.unwrap();
    }
}

fn int(value: i32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

fn text(text: &str) -> Vec<u8> {
    let length = i16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn address(address: &str) -> Vec<u8> {
    let (host, port) = address.rsplit_once(':').unwrap();
    [text(host), int(port.parse().unwrap())].concat()
}

/// One topic `t` with one thing for each partition.
fn topic(partitions: &[Vec<u8>]) -> Vec<u8> {
    let count = int(i32::try_from(partitions.len()).unwrap());
    [int(1), text("t"), count, partitions.concat()].concat()
}

/// The brokers, and partitions by code of error, number and leader.
fn metadata(brokers: &[String; 2], partitions: &[(i16, i32, i32)]) -> Vec<u8> {
    let broker = |id: i32, at: &str| [int(id), address(at), vec![0xff, 0xff]].concat();
    let brokers = [int(2), broker(1, &brokers[0]), broker(2, &brokers[1])].concat();
    let partitions: Vec<u8> = partitions
        .iter()
        .flat_map(|(code, number, leader)| {
            [
                code.to_be_bytes().to_vec(),
                int(*number),
                int(*leader),
                int(0),
                int(0),
            ]
            .concat()
        })
        .collect();
    let count = int(i32::try_from(partitions.len() / 18).unwrap());
    let start = [int(0), brokers, vec![0xff, 0xff], int(1)].concat();
    [start, int(1), vec![0, 0], text("t"), vec![0], count, partitions].concat()
}

fn coordinator(at: &str, code: i16) -> Vec<u8> {
    [
        int(0),
        code.to_be_bytes().to_vec(),
        vec![0xff, 0xff],
        int(2),
        address(at),
    ]
    .concat()
}

/// Partitions with a committed offset and a code, and the code of the group.
fn committed(partitions: &[(i32, i64, i16)], group: i16) -> Vec<u8> {
    let one = |(number, offset, code): &(i32, i64, i16)| {
        [
            int(*number),
            offset.to_be_bytes().to_vec(),
            vec![0, 0],
            code.to_be_bytes().to_vec(),
        ]
        .concat()
    };
    let partitions: Vec<_> = partitions.iter().map(one).collect();
    [int(0), topic(&partitions), group.to_be_bytes().to_vec()].concat()
}

/// Partitions with a code and an end.
fn ends(partitions: &[(i32, i16, i64)]) -> Vec<u8> {
    let one = |(number, code, end): &(i32, i16, i64)| {
        [
            int(*number),
            code.to_be_bytes().to_vec(),
            vec![0xff; 8],
            end.to_be_bytes().to_vec(),
        ]
        .concat()
    };
    let partitions: Vec<_> = partitions.iter().map(one).collect();
    [int(0), topic(&partitions)].concat()
}

/// What the two brokers say: each of the parts can be spoilt.
#[derive(Clone)]
struct World {
    partitions: Vec<(i16, i32, i32)>,
    coordinator: i16,
    committed: Vec<(i32, i64, i16)>,
    group: i16,
    ends: [Vec<(i32, i16, i64)>; 2],
}

impl World {
    /// The first broker leads one partition, the second the other and the group.
    fn good() -> Self {
        Self {
            partitions: vec![(0, 0, 1), (0, 1, 2)],
            coordinator: 0,
            committed: vec![(0, 5, 0), (1, -1, 0)],
            group: 0,
            ends: [vec![(0, 0, 9)], vec![(1, 0, 4)]],
        }
    }

    fn put_on(&self, brokers: &[Broker; 2]) {
        let addresses = [brokers[0].address.clone(), brokers[1].address.clone()];
        for (broker, ends_here) in brokers.iter().zip(self.ends.clone()) {
            let (world, addresses) = (self.clone(), addresses.clone());
            broker.answer(move |key, _| {
                Some(match key {
                    METADATA => metadata(&addresses, &world.partitions),
                    FIND_COORDINATOR => coordinator(&addresses[1], world.coordinator),
                    OFFSET_FETCH => committed(&world.committed, world.group),
                    LIST_OFFSETS => ends(&ends_here),
                    _ => return None,
                })
            });
        }
    }
}

async fn two() -> [Broker; 2] {
    [Broker::start().await, Broker::start().await]
}

fn cluster(brokers: &[Broker; 2], topics: &[&str], login: Login) -> Kept<Cluster> {
    let patience = Duration::from_secs(5);
    let cluster = Cluster {
        servers: vec![brokers[0].address.clone()],
        tls: None,
        login,
        group: "g".to_owned(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        only: None,
        patience,
    };
    Kept::new(cluster, patience)
}

fn partition(number: i32) -> Partition {
    ("t".to_owned(), number)
}

fn expected() -> Vec<(Partition, Offsets)> {
    let offsets = |committed, latest| Offsets { committed, latest };
    vec![
        (partition(0), offsets(Some(5), 9)),
        (partition(1), offsets(None, 4)),
    ]
}

#[tokio::test]
async fn each_broker_is_asked_for_what_it_has_over_one_connection() {
    let brokers = two().await;
    World::good().put_on(&brokers);
    let named = cluster(&brokers, &["t"], Login::None);
    for _ in 0..3 {
        let offsets: Vec<_> = named.offsets().await.unwrap().into_iter().collect();
        assert_eq!(offsets, expected());
        assert_eq!(brokers[0].asked(), [METADATA, FIND_COORDINATOR, LIST_OFFSETS]);
        assert_eq!(brokers[1].asked(), [OFFSET_FETCH, LIST_OFFSETS]);
    }
    assert_eq!((brokers[0].made(), brokers[1].made()), (1, 1));
    let all = cluster(&brokers, &[], Login::None);
    let offsets: Vec<_> = all.offsets().await.unwrap().into_iter().collect();
    assert_eq!(offsets, expected());
    assert_eq!(brokers[0].asked(), [FIND_COORDINATOR, METADATA, LIST_OFFSETS]);
    assert_eq!(brokers[1].asked(), [OFFSET_FETCH, LIST_OFFSETS]);
}

#[tokio::test]
async fn an_error_of_any_part_is_one_of_the_sample_and_leaves_the_connections_usable() {
    let good = World::good();
    let cases = [
        (
            World {
                partitions: vec![(0, 0, 1), (5, 1, -1)],
                ..good.clone()
            },
            ErrorKind::Unavailable,
            "the partition has no leader (topic=t, partition=1)",
        ),
        (
            World {
                partitions: vec![(0, 0, 1), (0, 1, 7)],
                ..good.clone()
            },
            ErrorKind::Unavailable,
            "the partition has no leader (topic=t, partition=1)",
        ),
        (
            World {
                partitions: Vec::new(),
                ..good.clone()
            },
            ErrorKind::NotFound,
            "no partition that counts (topic=t)",
        ),
        (
            World {
                coordinator: 15,
                ..good.clone()
            },
            ErrorKind::Unavailable,
            "COORDINATOR_NOT_AVAILABLE",
        ),
        (
            World {
                group: 16,
                ..good.clone()
            },
            ErrorKind::Unavailable,
            "NOT_COORDINATOR",
        ),
        (
            World {
                committed: vec![(0, 5, 0), (1, -1, 29)],
                ..good.clone()
            },
            ErrorKind::Unauthorized,
            "TOPIC_AUTHORIZATION_FAILED (29) (topic=t, partition=1)",
        ),
        (
            World {
                ends: [vec![(0, 0, 9)], vec![(1, 6, -1)]],
                ..good.clone()
            },
            ErrorKind::Unavailable,
            "NOT_LEADER_OR_FOLLOWER (6) (topic=t, partition=1)",
        ),
        (
            World {
                ends: [vec![(0, 0, 9)], Vec::new()],
                ..good.clone()
            },
            ErrorKind::Invalid,
            "does not tell the end of a partition (topic=t, partition=1)",
        ),
    ];
    let brokers = two().await;
    let source = cluster(&brokers, &["t"], Login::None);
    for (world, kind, words) in cases {
        world.put_on(&brokers);
        let error = source.offsets().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{words:?} is not in {error}");
        good.put_on(&brokers);
        assert_eq!(source.offsets().await.unwrap().len(), 2);
    }
    assert_eq!((brokers[0].made(), brokers[1].made()), (1, 1));
}

#[tokio::test]
async fn a_broker_that_hangs_up_or_talks_nonsense_loses_its_connection() {
    let brokers = two().await;
    let source = cluster(&brokers, &["t"], Login::None);
    for (answer, kind) in [
        (None, ErrorKind::Unavailable),
        (Some(Vec::new()), ErrorKind::Invalid),
    ] {
        World::good().put_on(&brokers);
        source.offsets().await.unwrap();
        brokers[1].answer(move |_, _| answer.clone());
        assert_eq!(source.offsets().await.unwrap_err().kind(), kind);
    }
    World::good().put_on(&brokers);
    assert_eq!(source.offsets().await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_next_server_is_asked_where_the_first_is_away_or_hangs() {
    let brokers = two().await;
    World::good().put_on(&brokers);
    // Its system takes connections for it.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = silent.local_addr().unwrap().to_string();
    for first in ["127.0.0.1:1".to_owned(), hangs] {
        let cluster = Cluster {
            servers: vec![first, brokers[1].address.clone()],
            tls: None,
            login: Login::None,
            group: "g".to_owned(),
            topics: BTreeSet::from(["t".to_owned()]),
            only: Some(BTreeSet::from([1])),
            patience: Duration::from_millis(500),
        };
        let source = Kept::new(cluster, Duration::from_secs(5));
        let offsets: Vec<_> = source.offsets().await.unwrap().into_keys().collect();
        assert_eq!(offsets, [partition(1)]);
        assert_eq!(
            brokers[1].asked(),
            [METADATA, METADATA, FIND_COORDINATOR, OFFSET_FETCH, LIST_OFFSETS]
        );
    }
}

#[cfg(feature = "kafka-msk-iam")]
#[tokio::test]
async fn a_login_by_iam_says_what_amazon_msk_reads() {
    use scaler_api::Secret;

    use super::msk::Iam;
    use crate::aws::{AwsEnvironment, AwsIdentity};

    const HANDSHAKE: i16 = 17;
    const AUTHENTICATE: i16 = 36;
    let clock: scaler_api::SharedClock = Arc::new(scaler_api::SystemClock);
    let nobody = aws_smithy_runtime_api::client::http::http_client_fn(|_, _| unreachable!("nobody is asked"));
    let keys = AwsIdentity::Keys {
        access_key_id: Secret::new("AKIAMINE"),
        secret_access_key: Secret::new("hunter2"),
        session_token: Some(Secret::new("session")),
    };
    let environment = AwsEnvironment::in_memory(nobody, clock.clone());
    let iam = async || {
        Box::new(Iam {
            config: environment.config(&keys, "eu-west-1").await,
            region: "eu-west-1".to_owned(),
            clock: clock.clone(),
        })
    };
    let brokers = two().await;
    for (login, mechanism, start) in [
        (
            Login::Iam(iam().await),
            "AWS_MSK_IAM",
            "{\"action\":\"kafka-cluster:Connect\"",
        ),
        (
            Login::IamBearer(iam().await),
            "OAUTHBEARER",
            "n,,\u{1}auth=Bearer aHR0cHM6Ly9rYWZrYS5",
        ),
    ] {
        World::good().put_on(&brokers);
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&said);
        brokers[0].answer(move |key, body| {
            let mut heard = heard.lock().unwrap();
            heard.push(String::from_utf8_lossy(body).into_owned());
            match key {
                HANDSHAKE => Some([vec![0, 0], int(0)].concat()),
                // It refuses, as if the permission was not there.
                AUTHENTICATE => Some([vec![0, 58], text("Access denied"), int(0)].concat()),
                _ => None,
            }
        });
        let error = cluster(&brokers, &["t"], login).offsets().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
        assert!(error.to_string().contains("Access denied"), "{error}");
        let said = said.lock().unwrap();
        assert!(said[0].ends_with(mechanism), "{said:?}");
        assert!(said[1].contains(start), "{said:?}");
        assert!(!said[1].contains("hunter2"), "{said:?}");
    }
}
