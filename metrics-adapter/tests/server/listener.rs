//! The listener: handshakes, protocols, rotation and the end.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use metrics_adapter::server::{ClientAuthorities, Limits, Peer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use crate::support::{Authority, Server, get, read};

/// Answers with the number of certificates that the peer showed; `/slow` takes its time.
async fn count(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/slow" {
        sleep(Duration::from_millis(300)).await;
    }
    let peer = request.extensions().get::<Peer>().unwrap();
    Ok(Response::new(Full::from(peer.certificates().len().to_string())))
}

fn start(authorities: &ClientAuthorities) -> Server {
    Server::start(authorities, tower::service_fn(count))
}

#[tokio::test]
async fn both_protocols_are_served_and_the_peer_is_known() {
    let clients = Authority::new("clients");
    let authorities = ClientAuthorities::none();
    authorities.replace(clients.pem.as_bytes()).unwrap();
    let server = start(&authorities);
    let ann = clients.client("ann", &[]);
    for (identity, expected) in [(None, "0"), (Some(&ann), "1")] {
        let one = server.http1(identity).await.send_request(get("/")).await.unwrap();
        assert_eq!(one.version(), http::Version::HTTP_11);
        assert_eq!(read(one).await, (200, expected.to_owned()));
        let two = server.http2(identity).await.send_request(get("/")).await.unwrap();
        assert_eq!(two.version(), http::Version::HTTP_2);
        assert_eq!(read(two).await, (200, expected.to_owned()));
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_fails_the_handshake() {
    let (clients, rogue) = (Authority::new("clients"), Authority::new("clients"));
    let authorities = ClientAuthorities::none();
    authorities.replace(clients.pem.as_bytes()).unwrap();
    let server = start(&authorities);
    let mallory = rogue.client("ann", &["system:masters"]);
    // In TLS 1.3 the client learns of it when it reads.
    let refused = match server.tls(Some(&mallory), b"http/1.1").await {
        Err(_) => true,
        Ok(mut stream) => {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.ok();
            stream.read_to_end(&mut Vec::new()).await.is_err()
        }
    };
    assert!(refused);
}

#[tokio::test]
async fn new_authorities_end_idle_connections_and_decide_over_new_ones() {
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let authorities = ClientAuthorities::none();
    let server = start(&authorities);
    let mut old = server.http1(None).await;
    read(old.send_request(get("/")).await.unwrap()).await;
    authorities
        .replace(format!("{}{}", before.pem, after.pem).as_bytes())
        .unwrap();
    timeout(Duration::from_secs(5), async {
        while old.ready().await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the connection of before ends");
    for authority in [&before, &after] {
        let mut client = server.http2(Some(&authority.client("ann", &[]))).await;
        assert_eq!(read(client.send_request(get("/")).await.unwrap()).await.1, "1");
    }
}

#[tokio::test]
async fn rotating_the_certificate_loses_no_request() {
    let server = start(&ClientAuthorities::none());
    let mut kept = server.http1(None).await;
    for round in 0..50 {
        if round % 10 == 5 {
            let pair = server.authority.server();
            server
                .certificate
                .replace(pair.certificate.as_bytes(), pair.key.as_bytes())
                .unwrap();
        }
        let fresh = server.http1(None).await.send_request(get("/")).await.unwrap();
        assert_eq!(read(fresh).await.0, 200);
        assert_eq!(read(kept.send_request(get("/")).await.unwrap()).await.0, 200);
    }
}

#[tokio::test]
async fn the_end_waits_for_running_requests_and_not_for_idle_connections() {
    let mut server = start(&ClientAuthorities::none());
    let (mut idle, mut one, mut two) = (
        server.http1(None).await,
        server.http1(None).await,
        server.http2(None).await,
    );
    read(idle.send_request(get("/")).await.unwrap()).await;
    let (slow_one, slow_two) = (
        tokio::spawn(one.send_request(get("/slow"))),
        tokio::spawn(two.send_request(get("/slow"))),
    );
    sleep(Duration::from_millis(100)).await;
    server.stop.take().unwrap().send(()).unwrap();
    assert_eq!(read(slow_one.await.unwrap().unwrap()).await.0, 200);
    assert_eq!(read(slow_two.await.unwrap().unwrap()).await.0, 200);
    timeout(Duration::from_secs(2), &mut server.task)
        .await
        .expect("ends soon")
        .unwrap()
        .unwrap();
    assert!(idle.send_request(get("/")).await.is_err());
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_client_without_alpn_speaks_http_1() {
    let server = start(&ClientAuthorities::none());
    let mut stream = server.tls(None, b"http/1.1").await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_not_waited_for() {
    let mut limits = Limits::default();
    limits.handshake_timeout = Duration::from_millis(100);
    limits.header_timeout = Duration::from_millis(100);
    let server = Server::limited(&ClientAuthorities::none(), tower::service_fn(count), limits);
    let mut silent = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let mut idle = server.tls(None, b"http/1.1").await.unwrap();
    let mut dripping = server.tls(None, b"http/1.1").await.unwrap();
    dripping.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();
    let mut nothing = Vec::new();
    timeout(Duration::from_secs(5), async {
        silent.read_to_end(&mut nothing).await.ok();
        idle.read_to_end(&mut nothing).await.ok();
        dripping.read_to_end(&mut nothing).await.ok();
    })
    .await
    .expect("all three are ended");
}

#[tokio::test]
async fn no_more_connections_are_served_than_the_limit_says() {
    let mut limits = Limits::default();
    limits.connections = 1;
    let server = Server::limited(&ClientAuthorities::none(), tower::service_fn(count), limits);
    let first = server.http1(None).await;
    let second = server.tls(None, b"http/1.1");
    let mut second = std::pin::pin!(second);
    assert!(timeout(Duration::from_millis(200), &mut second).await.is_err());
    drop(first);
    timeout(Duration::from_secs(5), second)
        .await
        .expect("its turn comes")
        .unwrap();
}
