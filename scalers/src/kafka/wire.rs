//! Requests and answers of Kafka's protocol: the few that tell a lag, each in a version that brokers from 0.11 to 4 know.

use std::collections::{BTreeMap, BTreeSet};

use scaler_api::{Error, ErrorKind};

use super::lag::Partition;

/// The name by which brokers know this client.
const CLIENT: &str = "autoscaler";
/// The time that stands for the end of a partition.
const LATEST: i64 = -1;

/// One request, without its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    key: i16,
    version: i16,
    body: Vec<u8>,
}

impl Request {
    fn new(key: i16, version: i16) -> Self {
        Self {
            key,
            version,
            body: Vec::new(),
        }
    }

    /// Says which mechanism of SASL comes next.
    pub(super) fn sasl_handshake(mechanism: &str) -> Self {
        Self::new(17, 1).text(mechanism)
    }

    /// One message of a mechanism.
    pub(super) fn sasl_authenticate(message: &[u8]) -> Self {
        Self::new(36, 0).int32(length(message.len())).bytes(message)
    }

    /// Asks for the partitions of topics, which are not made if they are not there.
    pub(super) fn metadata<'a>(topics: impl ExactSizeIterator<Item = &'a String>) -> Self {
        let request = Self::new(3, 4).int32(length(topics.len()));
        topics
            .fold(request, |request, topic| request.text(topic))
            .bytes(&[0])
    }

    /// Asks which broker keeps the offsets of a group.
    pub(super) fn find_coordinator(group: &str) -> Self {
        Self::new(10, 1).text(group).bytes(&[0])
    }

    /// Asks for committed offsets: of these partitions, or of all that there are.
    pub(super) fn offset_fetch(group: &str, partitions: Option<&BTreeSet<Partition>>) -> Self {
        let request = Self::new(9, 3).text(group);
        match partitions {
            None => request.int32(-1),
            Some(partitions) => request.by_topic(partitions, Self::int32),
        }
    }

    /// Asks for the ends of partitions.
    pub(super) fn list_offsets(partitions: &BTreeSet<Partition>) -> Self {
        // Of no replica, with what is in open transactions.
        let request = Self::new(2, 2).int32(-1).bytes(&[0]);
        request.by_topic(partitions, |request, partition| {
            request.int32(partition).int64(LATEST)
        })
    }

    fn by_topic(self, partitions: &BTreeSet<Partition>, one: impl Fn(Self, i32) -> Self) -> Self {
        let mut topics = BTreeMap::<&str, Vec<i32>>::new();
        for (topic, partition) in partitions {
            topics.entry(topic).or_default().push(*partition);
        }
        let request = self.int32(length(topics.len()));
        topics.into_iter().fold(request, |request, (topic, partitions)| {
            let request = request.text(topic).int32(length(partitions.len()));
            partitions.into_iter().fold(request, &one)
        })
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.body.extend_from_slice(bytes);
        self
    }

    fn int32(self, value: i32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    fn int64(self, value: i64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    fn text(self, text: &str) -> Self {
        let text = &text.as_bytes()[..text.len().min(MAX_TEXT)];
        let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
        self.bytes(&length.to_be_bytes()).bytes(text)
    }

    /// As it is sent.
    pub(super) fn frame(&self, number: i32) -> Vec<u8> {
        let header = Self::new(self.key, self.version)
            .bytes(&self.key.to_be_bytes())
            .bytes(&self.version.to_be_bytes())
            .int32(number)
            .text(CLIENT);
        let size = length(header.body.len() + self.body.len());
        [&size.to_be_bytes()[..], &header.body, &self.body].concat()
    }
}

/// The longest text; longer names were refused.
pub(super) const MAX_TEXT: usize = i16::MAX as usize;

fn length(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// What was answered to `SaslHandshake`: an error's code, and the mechanisms that there are.
pub(super) fn sasl_handshake(answer: &[u8]) -> Result<(i16, Vec<String>), Error> {
    let mut answer = Answer(answer);
    let code = answer.int16()?;
    let mechanisms = answer.array(Answer::text)?;
    Ok((code, mechanisms))
}

/// What was answered to `SaslAuthenticate`.
pub(super) fn sasl_authenticate(answer: &[u8]) -> Result<Vec<u8>, Error> {
    let mut answer = Answer(answer);
    let code = answer.int16()?;
    let words = answer.text()?;
    match failure(code) {
        Some(error) if words.is_empty() => Err(error),
        Some(error) => Err(error.with_source(words)),
        None => {
            let length = answer.int32()?;
            Ok(answer.take(usize::try_from(length).unwrap_or(0))?.to_vec())
        }
    }
}

/// Where partitions are: the addresses of brokers, and who leads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) brokers: BTreeMap<i32, String>,
    pub(super) leaders: BTreeMap<Partition, i32>,
}

/// What was answered to `Metadata`, for the partitions that count.
pub(super) fn metadata(answer: &[u8], counts: impl Fn(i32) -> bool) -> Result<Layout, Error> {
    let mut answer = Answer(answer);
    let mut layout = Layout::default();
    let _throttled = answer.int32()?;
    let brokers = answer.array(|answer| {
        let broker = (answer.int32()?, address(answer)?);
        let _rack = answer.text()?;
        Ok(broker)
    })?;
    layout.brokers.extend(brokers);
    let _cluster = answer.text()?;
    let _controller = answer.int32()?;
    for _ in 0..answer.count()? {
        let code = answer.int16()?;
        let topic = answer.text()?;
        if let Some(error) = failure(code) {
            return Err(error.with_context("topic", topic));
        }
        let _is_internal = answer.take(1)?;
        for _ in 0..answer.count()? {
            // Its error is that of the leader, or tells of replicas that do not matter here.
            let _code = answer.int16()?;
            let (partition, leader) = (answer.int32()?, answer.int32()?);
            let _replicas = answer.array(Answer::int32)?;
            let _in_sync = answer.array(Answer::int32)?;
            if counts(partition) {
                layout.leaders.insert((topic.clone(), partition), leader);
            }
        }
    }
    Ok(layout)
}

/// What was answered to `FindCoordinator`: the address of a broker.
pub(super) fn find_coordinator(answer: &[u8]) -> Result<String, Error> {
    let mut answer = Answer(answer);
    let _throttled = answer.int32()?;
    let code = answer.int16()?;
    let words = answer.text()?;
    if let Some(error) = failure(code) {
        return Err(error.with_source(words));
    }
    let _broker = answer.int32()?;
    address(&mut answer)
}

/// What was answered to `OffsetFetch`: the offsets that are committed.
pub(super) fn offset_fetch(answer: &[u8]) -> Result<BTreeMap<Partition, i64>, Error> {
    let mut answer = Answer(answer);
    let _throttled = answer.int32()?;
    let mut offsets = BTreeMap::new();
    let mut first_error = None;
    for _ in 0..answer.count()? {
        let topic = answer.text()?;
        for _ in 0..answer.count()? {
            let (partition, offset) = (answer.int32()?, answer.int64()?);
            let _metadata = answer.text()?;
            if let Some(error) = failure(answer.int16()?) {
                first_error.get_or_insert_with(|| of_partition(error, &topic, partition));
            } else if offset >= 0 {
                offsets.insert((topic.clone(), partition), offset);
            }
        }
    }
    // The error of the group comes last, and first in weight.
    match failure(answer.int16()?).or(first_error) {
        Some(error) => Err(error),
        None => Ok(offsets),
    }
}

/// What was answered to `ListOffsets`: the ends of partitions.
pub(super) fn list_offsets(answer: &[u8]) -> Result<Vec<(Partition, i64)>, Error> {
    let mut answer = Answer(answer);
    let _throttled = answer.int32()?;
    let mut offsets = Vec::new();
    for _ in 0..answer.count()? {
        let topic = answer.text()?;
        for _ in 0..answer.count()? {
            let partition = answer.int32()?;
            if let Some(error) = failure(answer.int16()?) {
                return Err(of_partition(error, &topic, partition));
            }
            let _time = answer.int64()?;
            offsets.push(((topic.clone(), partition), answer.int64()?));
        }
    }
    Ok(offsets)
}

fn address(answer: &mut Answer<'_>) -> Result<String, Error> {
    let (host, port) = (answer.text()?, answer.int32()?);
    Ok(match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    })
}

fn of_partition(error: Error, topic: &str, partition: i32) -> Error {
    error
        .with_context("topic", topic)
        .with_context("partition", partition.to_string())
}

/// The error that a code of the protocol stands for, unless it is none.
pub(super) fn failure(code: i16) -> Option<Error> {
    let (kind, name) = match code {
        0 => return None,
        3 => (ErrorKind::NotFound, "UNKNOWN_TOPIC_OR_PARTITION"),
        5 => (ErrorKind::Unavailable, "LEADER_NOT_AVAILABLE"),
        6 => (ErrorKind::Unavailable, "NOT_LEADER_OR_FOLLOWER"),
        7 => (ErrorKind::Unavailable, "REQUEST_TIMED_OUT"),
        8 => (ErrorKind::Unavailable, "BROKER_NOT_AVAILABLE"),
        9 => (ErrorKind::Unavailable, "REPLICA_NOT_AVAILABLE"),
        13 => (ErrorKind::Unavailable, "NETWORK_EXCEPTION"),
        14 => (ErrorKind::Unavailable, "COORDINATOR_LOAD_IN_PROGRESS"),
        15 => (ErrorKind::Unavailable, "COORDINATOR_NOT_AVAILABLE"),
        16 => (ErrorKind::Unavailable, "NOT_COORDINATOR"),
        17 => (ErrorKind::Invalid, "INVALID_TOPIC_EXCEPTION"),
        24 => (ErrorKind::Invalid, "INVALID_GROUP_ID"),
        29 => (ErrorKind::Unauthorized, "TOPIC_AUTHORIZATION_FAILED"),
        30 => (ErrorKind::Unauthorized, "GROUP_AUTHORIZATION_FAILED"),
        31 => (ErrorKind::Unauthorized, "CLUSTER_AUTHORIZATION_FAILED"),
        33 => (ErrorKind::Unsupported, "UNSUPPORTED_SASL_MECHANISM"),
        34 => (ErrorKind::Unauthorized, "ILLEGAL_SASL_STATE"),
        35 => (ErrorKind::Unsupported, "UNSUPPORTED_VERSION"),
        56 => (ErrorKind::Unavailable, "KAFKA_STORAGE_ERROR"),
        58 => (ErrorKind::Unauthorized, "SASL_AUTHENTICATION_FAILED"),
        69 => (ErrorKind::NotFound, "GROUP_ID_NOT_FOUND"),
        72 => (ErrorKind::Unavailable, "LISTENER_NOT_FOUND"),
        74 => (ErrorKind::Unavailable, "FENCED_LEADER_EPOCH"),
        75 => (ErrorKind::Unavailable, "UNKNOWN_LEADER_EPOCH"),
        78 => (ErrorKind::Unavailable, "OFFSET_NOT_AVAILABLE"),
        88 => (ErrorKind::Unavailable, "UNSTABLE_OFFSET_COMMIT"),
        89 => (ErrorKind::Throttled, "THROTTLING_QUOTA_EXCEEDED"),
        -1 => (ErrorKind::Unavailable, "UNKNOWN_SERVER_ERROR"),
        _ => (ErrorKind::Invalid, "an error that has no name here"),
    };
    Some(Error::new(
        kind,
        format!("the broker answers with {name} ({code})"),
    ))
}

/// The error of bytes that are no answer.
pub(super) fn odd() -> Error {
    Error::invalid("the server does not answer as a broker of Kafka does")
}

/// What of an answer is not yet read.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(odd)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().map_err(|_| odd())
    }

    fn int16(&mut self) -> Result<i16, Error> {
        self.array_of().map(i16::from_be_bytes)
    }

    fn int32(&mut self) -> Result<i32, Error> {
        self.array_of().map(i32::from_be_bytes)
    }

    fn int64(&mut self) -> Result<i64, Error> {
        self.array_of().map(i64::from_be_bytes)
    }

    /// A text; none is an empty one.
    fn text(&mut self) -> Result<String, Error> {
        let length = usize::try_from(self.int16()?).unwrap_or(0);
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    /// How many things follow, each of which has a byte at least.
    fn count(&mut self) -> Result<usize, Error> {
        let count = usize::try_from(self.int32()?).unwrap_or(0);
        if count > self.0.len() {
            return Err(odd());
        }
        Ok(count)
    }

    fn array<T>(&mut self, one: impl Fn(&mut Self) -> Result<T, Error>) -> Result<Vec<T>, Error> {
        (0..self.count()?).map(|_| one(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(partition: i32) -> Partition {
        ("t".to_owned(), partition)
    }

    #[test]
    fn requests_are_those_of_the_protocol_byte_for_byte() {
        let two = BTreeSet::from([topic(0), topic(2)]);
        let header = |key: u8, version: u8| -> Vec<u8> {
            [&[0, key, 0, version, 0, 0, 0, 7, 0, 10][..], b"autoscaler"].concat()
        };
        for (request, header, body) in [
            (Request::sasl_handshake("PLAIN"), header(17, 1), &b"\0\x05PLAIN"[..]),
            (Request::sasl_authenticate(b"xyz"), header(36, 0), b"\0\0\0\x03xyz"),
            (Request::metadata(["t".to_owned()].iter()), header(3, 4), b"\0\0\0\x01\0\x01t\0"),
            (Request::find_coordinator("g"), header(10, 1), b"\0\x01g\0"),
            (Request::offset_fetch("g", None), header(9, 3), b"\0\x01g\xff\xff\xff\xff"),
            (
                Request::offset_fetch("g", Some(&two)),
                header(9, 3),
                b"\0\x01g\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x02",
            ),
            (
                Request::list_offsets(&two),
                header(2, 2),
                b"\xff\xff\xff\xff\0\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff",
            ),
        ] {
            let size = u32::try_from(header.len() + body.len()).unwrap();
            let expected = [&size.to_be_bytes()[..], &header, body].concat();
            assert_eq!(request.frame(7), expected, "{request:?}");
        }
    }

    /// One broker, and one topic with two partitions, the second of which has no leader; or with an error of the topic.
    fn metadata_answer(code: i16) -> Vec<u8> {
        [
            &b"\0\0\0\0\0\0\0\x01\0\0\0\x05\0\x03::1\0\0\x23\x84\xff\xff\xff\xff\0\0\0\x05\0\0\0\x01"[..],
            &code.to_be_bytes(),
            b"\0\x01t\0\0\0\0\x02",
            b"\0\0\0\0\0\0\0\0\0\x05\0\0\0\x01\0\0\0\x05\0\0\0\x01\0\0\0\x05",
            b"\0\x05\0\0\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0",
        ]
        .concat()
    }

    #[test]
    fn metadata_tells_brokers_and_leaders() {
        let answer = metadata_answer(0);
        let layout = metadata(&answer, |_| true).unwrap();
        assert_eq!(layout.brokers, BTreeMap::from([(5, "[::1]:9092".to_owned())]));
        assert_eq!(layout.leaders, BTreeMap::from([(topic(0), 5), (topic(1), -1)]));
        assert_eq!(metadata(&answer, |one| one == 0).unwrap().leaders.len(), 1);
        let error = metadata(&metadata_answer(3), |_| true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("topic=t"), "{error}");
    }

    #[test]
    fn an_error_of_a_partition_or_a_group_is_no_offset() {
        let committed = |offset: i64, partition: i16, group: i16| {
            [
                &b"\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x04"[..],
                &offset.to_be_bytes(),
                b"\0\0",
                &partition.to_be_bytes(),
                &group.to_be_bytes(),
            ]
            .concat()
        };
        assert_eq!(
            offset_fetch(&committed(9, 0, 0)).unwrap(),
            BTreeMap::from([(topic(4), 9)])
        );
        assert_eq!(offset_fetch(&committed(-1, 0, 0)).unwrap(), BTreeMap::new());
        let error = offset_fetch(&committed(-1, 29, 0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert!(error.to_string().contains("topic=t, partition=4"), "{error}");
        let error = offset_fetch(&committed(-1, 0, 14)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let end = |code: i16| {
            [
                &b"\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x04"[..],
                &code.to_be_bytes(),
                &[0xff; 8],
                &77_i64.to_be_bytes(),
            ]
            .concat()
        };
        assert_eq!(list_offsets(&end(0)).unwrap(), [(topic(4), 77)]);
        let error = list_offsets(&end(6)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("NOT_LEADER_OR_FOLLOWER"), "{error}");
    }

    #[test]
    fn what_is_cut_short_or_boasts_is_an_error() {
        let whole = metadata_answer(0);
        for end in 0..whole.len() {
            let error = metadata(&whole[..end], |_| true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{end}");
        }
        assert!(list_offsets(b"\0\0\0\0\x7f\xff\xff\xff").is_err());
        assert!(find_coordinator(b"\0\0\0\0\0\0").is_err());
    }

    #[test]
    fn a_login_is_answered_with_bytes_or_with_words() {
        assert_eq!(sasl_authenticate(b"\0\0\xff\xff\0\0\0\x02ok").unwrap(), b"ok");
        let error = sasl_authenticate(b"\0\x3a\0\x02no\0\0\0\0").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert!(error.to_string().ends_with(": no"), "{error}");
        let (code, mechanisms) = sasl_handshake(b"\0\x21\0\0\0\x01\0\x05PLAIN").unwrap();
        assert_eq!((code, mechanisms), (33, vec!["PLAIN".to_owned()]));
    }
}
