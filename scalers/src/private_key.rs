//! Private keys with a password: PKCS#8 (RFC 5958), encrypted by PBES2 (RFC 8018) with PBKDF2 and AES, as `openssl` writes them.

use std::num::NonZeroU32;

use aes::{Aes128, Aes192, Aes256};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cbc::{
    Decryptor,
    cipher::{BlockCipherDecrypt, BlockModeDecrypt as _, KeyInit, KeyIvInit as _, block_padding::Pkcs7},
};
use ring::pbkdf2;
use scaler_api::{Problems, Secret};

const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
/// More would hold the program up for seconds.
const MOST_ITERATIONS: u32 = 10_000_000;

// RFC 8018, appendix A and B.
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// The beginning of the names of HMACs, of which the last byte says the digest.
const HMAC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02];
/// The beginning of the names of AES, of which the last byte says size and mode.
const AES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01];

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NAME: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// The key without its password, in PEM. A key that has none is given back as it is.
///
/// # Errors
/// If the password does not open it, or it is encrypted in another way; in words that quote neither.
pub(crate) fn open(key: &Secret, password: &Secret) -> Result<Secret, &'static str> {
    let Some((_, text)) = key.expose().split_once(BEGIN) else {
        return match key.expose().contains("Proc-Type: 4,ENCRYPTED") {
            true => Err("key has a password in OpenSSL's old form, expected PKCS#8"),
            false => Ok(key.clone()),
        };
    };
    let (text, _) = text.split_once(END).ok_or("key is not a key in PEM")?;
    let text: String = text.split_whitespace().collect();
    let bytes = STANDARD.decode(text).map_err(|_| "key is not a key in PEM")?;
    let parts = Encrypted::read(&bytes).ok_or("key is not an encrypted key of PKCS#8")??;
    let opened = parts.decrypt(password)?;
    Ok(Secret::new(format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(opened)
    )))
}

/// A client's certificate and its key. A key that its password does not open is left as it is, which TLS refuses.
#[cfg(any(feature = "etcd", feature = "mongodb", feature = "rabbitmq"))]
pub(crate) fn identity(
    cert: Option<&Secret>,
    key: Option<&Secret>,
    password: Option<&Secret>,
) -> Option<(Secret, Secret)> {
    let (cert, key) = cert.zip(key)?;
    let opened = password.and_then(|password| open(key, password).ok());
    Some((cert.clone(), opened.unwrap_or_else(|| key.clone())))
}

/// Reports a key that its password does not open.
pub(crate) fn check(key: Option<&Secret>, password: Option<&Secret>, problems: &mut Problems) {
    if let Some((key, password)) = key.zip(password)
        && let Err(message) = open(key, password)
    {
        problems.error("keyPassword", "***", message);
    }
}

/// What an encrypted key is made of.
struct Encrypted<'a> {
    salt: &'a [u8],
    iterations: NonZeroU32,
    digest: pbkdf2::Algorithm,
    /// Bytes of the key that the password is made.
    size: usize,
    vector: &'a [u8],
    content: &'a [u8],
}

impl<'a> Encrypted<'a> {
    /// `None` if it is not one.
    fn read(bytes: &'a [u8]) -> Option<Result<Self, &'static str>> {
        let mut outer = Der(bytes).take(SEQUENCE)?;
        let mut algorithm = outer.take(SEQUENCE)?;
        let content = outer.take(OCTETS)?.0;
        if algorithm.take(NAME)?.0 != PBES2 {
            return Some(Err("key is encrypted in another way than PBES2"));
        }
        let mut parameters = algorithm.take(SEQUENCE)?;
        let (mut derivation, mut cipher) = (parameters.take(SEQUENCE)?, parameters.take(SEQUENCE)?);
        if derivation.take(NAME)?.0 != PBKDF2 {
            return Some(Err("the password of key is used in another way than PBKDF2"));
        }
        let mut derivation = derivation.take(SEQUENCE)?;
        let salt = derivation.take(OCTETS)?.0;
        let iterations =
            NonZeroU32::new(derivation.number()?).filter(|count| count.get() <= MOST_ITERATIONS)?;
        // How long the derived key is follows from the cipher too.
        derivation.take(INTEGER);
        let digest = match derivation.take(SEQUENCE) {
            None => pbkdf2::PBKDF2_HMAC_SHA1,
            Some(mut digest) => match digest.take(NAME)?.0.strip_prefix(HMAC)? {
                [0x07] => pbkdf2::PBKDF2_HMAC_SHA1,
                [0x09] => pbkdf2::PBKDF2_HMAC_SHA256,
                [0x0a] => pbkdf2::PBKDF2_HMAC_SHA384,
                [0x0b] => pbkdf2::PBKDF2_HMAC_SHA512,
                _ => {
                    return Some(Err(
                        "the password of key is used with another digest than SHA-1 or SHA-2",
                    ));
                }
            },
        };
        let size = match cipher.take(NAME)?.0.strip_prefix(AES) {
            Some([0x02]) => 16,
            Some([0x16]) => 24,
            Some([0x2a]) => 32,
            _ => return Some(Err("key is encrypted by another cipher than AES in CBC mode")),
        };
        Some(Ok(Self {
            salt,
            iterations,
            digest,
            size,
            vector: cipher.take(OCTETS)?.0,
            content,
        }))
    }

    fn decrypt(&self, password: &Secret) -> Result<Vec<u8>, &'static str> {
        let mut key = [0; 32];
        let key = &mut key[..self.size];
        pbkdf2::derive(
            self.digest,
            self.iterations,
            self.salt,
            password.expose().as_bytes(),
            key,
        );
        let opened = match self.size {
            16 => self.decrypt_with::<Aes128>(key),
            24 => self.decrypt_with::<Aes192>(key),
            _ => self.decrypt_with::<Aes256>(key),
        };
        // A wrong password may leave something that is padded well by chance, but no key.
        opened
            .filter(|opened| Der(opened).take(SEQUENCE).is_some())
            .ok_or("keyPassword does not open key")
    }

    fn decrypt_with<C: BlockCipherDecrypt + KeyInit>(&self, key: &[u8]) -> Option<Vec<u8>> {
        let cipher = Decryptor::<C>::new_from_slices(key, self.vector).ok()?;
        cipher.decrypt_padded_vec::<Pkcs7>(self.content).ok()
    }
}

/// The rest of something in DER.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next element, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<Self> {
        let [found, length, rest @ ..] = self.0 else {
            return None;
        };
        if *found != tag {
            return None;
        }
        let (length, rest) = match length {
            0..=0x7f => (usize::from(*length), rest),
            0x81 | 0x82 => {
                let (length, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Self(content))
    }

    fn number(&mut self) -> Option<u32> {
        let bytes = self.take(INTEGER)?.0;
        let is_small = bytes.len() <= 4 && bytes.first().is_some_and(|first| *first < 0x80);
        is_small.then(|| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One key, encrypted by OpenSSL 3 with the password "hunter2".
    const AES_256_SHA_256: &str = "\
        MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAj/+I70RZHwYAICCAAwDAYIKoZIhvcNAgkFADAdBglghk\
        gBZQMEASoEELPyIM2tmUM0WaZ5a3uS1oYEgZCQJltMO5S1dIOKvHqPDEKyctczNFBSWgl9RfnPA4x5BVZJ4SD8ilG2\
        9pZ0igj7bZqQZSQlcNET4I/QYRJAukePSqzY/EEjF8hVkwxiCszN996uZPkkNn4qkKVfw8qv/fYVmTMJofB3Fx69ua\
        eB9En3tAcQ9jsxqFOoUNcwITYZICXhHf9i/rKk2BBT/sYaBNc=";
    const AES_192_SHA_512: &str = "\
        MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjIJ0Ls/ygd2QICCAAwDAYIKoZIhvcNAgsFADAdBglghk\
        gBZQMEARYEEGZ8Ksm97iszwOhkXs7ZACkEgZCNAfHnGnh4IDIytRP3QcamY/9n+0Y5AzBZM2pfJo2Aqj9D4c5K03j8\
        vwIIpU21vPNQVf0aEo8uEOolbvyV3WnZfiGLBDR/mvE5/g/sUqG9kFuHPHxBNcJNr2iJSTashp7JKQVv1Zh4K6Hy4/\
        7oXqgDJotnL9OvbRIkw1QlxQh9wAP5BvW88amVjzPONXvlUEE=";
    const AES_128_SHA_1: &str = "\
        MIHeMEkGCSqGSIb3DQEFDTA8MBsGCSqGSIb3DQEFDDAOBAg7UdL+U3UthAICCAAwHQYJYIZIAWUDBAECBBDGHAJtcm\
        7K5eOJSjzg4RgvBIGQiuH6BHFiSN1NhwbbEUpGnbZRm6IAbcPcjwEdahyGF9Vw7tUrFLbWcc+04gCH0HHDwZ0Bb3V8\
        7vzlJ5S1txwYCu+D1ABds8Q+dFWcScN6KuMbYgHGv6BDoE9snKaJP9ODWrRiDZZ09iCjz9LMpqvRf+cdLcP/c/A/hU\
        lUEx+jRjf8BAvS9QyIWlDsQf01jUsp";
    const DES: &str = "\
        MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAjFM2kvrPhYmgICCAAwDAYIKoZIhvcNAgkFADAUBggqhk\
        iG9w0DBwQIzxtfjgw2rTIEgZC1w1HoLsiwicE/k3Mzb+UgZWEvU+1w02zi3qWL073uYB2WViL2zFK/cqitoKEzgHe8\
        ZIIjX8NfeeMNr/iHUnj9fNK+tx9rgQr/lZ/sPEGHolCGWg0uTyBU/hhNQ6fjUjlrWMAMNWWSUH44semYSte3gCjqjD\
        9loO8tmfZA1PqDn76siPYm6//HVto8TWesUvk=";
    const SCRYPT: &str = "\
        MIHkME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAgzAys8AMATEwICQAACAQgCAQEwHQYJYIZIAWUDBAEqBB\
        AmKMaMTZKp3o3XqU8MN5onBIGQMZVG6qO0PNCGGbqeeOAO6/ZKjaoCV5W8M0BVtJNaCQtMW4JsbnF4SmwFamV7jUhP\
        BVeLCSwqsUgaKE5e+CSFjOmJYTPQ9zdOBwbaktULXT+v33OQ5wxRdIXYd9Lks4WQfQz935efP1XXXt95g7v4Tf54SG\
        EUPpvNUMuYx50Gj+19zEqAdNWRH6JkIYKPAOI4";

    fn pem(text: &str) -> Secret {
        Secret::new(format!("{BEGIN}\n{text}\n{END}\n"))
    }

    #[test]
    fn keys_are_opened_by_their_password_alone() {
        for (name, text) in [
            ("AES-256, SHA-256", AES_256_SHA_256),
            ("AES-192, SHA-512", AES_192_SHA_512),
            ("AES-128, SHA-1", AES_128_SHA_1),
        ] {
            let opened = open(&pem(text), &Secret::new("hunter2")).unwrap();
            let opened: String = opened
                .expose()
                .lines()
                .filter(|line| !line.starts_with('-'))
                .collect();
            let digest = ring::digest::digest(&ring::digest::SHA256, &STANDARD.decode(opened).unwrap());
            let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(
                digest, "1a1daa69f39ed314306cd9e70130eac462146c5b8d140ea4948545f0cb6aad86",
                "{name}"
            );
            let error = open(&pem(text), &Secret::new("hunter3")).unwrap_err();
            assert_eq!(error, "keyPassword does not open key", "{name}");
        }
    }

    #[test]
    fn what_is_encrypted_otherwise_or_not_at_all_is_told() {
        let password = Secret::new("hunter2");
        for (text, expected) in [
            (DES, "another cipher than AES"),
            (SCRYPT, "another way than PBKDF2"),
            ("aGVsbG8=", "not an encrypted key of PKCS#8"),
            ("!", "not a key in PEM"),
        ] {
            let error = open(&pem(text), &password).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let plain = Secret::new("-----BEGIN PRIVATE KEY-----");
        assert_eq!(open(&plain, &password).unwrap(), plain);
        let old = Secret::new("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED");
        assert!(open(&old, &password).is_err());
        let cut = &AES_256_SHA_256[..AES_256_SHA_256.len() - 8];
        assert!(open(&pem(cut), &password).is_err());
    }
}
