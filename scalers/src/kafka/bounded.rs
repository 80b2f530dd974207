//! Bytes to decode in which no number is so great that room for as many things was too much.
//!
//! `kafka-protocol` makes room for as many things as an answer announces before it reads the first of them. Without that
//! much memory the process is aborted, and whoever may name a broker could do that with a dozen bytes.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::buf::ByteBuf;

/// More partitions than any topic has. Room for as many is some 100 MB, of which none is touched.
const MOST: i32 = 1 << 20;

/// The rest of an answer.
///
/// What decodes does not say which of the numbers are lengths. So the greater ones are made negative, which is refused as
/// a length; as the number of a broker it is as good as before, since different ones stay so.
pub(super) struct Bounded<'a>(pub(super) &'a [u8]);

impl Buf for Bounded<'_> {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.0.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let number = self.0.try_get_i32()?;
        Ok(match number > MOST {
            true => i32::MIN + (number - MOST),
            false => number,
        })
    }
}

impl ByteBuf for Bounded<'_> {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.0.peek_bytes(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.0.get_bytes(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::wire;

    #[test]
    fn no_answer_makes_room_for_what_it_does_not_have() {
        const BOAST: &[u8] = &[0x7f, 0xff, 0xff, 0xff];
        let layout = |answer: &[u8]| wire::metadata(answer, |_| true).map(drop);
        let no_broker = &b"\0\0\0\0\0\0\0\0\xff\xff\0\0\0\0"[..];
        let topic = &[no_broker, b"\0\0\0\x01\0\0\0\x01t\0"].concat();
        let partition = &[topic, &b"\0\0\0\x01\0\0\0\0\0\0\0\0\0\x01"[..]].concat();
        for before in [&b"\0\0\0\0"[..], no_broker, topic, partition] {
            assert!(layout(&[before, BOAST].concat()).is_err(), "{before:?}");
        }
        for before in [&b"\0\0\0\0"[..], b"\0\0\0\0\0\0\0\x01\0\x01t"] {
            let answer = [before, BOAST].concat();
            assert!(wire::offset_fetch(&answer).is_err(), "{before:?}");
            assert!(wire::list_offsets(&answer).is_err(), "{before:?}");
        }
        assert!(wire::sasl_handshake(&[b"\0\0", BOAST].concat()).is_err());
        assert!(wire::sasl_authenticate(&[b"\0\0\xff\xff", BOAST].concat()).is_err());
    }

    #[test]
    fn great_numbers_of_brokers_are_told_apart() {
        let read = |number: i32| Bounded(&number.to_be_bytes()).try_get_i32().unwrap();
        assert_eq!([-1, 0, 9092, MOST].map(read), [-1, 0, 9092, MOST]);
        let great = [MOST + 1, i32::MAX - 1, i32::MAX].map(read);
        assert!(great.is_sorted_by(|one, next| one < next), "{great:?}");
        assert!(great[2] < -1, "{great:?}");
    }
}
