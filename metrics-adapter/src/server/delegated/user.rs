//! Who asks.

use std::collections::BTreeMap;

use ring::hmac;

/// Every user that proved who it is belongs to this group.
const AUTHENTICATED: &str = "system:authenticated";
/// The group of those who did not.
const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of those who did not.
const ANONYMOUS: &str = "system:anonymous";

/// A keyed hash: the key of every cache, so that neither tokens nor users are kept in readable form.
pub(super) type Digest = [u8; 32];

/// Who sent a request, as the API server knows them. An extension (as `Arc<User>`) of every request that
/// [`Delegated`](super::Delegated) lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// The name, e.g. `system:serviceaccount:kube-system:horizontal-pod-autoscaler`.
    pub name: String,
    /// The unique id, empty if there is none.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What else the authenticator said.
    pub extra: BTreeMap<String, Vec<String>>,
    pub(super) fingerprint: Digest,
}

impl User {
    /// A user that proved who it is.
    pub(super) fn authenticated(
        key: &hmac::Key,
        name: String,
        uid: String,
        mut groups: Vec<String>,
        extra: BTreeMap<String, Vec<String>>,
    ) -> Self {
        let is_placed = groups
            .iter()
            .any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED);
        if !is_placed && name != ANONYMOUS {
            groups.push(AUTHENTICATED.to_owned());
        }
        let mut user = Self {
            name,
            uid,
            groups,
            extra,
            fingerprint: Digest::default(),
        };
        user.fingerprint = user.digest(key);
        user
    }

    /// Nobody in particular.
    pub(super) fn anonymous(key: &hmac::Key) -> Self {
        let groups = vec![UNAUTHENTICATED.to_owned()];
        Self::authenticated(key, ANONYMOUS.to_owned(), String::new(), groups, BTreeMap::new())
    }

    fn digest(&self, key: &hmac::Key) -> Digest {
        let mut digest = Hasher::new(key, "user");
        digest.text(&self.name).text(&self.uid).count(self.groups.len());
        for group in &self.groups {
            digest.text(group);
        }
        for (name, values) in &self.extra {
            digest.text(name).count(values.len());
            for value in values {
                digest.text(value);
            }
        }
        digest.finish()
    }
}

/// Hashes fields so that no two lists of fields have the same text.
pub(super) struct Hasher(hmac::Context);

impl Hasher {
    pub(super) fn new(key: &hmac::Key, domain: &str) -> Self {
        let mut hasher = Self(hmac::Context::with_key(key));
        hasher.text(domain);
        hasher
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.octets(text.as_bytes())
    }

    pub(super) fn octets(&mut self, octets: &[u8]) -> &mut Self {
        self.count(octets.len());
        self.0.update(octets);
        self
    }

    pub(super) fn count(&mut self, count: usize) -> &mut Self {
        self.0.update(&count.to_le_bytes());
        self
    }

    pub(super) fn finish(self) -> Digest {
        let mut digest = Digest::default();
        for (to, from) in digest.iter_mut().zip(self.0.sign().as_ref()) {
            *to = *from;
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(groups: &[&str], extra: &[(&str, &[&str])]) -> User {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        let extra = extra
            .iter()
            .map(|(name, values)| ((*name).to_owned(), owned(values)));
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        User::authenticated(&key, "ann".into(), String::new(), owned(groups), extra.collect())
    }

    #[test]
    fn those_who_proved_who_they_are_belong_to_a_group() {
        assert_eq!(user(&["dev"], &[]).groups, ["dev", "system:authenticated"]);
        assert_eq!(
            user(&["system:authenticated"], &[]).groups,
            ["system:authenticated"]
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        assert_eq!(User::anonymous(&key).groups, ["system:unauthenticated"]);
    }

    #[test]
    fn users_that_differ_anywhere_have_different_fingerprints() {
        let all = [
            user(&[], &[]),
            user(&["a"], &[]),
            user(&["a", "b"], &[]),
            user(&["ab"], &[]),
            user(&["a"], &[("b", &[])]),
            user(&["a"], &[("b", &["c"])]),
            user(&["a"], &[("b", &["c"]), ("d", &[])]),
            user(&["a"], &[("b", &["c", "d"])]),
        ];
        for (index, one) in all.iter().enumerate() {
            for other in &all[index + 1..] {
                assert_ne!(one.fingerprint, other.fingerprint, "{one:?} {other:?}");
            }
        }
        assert_eq!(all[0].fingerprint, user(&[], &[]).fingerprint);
    }
}
