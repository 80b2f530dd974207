//! What producers, consumers and administrators of Kafka do, in as few bytes as the protocol allows.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Mutex,
};

/// A connection to the only broker of a cluster, without TLS and login.
#[derive(Debug)]
pub(crate) struct Admin {
    address: String,
    stream: Mutex<Option<TcpStream>>,
}

fn text(text: &str) -> Vec<u8> {
    let length = i16::try_from(text.len()).unwrap();
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn count(count: usize) -> [u8; 4] {
    i32::try_from(count).unwrap().to_be_bytes()
}

impl Admin {
    pub(crate) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            stream: Mutex::default(),
        }
    }

    async fn call(&self, key: i16, version: i16, body: &[u8]) -> Vec<u8> {
        let mut stream = self.stream.lock().await;
        if stream.is_none() {
            *stream = Some(TcpStream::connect(&self.address).await.unwrap());
        }
        let stream = stream.as_mut().unwrap();
        let header = [
            &key.to_be_bytes()[..],
            &version.to_be_bytes(),
            &7_i32.to_be_bytes(),
            &text("test"),
        ]
        .concat();
        let size = count(header.len() + body.len());
        let frame = [&size[..], &header, body].concat();
        stream.write_all(&frame).await.unwrap();
        let size = stream.read_i32().await.unwrap();
        let mut answer = vec![0; usize::try_from(size).unwrap()];
        stream.read_exact(&mut answer).await.unwrap();
        answer.split_off(4)
    }

    /// Makes a topic; the result is the broker's code.
    pub(crate) async fn try_create(&self, topic: &str, partitions: i32) -> i16 {
        let body = [
            &count(1)[..],
            &text(topic),
            &partitions.to_be_bytes(),
            &1_i16.to_be_bytes(),
            &count(0),
            &count(0),
            &10_000_i32.to_be_bytes(),
            &[0],
        ]
        .concat();
        let answer = self.call(19, 2, &body).await;
        let at = 4 + 4 + 2 + topic.len();
        i16::from_be_bytes([answer[at], answer[at + 1]])
    }

    /// Makes a topic whose partitions have leaders.
    pub(crate) async fn create(&self, topic: &str, partitions: i32) {
        assert_eq!(self.try_create(topic, partitions).await, 0, "{topic}");
        for partition in 0..partitions {
            self.produce(topic, partition, 0).await;
        }
    }

    /// Writes messages, and waits until the partition takes them.
    pub(crate) async fn produce(&self, topic: &str, partition: i32, messages: usize) {
        let records = batch(messages.max(1));
        // Without messages it asks for the partition's end, which it has once it has a leader.
        let (key, version, body) = match messages {
            0 => {
                let body = [
                    &(-1_i32).to_be_bytes()[..],
                    &[0],
                    &count(1),
                    &text(topic),
                    &count(1),
                    &partition.to_be_bytes(),
                    &(-1_i64).to_be_bytes(),
                ];
                (2, 2, body.concat())
            }
            _ => {
                let body = [
                    &(-1_i16).to_be_bytes()[..],
                    &1_i16.to_be_bytes(),
                    &10_000_i32.to_be_bytes(),
                    &count(1),
                    &text(topic),
                    &count(1),
                    &partition.to_be_bytes(),
                    &count(records.len()),
                    &records,
                ];
                (0, 3, body.concat())
            }
        };
        let start = if key == 2 { 4 } else { 0 };
        let at = start + 4 + 2 + topic.len() + 4 + 4;
        self.until_taken(key, version, &body, at).await;
    }

    /// Commits an offset, as a consumer without a group does.
    pub(crate) async fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        // The coordinator is made when it is first asked for.
        self.until_taken(10, 1, &[text(group), vec![0]].concat(), 4).await;
        let body = [
            &text(group)[..],
            &(-1_i32).to_be_bytes(),
            &text(""),
            &(-1_i64).to_be_bytes(),
            &count(1),
            &text(topic),
            &count(1),
            &partition.to_be_bytes(),
            &offset.to_be_bytes(),
            &(-1_i16).to_be_bytes(),
        ]
        .concat();
        let at = 4 + 2 + topic.len() + 4 + 4;
        self.until_taken(8, 2, &body, at).await;
    }

    /// Asks until the code at this place of the answer is none of an error that passes.
    async fn until_taken(&self, key: i16, version: i16, body: &[u8], at: usize) {
        for _ in 0..200 {
            let answer = self.call(key, version, body).await;
            match i16::from_be_bytes([answer[at], answer[at + 1]]) {
                0 => return,
                3 | 5 | 6 | 14 | 15 | 16 => tokio::time::sleep(Duration::from_millis(50)).await,
                code => panic!("request {key} is answered with {code}"),
            }
        }
        panic!("the broker does not get ready");
    }
}

/// A batch of records, version 2.
fn batch(messages: usize) -> Vec<u8> {
    let mut records = Vec::new();
    for number in 0..messages {
        let mut record = vec![0];
        varint(0, &mut record);
        varint(i64::try_from(number).unwrap(), &mut record);
        varint(-1, &mut record);
        varint(1, &mut record);
        record.push(b'x');
        varint(0, &mut record);
        varint(i64::try_from(record.len()).unwrap(), &mut records);
        records.extend(record);
    }
    let checked = [
        &0_i16.to_be_bytes()[..],
        &count(messages - 1),
        &0_i64.to_be_bytes(),
        &0_i64.to_be_bytes(),
        &(-1_i64).to_be_bytes(),
        &(-1_i16).to_be_bytes(),
        &(-1_i32).to_be_bytes(),
        &count(messages),
        &records,
    ]
    .concat();
    [
        &0_i64.to_be_bytes()[..],
        &count(4 + 1 + 4 + checked.len()),
        &(-1_i32).to_be_bytes(),
        &[2],
        &crc32c(&checked).to_be_bytes(),
        &checked,
    ]
    .concat()
}

fn varint(value: i64, bytes: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap();
        rest >>= 7;
        if rest == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0x82F6_3B78
            } else {
                crc >> 1
            }
        })
    })
}
