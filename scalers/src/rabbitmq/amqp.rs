//! The part of AMQP 0-9-1 that tells how many messages a queue holds: log in, open a channel, declare the queue passively.

use std::sync::Arc;

use async_trait::async_trait;
use scaler_api::{Error, ErrorKind, Secret};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Mutex,
};

use crate::tcp::{self, Failure, Peer, Stream, Tls};

/// The longest frame that is read; answers have far fewer bytes.
const MAX_FRAME: u32 = 1024 * 1024;
const METHOD: u8 = 1;
const HEARTBEAT: u8 = 8;
const END: u8 = 0xCE;
const CHANNEL: u16 = 1;

/// Class and number of a method.
type Method = (u16, u16);
const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CLOSE: Method = (10, 50);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const CHANNEL_CLOSE: Method = (20, 40);
const CHANNEL_CLOSE_OK: Method = (20, 41);
const DECLARE: Method = (50, 10);
const DECLARE_OK: Method = (50, 11);

/// A broker, and the queue that is asked for.
pub(super) struct Amqp {
    pub(super) address: String,
    pub(super) tls: Option<Tls>,
    pub(super) username: String,
    pub(super) password: Secret,
    pub(super) vhost: String,
    pub(super) queue: String,
}

/// A connection with one channel.
pub(super) struct Session {
    stream: Box<dyn Stream>,
    has_channel: bool,
    /// Whether a question was begun and not ended: what comes next is its answer, and nobody's.
    is_dirty: bool,
}

#[async_trait]
impl Peer for Amqp {
    type Connection = Arc<Mutex<Session>>;
    type Answer = u32;

    async fn connect(&self) -> Result<Arc<Mutex<Session>>, Error> {
        let stream = tcp::connect(&self.address, self.tls.as_ref()).await?;
        let mut session = Session {
            stream,
            has_channel: false,
            is_dirty: false,
        };
        let logged_in = session.log_in(self).await;
        logged_in.map_err(|failure| failure.error.with_context("address", &self.address))?;
        Ok(Arc::new(Mutex::new(session)))
    }

    async fn ask(&self, session: &Arc<Mutex<Session>>) -> Result<u32, Failure> {
        let mut session = session.lock().await;
        if session.is_dirty {
            return Err(Failure::lost(Error::unavailable(
                "the connection was given up by another sample",
            )));
        }
        session.is_dirty = true;
        let answer = session.messages(&self.queue).await;
        session.is_dirty = false;
        answer
    }
}

impl Session {
    async fn log_in(&mut self, broker: &Amqp) -> Result<(), Failure> {
        self.write(b"AMQP\x00\x00\x09\x01").await?;
        self.expect(START).await?;
        let mut start = Vec::new();
        // So that the broker says that it refuses a password, in place of hanging up.
        let capability = [short_text("authentication_failure_close"), vec![b't', 1]].concat();
        let capabilities = [short_text("capabilities"), vec![b'F'], long_bytes(&capability)].concat();
        start.extend(long_bytes(&capabilities));
        start.extend(short_text("PLAIN"));
        let plain = format!("\0{}\0{}", broker.username, broker.password.expose());
        start.extend(long_bytes(plain.as_bytes()));
        start.extend(short_text("en_US"));
        self.send(0, START_OK, &start).await?;
        let tune = self.expect(TUNE).await?;
        // The broker's own limits, and no heartbeats: every sample has a deadline.
        let limits = tune.get(..6).ok_or_else(odd)?;
        self.send(0, TUNE_OK, &[limits, &[0, 0]].concat()).await?;
        let open = [short_text(&broker.vhost), vec![0, 0]].concat();
        self.send(0, OPEN, &open).await?;
        self.expect(OPEN_OK).await?;
        Ok(())
    }

    async fn messages(&mut self, queue: &str) -> Result<u32, Failure> {
        if !self.has_channel {
            self.send(CHANNEL, CHANNEL_OPEN, &[0]).await?;
            self.expect(CHANNEL_OPEN_OK).await?;
            self.has_channel = true;
        }
        let passive = vec![1, 0, 0, 0, 0];
        let declare = [vec![0, 0], short_text(queue), passive].concat();
        self.send(CHANNEL, DECLARE, &declare).await?;
        let answer = self.expect(DECLARE_OK).await?;
        let name = usize::from(*answer.first().ok_or_else(odd)?);
        let count = answer.get(1 + name..5 + name).ok_or_else(odd)?;
        Ok(count.iter().fold(0, |count, byte| count << 8 | u32::from(*byte)))
    }

    /// The arguments of a method that must come next, unless the broker closes the channel or the connection.
    async fn expect(&mut self, wanted: Method) -> Result<Vec<u8>, Failure> {
        let (method, arguments) = self.receive().await?;
        match method {
            method if method == wanted => Ok(arguments),
            CHANNEL_CLOSE => {
                self.has_channel = false;
                self.send(CHANNEL, CHANNEL_CLOSE_OK, &[]).await?;
                Err(Failure::answered(refusal(&arguments)))
            }
            CLOSE => Err(Failure::lost(refusal(&arguments))),
            _ => Err(odd()),
        }
    }

    async fn receive(&mut self) -> Result<(Method, Vec<u8>), Failure> {
        loop {
            let kind = self.stream.read_u8().await.map_err(lost)?;
            let _channel = self.stream.read_u16().await.map_err(lost)?;
            let length = self.stream.read_u32().await.map_err(lost)?;
            if !matches!(kind, METHOD | HEARTBEAT) || length > MAX_FRAME {
                return Err(odd());
            }
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await.map_err(lost)?;
            if self.stream.read_u8().await.map_err(lost)? != END {
                return Err(odd());
            }
            if kind == METHOD {
                let [a, b, c, d, arguments @ ..] = &*payload else {
                    return Err(odd());
                };
                let method = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
                return Ok((method, arguments.to_vec()));
            }
        }
    }

    async fn send(&mut self, channel: u16, method: Method, arguments: &[u8]) -> Result<(), Failure> {
        let length = u32::try_from(arguments.len() + 4).map_err(|_| odd())?;
        let mut frame = vec![METHOD];
        frame.extend(channel.to_be_bytes());
        frame.extend(length.to_be_bytes());
        frame.extend(method.0.to_be_bytes());
        frame.extend(method.1.to_be_bytes());
        frame.extend(arguments);
        frame.push(END);
        self.write(&frame).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }
}

/// Text with its length in one byte; longer names than 255 bytes were refused.
fn short_text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    let mut bytes = vec![length];
    bytes.extend(&text.as_bytes()[..usize::from(length)]);
    bytes
}

/// Bytes with their length in four.
fn long_bytes(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

fn lost(error: std::io::Error) -> Failure {
    Failure::lost(Error::unavailable("the connection to the broker failed").with_source(error))
}

fn odd() -> Failure {
    Failure::lost(Error::invalid(
        "the server does not answer as a broker of AMQP 0-9-1 does",
    ))
}

/// What a code and a text of the broker mean.
fn refusal(arguments: &[u8]) -> Error {
    let [first, second, length, rest @ ..] = arguments else {
        return odd().error;
    };
    let code = u16::from_be_bytes([*first, *second]);
    let text = rest.get(..usize::from(*length)).unwrap_or_default();
    let text = String::from_utf8_lossy(text).into_owned();
    let kind = match code {
        404 => ErrorKind::NotFound,
        530 if text.contains("not found") => ErrorKind::NotFound,
        403 | 530 => ErrorKind::Unauthorized,
        311 | 320 | 506 | 541 => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    };
    Error::new(kind, format!("the broker refuses with {code}")).with_source(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_a_meaning() {
        let refused = |code: u16, text: &str| refusal(&[&code.to_be_bytes()[..], &short_text(text)].concat());
        for (code, text, kind) in [
            (404, "NOT_FOUND - no queue 'x'", ErrorKind::NotFound),
            (403, "ACCESS_REFUSED - Login was refused", ErrorKind::Unauthorized),
            (530, "NOT_ALLOWED - vhost x not found", ErrorKind::NotFound),
            (
                530,
                "NOT_ALLOWED - access to vhost 'x' refused",
                ErrorKind::Unauthorized,
            ),
            (
                320,
                "CONNECTION_FORCED - broker forced connection closure",
                ErrorKind::Unavailable,
            ),
            (405, "RESOURCE_LOCKED - exclusive", ErrorKind::Invalid),
        ] {
            let error = refused(code, text);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
