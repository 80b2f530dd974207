//! `redis` and `redis-streams` on one server, on a cluster and under a sentinel.

use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, aio::MultiplexedConnection, cmd};
use scaler_api::{
    Context, ErrorKind, Scaler as _, Trigger, TriggerInput,
    conformance::{Harness, Levels, Outage},
};
use scalers::redis::{
    RedisClusterStreamsTrigger, RedisClusterTrigger, RedisSentinelStreamsTrigger, RedisSentinelTrigger,
    RedisStreamsTrigger, RedisTrigger,
};
use tokio::sync::Mutex;
use xtask::services::Server;

use super::{
    measure::{self, Traffic},
    proxy::Proxy,
    support::{
        Authority, Live, break_with, connect, context, input, kind, start, start_with, value, with_auth,
        with_metadata,
    },
};

const LISTS: Live = Live {
    trigger: "redis",
    server: "redis",
};
const STREAMS: Live = Live {
    trigger: "redis-streams",
    server: "redis",
};

async fn client(address: &str, password: &str) -> MultiplexedConnection {
    let client = redis::Client::open(format!("redis://:{password}@{address}/")).unwrap();
    // Other tests may keep the machine busy.
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(10)))
        .set_response_timeout(Some(Duration::from_secs(10)));
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    connecting.await.unwrap()
}

async fn run(connection: &mut MultiplexedConnection, command: &Cmd) {
    command.query_async::<redis::Value>(connection).await.unwrap();
}

async fn push(connection: &mut MultiplexedConnection, key: &str, count: usize) {
    for number in 0..count {
        run(connection, cmd("RPUSH").arg(key).arg(number)).await;
    }
}

fn credentials(server: &Server) -> Vec<(&'static str, &str)> {
    vec![
        ("username", server.detail("username")),
        ("password", server.detail("password")),
    ]
}

/// A list behind a proxy.
struct List {
    proxy: Proxy,
    control: Mutex<MultiplexedConnection>,
    input: TriggerInput,
}

impl List {
    async fn of(server: &Server) -> Self {
        let proxy = Proxy::start(server.detail("address")).await;
        let metadata = [
            ("address", proxy.address()),
            ("listName", "orders"),
            ("activationListLength", "10"),
        ];
        let input = input(&metadata, &credentials(server));
        let control = Mutex::new(client(server.detail("address"), server.detail("password")).await);
        Self {
            proxy,
            control,
            input,
        }
    }
}

#[async_trait]
impl Harness for List {
    type Trigger = RedisTrigger;

    fn input(&self) -> TriggerInput {
        self.input.clone()
    }

    fn secrets(&self) -> Vec<String> {
        // The user's name is no secret, and a word that stands in other places.
        vec![self.input.authentication["password"].expose().to_owned()]
    }

    async fn set_value(&self, value: f64) {
        let mut control = self.control.lock().await;
        run(&mut control, cmd("DEL").arg("orders")).await;
        push(&mut control, "orders", value as usize).await;
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        break_with(&self.proxy, outage);
    }

    fn levels(&self) -> Levels {
        Levels::around(10.0)
    }

    fn context(&self) -> Context {
        context().with_timeout(Duration::from_millis(500))
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        Some(with_auth(&self.input, &[("password", "wrong")]))
    }

    async fn open_connections(&self) -> Option<usize> {
        Some(self.proxy.open())
    }
}

#[tokio::test]
async fn a_list_conforms_and_survives_a_restart_without_leaving_connections() {
    let Some(mut server) = start("redis") else { return };
    let list = List::of(&server).await;
    LISTS.conforms(&list).await;
    LISTS.leaves_no_connection(&list, &list.proxy, 1).await;
    LISTS.survives_a_restart(&list, &mut server).await;
}

#[tokio::test]
async fn whatever_has_elements_is_counted_and_nothing_else() {
    let Some(server) = start("redis") else { return };
    let mut control = client(server.detail("address"), server.detail("password")).await;
    let of = |name: &str| {
        let metadata = [
            ("address", server.detail("address")),
            ("listName", name),
            ("activationListLength", "10"),
        ];
        input(&metadata, &credentials(&server))
    };
    // The numbers of KEDA's own test: five stay below the activation, more are counted, and none go back.
    assert_eq!(value::<RedisTrigger>(&of("jobs")).await, (0.0, false));
    push(&mut control, "jobs", 5).await;
    assert_eq!(value::<RedisTrigger>(&of("jobs")).await, (5.0, false));
    push(&mut control, "jobs", 95).await;
    assert_eq!(value::<RedisTrigger>(&of("jobs")).await, (100.0, true));
    run(&mut control, cmd("DEL").arg("jobs")).await;
    assert_eq!(value::<RedisTrigger>(&of("jobs")).await, (0.0, false));
    LISTS.passed("activation, scale out, drained");
    // The script is sent once, and once more to a server that has lost it.
    let calls = async |control: &mut MultiplexedConnection| {
        let mut info = cmd("INFO");
        info.arg("commandstats");
        let info: String = info.query_async(control).await.unwrap();
        let of = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            let count = line.and_then(|line| line.split_once(',')).map(|(count, _)| count);
            count.map_or(0, |count| count.parse::<u32>().unwrap())
        };
        (of("cmdstat_evalsha:calls="), of("cmdstat_eval:calls="))
    };
    assert_eq!(calls(&mut control).await, (4, 1));
    run(&mut control, cmd("SCRIPT").arg("FLUSH")).await;
    assert_eq!(value::<RedisTrigger>(&of("jobs")).await, (0.0, false));
    assert_eq!(value::<RedisTrigger>(&of("jobs")).await, (0.0, false));
    assert_eq!(calls(&mut control).await, (6, 2));
    LISTS.passed("the script is sent once");
    run(&mut control, cmd("SADD").arg("set").arg(&["a", "b"])).await;
    run(
        &mut control,
        cmd("ZADD").arg("zset").arg(&["1", "a", "2", "b", "3", "c"]),
    )
    .await;
    run(&mut control, cmd("HSET").arg("hash").arg(&["a", "1"])).await;
    for (name, count) in [("set", 2.0), ("zset", 3.0), ("hash", 1.0)] {
        assert_eq!(value::<RedisTrigger>(&of(name)).await.0, count, "{name}");
    }
    run(&mut control, cmd("SET").arg("text").arg("a")).await;
    assert_eq!(kind::<RedisTrigger>(&of("text")).await, ErrorKind::Invalid);
    LISTS.passed("sets, sorted sets, hashes, and what is none");
    push(&mut control, "zero", 3).await;
    run(&mut control, cmd("MOVE").arg("zero").arg(3)).await;
    let third = with_metadata(&of("zero"), &[("databaseIndex", "3")]);
    assert_eq!(value::<RedisTrigger>(&of("zero")).await.0, 0.0);
    let refused = kind::<RedisTrigger>(&with_metadata(&third, &[("databaseIndex", "99")])).await;
    assert_eq!(refused, ErrorKind::Invalid);
    assert_eq!(value::<RedisTrigger>(&third).await.0, 3.0);
    LISTS.passed("databases");
    let (host, port) = server.detail("address").split_once(':').unwrap();
    let mut apart = with_metadata(&of("set"), &[("host", host), ("port", port)]);
    apart.metadata.remove("address");
    assert_eq!(value::<RedisTrigger>(&apart).await.0, 2.0);
    let nobody = with_metadata(&of("set"), &[("address", "127.0.0.1:1")]);
    assert_eq!(kind::<RedisTrigger>(&nobody).await, ErrorKind::Unavailable);
}

#[tokio::test]
async fn tls_is_checked() {
    let authority = Authority::new();
    let Some(server) = start_with("redis", &authority.options()) else {
        return;
    };
    let metadata = [
        ("address", server.detail("tlsAddress")),
        ("listName", "orders"),
        ("enableTLS", "true"),
    ];
    let input = input(&metadata, &credentials(&server));
    LISTS
        .checks_certificates::<RedisTrigger>(&input, &authority)
        .await;
}

#[tokio::test]
async fn a_stream_is_counted_by_its_length_its_pending_entries_or_its_lag() {
    let Some(server) = start("redis") else { return };
    let mut control = client(server.detail("address"), server.detail("password")).await;
    let of = |more: &[(&str, &str)]| {
        let metadata = [
            ("address", server.detail("address")),
            ("stream", "s"),
            ("activationLagCount", "10"),
        ];
        input(&[&metadata[..], more].concat(), &credentials(&server))
    };
    let (length, pending, lag) = (
        of(&[]),
        of(&[("consumerGroup", "g"), ("pendingEntriesCount", "15")]),
        of(&[("consumerGroup", "g"), ("lagCount", "12")]),
    );
    assert_eq!(value::<RedisStreamsTrigger>(&length).await, (0.0, false));
    assert_eq!(
        value::<RedisStreamsTrigger>(&lag).await,
        (0.0, false),
        "no stream yet"
    );
    assert_eq!(kind::<RedisStreamsTrigger>(&pending).await, ErrorKind::NotFound);
    STREAMS.passed("unknown stream");
    for _ in 0..12 {
        run(&mut control, cmd("XADD").arg("s").arg("*").arg("a").arg("b")).await;
    }
    assert_eq!(value::<RedisStreamsTrigger>(&length).await, (12.0, true));
    assert_eq!(
        value::<RedisStreamsTrigger>(&lag).await,
        (12.0, true),
        "no group yet"
    );
    assert_eq!(kind::<RedisStreamsTrigger>(&pending).await, ErrorKind::NotFound);
    STREAMS.passed("unknown group");
    run(&mut control, cmd("XGROUP").arg(&["CREATE", "s", "g", "0"])).await;
    assert_eq!(value::<RedisStreamsTrigger>(&lag).await, (12.0, true));
    assert_eq!(value::<RedisStreamsTrigger>(&pending).await, (0.0, false));
    run(
        &mut control,
        cmd("XREADGROUP").arg(&["GROUP", "g", "c", "COUNT", "11", "STREAMS", "s", ">"]),
    )
    .await;
    assert_eq!(value::<RedisStreamsTrigger>(&pending).await, (11.0, true));
    assert_eq!(value::<RedisStreamsTrigger>(&lag).await, (1.0, false));
    STREAMS.passed("length, pending entries, lag");
    run(&mut control, cmd("DEL").arg("s")).await;
    assert_eq!(value::<RedisStreamsTrigger>(&length).await, (0.0, false));
    STREAMS.passed("activation, scale out, drained");
    run(&mut control, cmd("SET").arg("s").arg("text")).await;
    assert_eq!(kind::<RedisStreamsTrigger>(&length).await, ErrorKind::Invalid);
}

/// A stream behind a proxy.
struct Stream(List);

#[async_trait]
impl Harness for Stream {
    type Trigger = RedisStreamsTrigger;

    fn input(&self) -> TriggerInput {
        let mut input = with_metadata(
            &self.0.input,
            &[("stream", "events"), ("activationLagCount", "3")],
        );
        input.metadata.retain(|key, _| !key.contains("ist"));
        input
    }

    fn secrets(&self) -> Vec<String> {
        self.0.secrets()
    }

    async fn set_value(&self, value: f64) {
        let mut control = self.0.control.lock().await;
        run(&mut control, cmd("DEL").arg("events")).await;
        for _ in 0..value as usize {
            run(&mut control, cmd("XADD").arg("events").arg("*").arg("a").arg("b")).await;
        }
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        self.0.set_outage(outage).await;
    }

    fn levels(&self) -> Levels {
        Levels::around(3.0)
    }

    fn context(&self) -> Context {
        self.0.context()
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        Some(with_auth(&self.input(), &[("password", "wrong")]))
    }

    async fn open_connections(&self) -> Option<usize> {
        self.0.open_connections().await
    }
}

#[tokio::test]
async fn a_stream_conforms_and_survives_a_restart_without_leaving_connections() {
    let Some(mut server) = start("redis") else { return };
    let stream = Stream(List::of(&server).await);
    STREAMS.conforms(&stream).await;
    STREAMS.leaves_no_connection(&stream, &stream.0.proxy, 1).await;
    STREAMS.survives_a_restart(&stream, &mut server).await;
}

/// What all nodes have passed, and how often a command was called there; what it takes to ask is in it.
async fn traffic(addresses: &[&str], password: &str, command: &str) -> Traffic {
    let (mut bytes, mut requests) = (0, 0);
    for address in addresses {
        let mut connection = client(address, password).await;
        let info = cmd("INFO").arg("stats").arg("commandstats").to_owned();
        let info: String = info.query_async(&mut connection).await.unwrap();
        for (name, value) in info.lines().filter_map(|line| line.split_once(':')) {
            if matches!(name, "total_net_input_bytes" | "total_net_output_bytes") {
                bytes += value.trim().parse::<usize>().unwrap();
            } else if name.strip_prefix("cmdstat_") == Some(command) {
                let calls = value
                    .strip_prefix("calls=")
                    .and_then(|rest| rest.split(',').next());
                requests += calls.unwrap().parse::<usize>().unwrap();
            }
        }
    }
    Traffic {
        bytes,
        requests: Some(requests),
    }
}

/// Measures a trigger whose samples are one call of the command each.
async fn measured<T: Trigger>(
    live: &Live,
    input: &TriggerInput,
    addresses: &[&str],
    password: &str,
    command: &str,
) {
    let traffic = async || traffic(addresses, password, command).await;
    measure::trigger::<T>(live, input, &context(), traffic).await;
}

/// Sends a command to the node of a cluster that wants it, and tells which that is.
async fn in_cluster(addresses: &[&str], password: &str, command: &Cmd) -> usize {
    // A cluster that was just made may not be of one mind yet.
    for _ in 0..100 {
        for (node, address) in addresses.iter().enumerate() {
            let mut connection = client(address, password).await;
            if command.query_async::<redis::Value>(&mut connection).await.is_ok() {
                return node;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no node takes the command");
}

#[tokio::test]
async fn a_cluster_is_followed_to_the_node_of_each_key_and_through_a_failover() {
    let Some(mut server) = start("redis-cluster") else {
        return;
    };
    let (addresses, password) = (
        server.detail("addresses").to_owned(),
        server.detail("password").to_owned(),
    );
    let nodes: Vec<&str> = addresses.split(',').collect();
    let of = |trigger| Live {
        trigger,
        server: "redis-cluster",
    };
    let (lists, streams) = (of("redis-cluster"), of("redis-cluster-streams"));
    // Keys of three slots, on three nodes; whichever node is named.
    for (number, name) in ["orders", "letters", "parcels"].into_iter().enumerate() {
        for _ in 0..=number + 10 {
            in_cluster(&nodes, &password, cmd("RPUSH").arg(name).arg("x")).await;
        }
        for seed in [nodes[0], nodes[5], &addresses] {
            let metadata = [
                ("addresses", seed),
                ("listName", name),
                ("activationListLength", "11"),
            ];
            let input = input(&metadata, &[("password", &password)]);
            let expected = ((number + 11) as f64, number > 0);
            assert_eq!(
                value::<RedisClusterTrigger>(&input).await,
                expected,
                "{name} by {seed}"
            );
        }
    }
    lists.passed("activation, scale out");
    let event = cmd("XADD").arg("events").arg("*").arg("a").arg("b").to_owned();
    in_cluster(&nodes, &password, &event).await;
    let metadata = [("addresses", nodes[1]), ("stream", "events")];
    let stream = input(&metadata, &[("password", &password)]);
    assert_eq!(value::<RedisClusterStreamsTrigger>(&stream).await, (1.0, true));
    streams.passed("activation, scale out");
    let wrong = with_auth(&stream, &[("password", "wrong")]);
    assert_eq!(
        kind::<RedisClusterStreamsTrigger>(&wrong).await,
        ErrorKind::Unauthorized
    );
    streams.passed("bad credentials are told");
    let metadata = [("addresses", addresses.as_str()), ("listName", "parcels")];
    let list = input(&metadata, &[("password", &password)]);
    if measure::is_on() {
        measured::<RedisClusterTrigger>(&lists, &list, &nodes, &password, "evalsha").await;
        return measured::<RedisClusterStreamsTrigger>(&streams, &stream, &nodes, &password, "xlen").await;
    }
    let scaler = connect::<RedisClusterTrigger>(&list).await.unwrap();
    assert_eq!(scaler.sample().await.unwrap().values[0].value, 13.0);
    let holder = in_cluster(&nodes, &password, cmd("TYPE").arg("parcels")).await;
    server.crash(holder);
    eventually(async || {
        scaler
            .sample()
            .await
            .is_ok_and(|sample| sample.values[0].value == 13.0)
    })
    .await;
    lists.passed("failover");
    server.hold();
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::Timeout);
    server.release();
    eventually(async || scaler.sample().await.is_ok()).await;
    lists.passed("the server hangs");
    server.stop();
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::Unavailable);
    lists.passed("the server is down");
}

async fn eventually(done: impl AsyncFn() -> bool) {
    for _ in 0..600 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not come about");
}

#[tokio::test]
async fn a_sentinel_is_asked_for_the_primary_before_and_after_a_failover() {
    let Some(mut server) = start("redis-sentinel") else {
        return;
    };
    let lists = Live {
        trigger: "redis-sentinel",
        server: "redis-sentinel",
    };
    let streams = Live {
        trigger: "redis-sentinel-streams",
        server: "redis-sentinel",
    };
    let mut control = client(server.detail("primary"), server.detail("password")).await;
    let of = |more: &[(&str, &str)]| {
        let metadata = [
            ("addresses", server.detail("addresses")),
            ("sentinelMaster", server.detail("sentinelMaster")),
        ];
        let secrets = [
            ("password", server.detail("password")),
            ("sentinelPassword", server.detail("sentinelPassword")),
        ];
        input(&[&metadata[..], more].concat(), &secrets)
    };
    let (list, stream) = (
        of(&[("listName", "l"), ("activationListLength", "5")]),
        of(&[("stream", "s")]),
    );
    push(&mut control, "l", 5).await;
    assert_eq!(value::<RedisSentinelTrigger>(&list).await, (5.0, false));
    push(&mut control, "l", 1).await;
    assert_eq!(value::<RedisSentinelTrigger>(&list).await, (6.0, true));
    lists.passed("activation, scale out");
    run(&mut control, cmd("XADD").arg("s").arg("*").arg("a").arg("b")).await;
    assert_eq!(value::<RedisSentinelStreamsTrigger>(&stream).await, (1.0, true));
    streams.passed("activation, scale out");
    for secret in ["password", "sentinelPassword"] {
        let wrong = with_auth(&list, &[(secret, "wrong")]);
        assert_eq!(
            kind::<RedisSentinelTrigger>(&wrong).await,
            ErrorKind::Unauthorized,
            "{secret}"
        );
    }
    lists.passed("bad credentials are told");
    let unknown = with_metadata(&list, &[("sentinelMaster", "nobody")]);
    assert_eq!(kind::<RedisSentinelTrigger>(&unknown).await, ErrorKind::NotFound);
    lists.passed("unknown master");
    if measure::is_on() {
        let (primary, password) = ([server.detail("primary")], server.detail("password"));
        measured::<RedisSentinelTrigger>(&lists, &list, &primary, password, "evalsha").await;
        return measured::<RedisSentinelStreamsTrigger>(&streams, &stream, &primary, password, "xlen").await;
    }
    let scaler = connect::<RedisSentinelTrigger>(&list).await.unwrap();
    scaler.sample().await.unwrap();
    // What the replica has not got yet would be lost with the primary.
    run(&mut control, cmd("WAIT").arg(1).arg(1000)).await;
    server.crash(0);
    eventually(async || {
        scaler
            .sample()
            .await
            .is_ok_and(|sample| sample.values[0].value == 6.0)
    })
    .await;
    lists.passed("failover");
    server.stop();
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::Unavailable);
    lists.passed("the server is down");
}
