//! Connection strings, and the signatures of the keys in them.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;
use scaler_api::Secret;

/// `Name=value;Name=value`, as Azure's portal gives it out.
#[derive(Clone)]
pub(crate) struct ConnectionString(Vec<(String, String)>);

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionString").finish_non_exhaustive()
    }
}

impl ConnectionString {
    /// Reads one; the error does not repeat it.
    pub(crate) fn read(text: &Secret) -> Result<Self, String> {
        let parts = text.expose().split(';').map(str::trim);
        let pairs = parts.filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        });
        let pairs = pairs
            .collect::<Option<Vec<_>>>()
            .filter(|pairs| !pairs.is_empty());
        pairs
            .map(Self)
            .ok_or_else(|| "connection is not a connection string, expected Name=value;Name=value".to_owned())
    }

    /// A value that is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Like [`get`](Self::get), or an error that names what is missing.
    pub(crate) fn needed(&self, name: &str) -> Result<&str, String> {
        self.get(name)
            .ok_or_else(|| format!("connection has no {name}: cannot parse the connection string"))
    }
}

/// HMAC-SHA256, in base64.
pub(crate) fn mac(key: &[u8], text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_equal_signs() {
        let text = "AccountName=shop; AccountKey=a2V5PT0=;;Empty=";
        let read = ConnectionString::read(&Secret::new(text)).unwrap();
        assert_eq!(read.get("accountkey"), Some("a2V5PT0="));
        assert_eq!(read.get("AccountName"), Some("shop"));
        assert_eq!(read.get("Empty"), None);
        assert!(read.needed("Endpoint").unwrap_err().contains("Endpoint"));
        assert!(!format!("{read:?}").contains("a2V5"));
        for text in ["", ";", "hunter2"] {
            let error = ConnectionString::read(&Secret::new(text)).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        // Test case 2.
        let expected = "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=";
        assert_eq!(mac(b"Jefe", "what do ya want for nothing?"), expected);
    }
}
