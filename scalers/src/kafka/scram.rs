//! SCRAM (RFC 5802) with SHA-256 and SHA-512, without channel binding: what a client says, and whether the broker knew the
//! password, too.

use std::{collections::BTreeMap, num::NonZeroU32};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{digest, hmac, pbkdf2};
use scaler_api::{Error, ErrorKind, Secret};

/// No channel binding, in base64.
const BINDING: &str = "biws";
/// More rounds than any broker asks for; an attacker in a broker's place could ask for billions.
const MAX_ROUNDS: u32 = 1_000_000;

/// Which digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    Sha256,
    Sha512,
}

impl Digest {
    pub(super) fn mechanism(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn hmac(self, key: &[u8], text: &[u8]) -> hmac::Tag {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), text)
    }

    fn of(self, text: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, text)
    }

    fn salted(self, password: &Secret, salt: &[u8], rounds: NonZeroU32) -> Vec<u8> {
        let (algorithm, length) = match self {
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            Self::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        };
        let mut salted = vec![0; length];
        pbkdf2::derive(algorithm, rounds, salt, password.expose().as_bytes(), &mut salted);
        salted
    }
}

/// A login that has begun.
pub(super) struct Exchange {
    digest: Digest,
    nonce: String,
    first: String,
}

impl Exchange {
    /// Begins a login; the nonce is new each time.
    pub(super) fn new(digest: Digest, username: &str, nonce: String) -> Self {
        let name = username.replace('=', "=3D").replace(',', "=2C");
        Self {
            digest,
            first: format!("n={name},r={nonce}"),
            nonce,
        }
    }

    /// The first message.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first)
    }

    /// The second message, and what the broker must answer to it.
    pub(super) fn second(&self, password: &Secret, challenge: &[u8]) -> Result<(String, String), Error> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| odd())?;
        let parts: BTreeMap<&str, &str> = challenge
            .split(',')
            .filter_map(|part| part.split_once('='))
            .collect();
        let part = |name: &str| parts.get(name).copied().ok_or_else(odd);
        let (nonce, salt, rounds) = (part("r")?, part("s")?, part("i")?);
        if !nonce.starts_with(&self.nonce) || nonce == self.nonce {
            return Err(odd());
        }
        let salt = STANDARD.decode(salt).map_err(|_| odd())?;
        let rounds: NonZeroU32 = rounds.parse().map_err(|_| odd())?;
        if rounds.get() > MAX_ROUNDS {
            return Err(odd());
        }
        let salted = self.digest.salted(password, &salt, rounds);
        let last = format!("c={BINDING},r={nonce}");
        let messages = format!("{},{challenge},{last}", self.first);
        let client_key = self.digest.hmac(&salted, b"Client Key");
        let stored_key = self.digest.of(client_key.as_ref());
        let signature = self.digest.hmac(stored_key.as_ref(), messages.as_bytes());
        let proof: Vec<u8> = client_key
            .as_ref()
            .iter()
            .zip(signature.as_ref())
            .map(|(key, signature)| key ^ signature)
            .collect();
        let server_key = self.digest.hmac(&salted, b"Server Key");
        let expected = self.digest.hmac(server_key.as_ref(), messages.as_bytes());
        Ok((
            format!("{last},p={}", STANDARD.encode(proof)),
            format!("v={}", STANDARD.encode(expected)),
        ))
    }
}

fn odd() -> Error {
    Error::new(
        ErrorKind::Unauthorized,
        "the broker does not answer as SCRAM wants it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 §3; its user and nonces with SHA-512 as computed by Python's `hashlib`.
    #[test]
    fn messages_are_those_of_the_vectors() {
        let nonce = "rOprNGfwEbeRWgbNEkqO";
        let challenge =
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        for (digest, proof, signature) in [
            (
                Digest::Sha256,
                "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
            (
                Digest::Sha512,
                "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
                "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
            ),
        ] {
            let exchange = Exchange::new(digest, "user", nonce.to_owned());
            assert_eq!(exchange.first(), format!("n,,n=user,r={nonce}"));
            let (message, expected) = exchange
                .second(&Secret::new("pencil"), challenge.as_bytes())
                .unwrap();
            let start = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=";
            assert_eq!(message, format!("{start}{proof}"));
            assert_eq!(expected, format!("v={signature}"));
        }
    }

    #[test]
    fn a_challenge_that_is_none_of_ours_is_refused() {
        let exchange = Exchange::new(Digest::Sha256, "a,b=c", "abc".to_owned());
        assert_eq!(exchange.first(), "n,,n=a=2Cb=3Dc,r=abc");
        for challenge in [
            "",
            "e=other-error",
            "r=abc,s=AA==,i=4096",
            "r=xyzabc,s=AA==,i=4096",
            "r=abcd,s=?,i=4096",
            "r=abcd,s=AA==,i=0",
            "r=abcd,s=AA==,i=4000000000",
        ] {
            let error = exchange
                .second(&Secret::new("pencil"), challenge.as_bytes())
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized, "{challenge}");
        }
    }
}
