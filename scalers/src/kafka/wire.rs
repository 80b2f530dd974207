//! Which messages of Kafka's protocol are said, each in a version that brokers from 0.11 to 4 know, and what their answers come to.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::{
    messages::{
        ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, ListOffsetsRequest, ListOffsetsResponse,
        MetadataRequest, MetadataResponse, OffsetFetchRequest, OffsetFetchResponse, RequestHeader,
        SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
        TopicName,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
        offset_fetch_request::OffsetFetchRequestTopic,
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use scaler_api::Error;

use super::{bounded::Bounded, codes::check, lag::Partition};
use crate::tcp::Failure;

/// The name by which brokers know this client.
const CLIENT: &str = "autoscaler";
/// The time that stands for the end of a partition.
const LATEST: i64 = -1;
/// The longest text; longer names are refused.
pub(super) const MAX_TEXT: usize = i16::MAX as usize;

/// Versions without tags, which brokers before 2.4 do not know.
const FIND_COORDINATOR: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 4;
const OFFSET_FETCH: i16 = 3;
const SASL_AUTHENTICATE: i16 = 0;
const SASL_HANDSHAKE: i16 = 1;

/// One request as it is sent, but for its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request(Vec<u8>);

impl Request {
    fn new<M: Encodable + HeaderVersion>(key: ApiKey, version: i16, message: &M) -> Result<Self, Failure> {
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str(CLIENT)));
        let mut frame = vec![0; 4];
        header
            .encode(&mut frame, M::header_version(version))
            .and_then(|()| message.encode(&mut frame, version))
            .map_err(|error| {
                Failure::answered(Error::invalid("the request cannot be encoded").with_source(error))
            })?;
        let size = i32::try_from(frame.len() - 4).unwrap_or(i32::MAX);
        frame[..4].copy_from_slice(&size.to_be_bytes());
        Ok(Self(frame))
    }

    /// Says which mechanism of SASL comes next.
    pub(super) fn sasl_handshake(mechanism: &str) -> Result<Self, Failure> {
        let message = SaslHandshakeRequest::default().with_mechanism(text(mechanism));
        Self::new(ApiKey::SaslHandshake, SASL_HANDSHAKE, &message)
    }

    /// One message of a mechanism.
    pub(super) fn sasl_authenticate(message: &[u8]) -> Result<Self, Failure> {
        let message = SaslAuthenticateRequest::default().with_auth_bytes(message.to_vec().into());
        Self::new(ApiKey::SaslAuthenticate, SASL_AUTHENTICATE, &message)
    }

    /// Asks for the partitions of topics, which are not made if they are not there.
    pub(super) fn metadata<'a>(topics: impl Iterator<Item = &'a String>) -> Result<Self, Failure> {
        let topics = topics.map(|topic| MetadataRequestTopic::default().with_name(Some(text(topic).into())));
        let message = MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(false);
        Self::new(ApiKey::Metadata, METADATA, &message)
    }

    /// Asks which broker keeps the offsets of a group.
    pub(super) fn find_coordinator(group: &str) -> Result<Self, Failure> {
        let message = FindCoordinatorRequest::default().with_key(text(group));
        Self::new(ApiKey::FindCoordinator, FIND_COORDINATOR, &message)
    }

    /// Asks for committed offsets: of these partitions, or of all that there are.
    pub(super) fn offset_fetch(
        group: &str,
        partitions: Option<&BTreeSet<Partition>>,
    ) -> Result<Self, Failure> {
        let topic = |topic, partitions| {
            OffsetFetchRequestTopic::default()
                .with_name(topic)
                .with_partition_indexes(partitions)
        };
        let topics = partitions.map(|partitions| by_topic(partitions, topic));
        let message = OffsetFetchRequest::default()
            .with_group_id(text(group).into())
            .with_topics(topics);
        Self::new(ApiKey::OffsetFetch, OFFSET_FETCH, &message)
    }

    /// Asks for the ends of partitions, with what is in open transactions.
    pub(super) fn list_offsets(partitions: &BTreeSet<Partition>) -> Result<Self, Failure> {
        let end = |partition| {
            ListOffsetsPartition::default()
                .with_partition_index(partition)
                .with_timestamp(LATEST)
        };
        let topic = |topic, partitions: Vec<i32>| {
            ListOffsetsTopic::default()
                .with_name(topic)
                .with_partitions(partitions.into_iter().map(end).collect())
        };
        let message = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_topics(by_topic(partitions, topic));
        Self::new(ApiKey::ListOffsets, LIST_OFFSETS, &message)
    }

    /// As it is sent.
    pub(super) fn frame(&self, number: i32) -> Vec<u8> {
        let mut frame = self.0.clone();
        // After the size, the key and the version.
        frame[8..12].copy_from_slice(&number.to_be_bytes());
        frame
    }
}

fn text(text: &str) -> StrBytes {
    text.to_owned().into()
}

fn by_topic<T>(partitions: &BTreeSet<Partition>, one: impl Fn(TopicName, Vec<i32>) -> T) -> Vec<T> {
    let partitions: Vec<_> = partitions.iter().collect();
    let topics = partitions.chunk_by(|one, next| one.0 == next.0);
    let numbers = |topic: &[&Partition]| topic.iter().map(|(_, number)| *number).collect();
    topics
        .map(|topic| one(text(&topic[0].0).into(), numbers(topic)))
        .collect()
}

fn decode<M: Decodable>(answer: &[u8], version: i16) -> Result<M, Error> {
    M::decode(&mut Bounded(answer), version).map_err(|error| odd().with_source(error))
}

/// What was answered to `SaslHandshake`: an error's code, and the mechanisms that there are.
pub(super) fn sasl_handshake(answer: &[u8]) -> Result<(i16, Vec<String>), Error> {
    let answer: SaslHandshakeResponse = decode(answer, SASL_HANDSHAKE)?;
    let mechanisms = answer.mechanisms.iter().map(ToString::to_string).collect();
    Ok((answer.error_code, mechanisms))
}

/// What was answered to `SaslAuthenticate`.
pub(super) fn sasl_authenticate(answer: &[u8]) -> Result<Vec<u8>, Error> {
    let answer: SaslAuthenticateResponse = decode(answer, SASL_AUTHENTICATE)?;
    explained(answer.error_code, answer.error_message.as_deref())?;
    Ok(answer.auth_bytes.to_vec())
}

/// Where partitions are: the addresses of brokers, and who leads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) brokers: BTreeMap<i32, String>,
    pub(super) leaders: BTreeMap<Partition, i32>,
}

/// What was answered to `Metadata`, for the partitions that count.
pub(super) fn metadata(answer: &[u8], counts: impl Fn(i32) -> bool) -> Result<Layout, Error> {
    let answer: MetadataResponse = decode(answer, METADATA)?;
    let mut layout = Layout::default();
    for broker in &answer.brokers {
        layout
            .brokers
            .insert(broker.node_id.0, address(&broker.host, broker.port));
    }
    for topic in answer.topics {
        let name = topic.name.unwrap_or_default().to_string();
        check(topic.error_code).map_err(|error| error.with_context("topic", &name))?;
        // A partition's error is that of its leader, or tells of replicas that do not matter here.
        for partition in topic.partitions {
            if counts(partition.partition_index) {
                let place = (name.clone(), partition.partition_index);
                layout.leaders.insert(place, partition.leader_id.0);
            }
        }
    }
    Ok(layout)
}

/// What was answered to `FindCoordinator`: the address of a broker.
pub(super) fn find_coordinator(answer: &[u8]) -> Result<String, Error> {
    let answer: FindCoordinatorResponse = decode(answer, FIND_COORDINATOR)?;
    explained(answer.error_code, answer.error_message.as_deref())?;
    Ok(address(&answer.host, answer.port))
}

/// What was answered to `OffsetFetch`: the offsets that are committed.
pub(super) fn offset_fetch(answer: &[u8]) -> Result<BTreeMap<Partition, i64>, Error> {
    let answer: OffsetFetchResponse = decode(answer, OFFSET_FETCH)?;
    check(answer.error_code)?;
    let mut offsets = BTreeMap::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let place = placed(&topic.name, partition.partition_index, partition.error_code)?;
            offsets.insert(place, partition.committed_offset);
        }
    }
    offsets.retain(|_, offset| *offset >= 0);
    Ok(offsets)
}

/// What was answered to `ListOffsets`: the ends of partitions.
pub(super) fn list_offsets(answer: &[u8]) -> Result<Vec<(Partition, i64)>, Error> {
    let answer: ListOffsetsResponse = decode(answer, LIST_OFFSETS)?;
    let mut ends = Vec::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let place = placed(&topic.name, partition.partition_index, partition.error_code)?;
            ends.push((place, partition.offset));
        }
    }
    Ok(ends)
}

fn address(host: &str, port: i32) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// A partition of which the broker has no error to tell.
fn placed(topic: &str, partition: i32, code: i16) -> Result<Partition, Error> {
    check(code).map_err(|error| {
        let error = error.with_context("topic", topic);
        error.with_context("partition", partition.to_string())
    })?;
    Ok((topic.to_owned(), partition))
}

/// An error goes with the words of the broker, if it has some.
fn explained(code: i16, words: Option<&str>) -> Result<(), Error> {
    check(code).map_err(|error| match words {
        None | Some("") => error,
        Some(words) => error.with_source(words),
    })
}

/// The error of bytes that are no answer.
pub(super) fn odd() -> Error {
    Error::invalid("the server does not answer as a broker of Kafka does")
}

#[cfg(test)]
mod tests {
    use scaler_api::ErrorKind;

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
            assert_eq!(request.unwrap().frame(7), expected, "{header:?}");
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
