//! Seeded uids and name suffixes.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// The source of everything that a real API server draws at random.
#[derive(Clone, Debug)]
pub(crate) struct Random(ChaCha8Rng);

const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const LONGEST_GENERATED: usize = 63 - 5;

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A version 4 UUID.
    pub(crate) fn uid(&mut self) -> String {
        let high = (self.0.next_u64() & !0xf000) | 0x4000;
        let low = (self.0.next_u64() & !(0b11 << 62)) | (0b10 << 62);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    /// `base` with five letters behind it.
    pub(crate) fn name(&mut self, base: &str) -> String {
        let mut end = base.len().min(LONGEST_GENERATED);
        while !base.is_char_boundary(end) {
            end -= 1;
        }
        let mut name = base[..end].to_owned();
        for _ in 0..5 {
            let index = self.0.next_u32() as usize % SUFFIX.len();
            name.push(char::from(SUFFIX[index]));
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_names() {
        let draw = |seed| {
            let mut random = Random::seeded(seed);
            (random.uid(), random.name("web-"))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let (uid, name) = draw(7);
        assert_eq!((uid.len(), uid.as_bytes()[14], name.len()), (36, b'4', 9));
        assert!(name.bytes().skip(4).all(|letter| SUFFIX.contains(&letter)));
    }
}
