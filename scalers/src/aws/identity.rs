//! Who a scaler is when it talks to AWS: a pure decision on metadata and the TriggerAuthentication.

use scaler_api::{PodIdentity, Problems, Secret, SourceKey};
use serde::Deserialize;

/// The keys that every AWS scaler has.
pub(crate) mod fields {
    use scaler_api::{Field, Source};

    pub(crate) const REGION: Field = Field::new("awsRegion", "AWS region of the source.")
        .required()
        .from(&[Source::Metadata, Source::Authentication]);
    pub(crate) const ENDPOINT: Field = Field::new(
        "awsEndpoint",
        "URL of the service, instead of the public one of the region.",
    );
    pub(crate) const IDENTITY_OWNER: Field = Field::new(
        "identityOwner",
        "Whose credentials are used where the TriggerAuthentication names no identity: `pod` (keys or a role given in it) \
         or `operator` (the default chain of this process).",
    );
    pub(crate) const ROLE_ARN: Field =
        Field::new("awsRoleArn", "Role to assume.").from(&[Source::Authentication]);
    pub(crate) const ACCESS_KEY_ID: Field = Field::new("awsAccessKeyID", "Access key.")
        .aliases(&["awsAccessKeyId"])
        .from(&[Source::Authentication, Source::Metadata, Source::Environment])
        .secret();
    pub(crate) const SECRET_ACCESS_KEY: Field = Field::new("awsSecretAccessKey", "Secret of the access key.")
        .from(&[Source::Authentication, Source::Environment])
        .secret();
    pub(crate) const SESSION_TOKEN: Field =
        Field::new("awsSessionToken", "Session token of a temporary access key.")
            .from(&[Source::Authentication])
            .secret();
}

/// Who a scaler is when it talks to AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AwsIdentity {
    /// Whoever the AWS SDK's default chain finds: environment, profile, web identity, container, instance.
    DefaultChain,
    /// A role, by the process's web identity token where there is one, else assumed by the default chain's identity.
    Role {
        /// ARN of the role.
        arn: String,
        /// External id for assuming it.
        external_id: Option<String>,
        /// Whether the web identity token is tried first.
        web_identity: bool,
    },
    /// A fixed access key.
    Keys {
        /// Access key.
        access_key_id: Secret,
        /// Its secret.
        secret_access_key: Secret,
        /// Session token, for temporary keys.
        session_token: Option<Secret>,
    },
}

/// The credentials that a trigger's metadata may carry; a struct to nest in that of a trigger.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CredentialKeys {
    pub(crate) identity_owner: Option<String>,
    #[serde(rename = "awsRoleArn")]
    pub(crate) role_arn: Option<String>,
    #[serde(rename = "awsAccessKeyID")]
    pub(crate) access_key_id: Option<Secret>,
    #[serde(rename = "awsSecretAccessKey")]
    pub(crate) secret_access_key: Option<Secret>,
    #[serde(rename = "awsSessionToken")]
    pub(crate) session_token: Option<Secret>,
}

impl CredentialKeys {
    /// Warns about an `identityOwner` that is probably misspelt.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if let Some(owner) = self
            .identity_owner
            .as_deref()
            .filter(|owner| !matches!(*owner, "pod" | "operator"))
        {
            let message =
                format!("identityOwner {owner:?} is read as \"operator\"; expected pod or operator");
            problems.warn("identityOwner", owner, message);
        }
    }
}

impl AwsIdentity {
    /// Decides by KEDA's rules: a pod identity of provider `aws` first, then `identityOwner`, then what was given.
    ///
    /// # Errors
    /// Every credential that is missing.
    pub(crate) fn decide(
        pod_identity: Option<&PodIdentity>,
        keys: &CredentialKeys,
    ) -> Result<Self, Problems> {
        if let Some(identity) = pod_identity.filter(|identity| identity.provider == "aws") {
            return Self::of_pod_identity(identity);
        }
        // KEDA reads every word but `pod` as `operator`.
        if keys.identity_owner.as_deref().is_some_and(|owner| owner != "pod") {
            return Ok(Self::DefaultChain);
        }
        let legacy = pod_identity.filter(|identity| identity.provider == "aws-eks");
        let role = keys
            .role_arn
            .as_deref()
            .or_else(|| legacy.and_then(|identity| identity.role_arn.as_deref()));
        if let Some(arn) = role {
            return Ok(Self::Role {
                arn: arn.to_owned(),
                external_id: None,
                web_identity: false,
            });
        }
        match (&keys.access_key_id, &keys.secret_access_key) {
            (Some(access_key_id), Some(secret_access_key)) => Ok(Self::Keys {
                access_key_id: access_key_id.clone(),
                secret_access_key: secret_access_key.clone(),
                session_token: keys.session_token.clone(),
            }),
            (None, None) if legacy.is_some() => Ok(Self::DefaultChain),
            (access_key_id, secret_access_key) => {
                let mut problems = Problems::new();
                if access_key_id.is_none() {
                    missing("awsAccessKeyID", &mut problems);
                }
                if secret_access_key.is_none() {
                    missing("awsSecretAccessKey", &mut problems);
                }
                Err(problems)
            }
        }
    }

    fn of_pod_identity(identity: &PodIdentity) -> Result<Self, Problems> {
        match (&identity.role_arn, identity.identity_owner.as_deref()) {
            (Some(arn), _) => Ok(Self::Role {
                arn: arn.clone(),
                external_id: identity.external_id.clone(),
                web_identity: true,
            }),
            (None, Some("workload")) => {
                let mut problems = Problems::new();
                problems.error(
                    "podIdentity.identityOwner",
                    "workload",
                    "podIdentity.identityOwner workload needs a role: the annotation eks.amazonaws.com/role-arn is not on \
                     the service account of the target",
                );
                Err(problems)
            }
            (None, _) => Ok(Self::DefaultChain),
        }
    }

    /// Adds the identity to a source key; credentials as digests.
    pub(crate) fn add_to(&self, key: SourceKey) -> SourceKey {
        match self {
            Self::DefaultChain => key.with("identity", "default"),
            Self::Role {
                arn,
                external_id,
                web_identity,
            } => key
                .with("identity", arn)
                .with("externalId", external_id.as_deref().unwrap_or_default())
                .with("webIdentity", web_identity),
            Self::Keys {
                access_key_id,
                secret_access_key,
                session_token,
            } => {
                let key = key
                    .secret("accessKeyId", access_key_id)
                    .secret("secretAccessKey", secret_access_key);
                match session_token {
                    Some(token) => key.secret("sessionToken", token),
                    None => key,
                }
            }
        }
    }
}

fn missing(field: &'static str, problems: &mut Problems) {
    problems.error(
        field,
        "",
        format!(
            "{field} not found: expected it in the TriggerAuthentication or through {field}FromEnv, or identityOwner \
             operator, or a podIdentity of provider aws"
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(provider: &str) -> PodIdentity {
        PodIdentity {
            provider: provider.to_owned(),
            ..PodIdentity::default()
        }
    }

    fn role(arn: &str, external_id: Option<&str>, web_identity: bool) -> AwsIdentity {
        AwsIdentity::Role {
            arn: arn.to_owned(),
            external_id: external_id.map(str::to_owned),
            web_identity,
        }
    }

    fn keys(owner: Option<&str>, role: Option<&str>, token: Option<&str>) -> CredentialKeys {
        CredentialKeys {
            identity_owner: owner.map(str::to_owned),
            role_arn: role.map(str::to_owned),
            access_key_id: Some(Secret::new("AKIA")),
            secret_access_key: Some(Secret::new("s")),
            session_token: token.map(Secret::new),
        }
    }

    fn fixed(token: Option<&str>) -> AwsIdentity {
        AwsIdentity::Keys {
            access_key_id: Secret::new("AKIA"),
            secret_access_key: Secret::new("s"),
            session_token: token.map(Secret::new),
        }
    }

    #[test]
    fn identity_follows_the_rules_of_keda() {
        let given = keys(None, None, None);
        let none = CredentialKeys::default();
        let with_role = |provider| PodIdentity {
            role_arn: Some("arn:r".into()),
            ..identity(provider)
        };
        let aws_role = PodIdentity {
            external_id: Some("x".into()),
            ..with_role("aws")
        };
        let chain = AwsIdentity::DefaultChain;
        let operator = keys(Some("operator"), None, None);
        let cases = [
            ("aws", Some(identity("aws")), given.clone(), chain.clone()),
            (
                "aws with a role",
                Some(aws_role),
                none.clone(),
                role("arn:r", Some("x"), true),
            ),
            ("aws-eks", Some(identity("aws-eks")), none.clone(), chain.clone()),
            (
                "aws-eks, operator",
                Some(identity("aws-eks")),
                operator.clone(),
                chain.clone(),
            ),
            (
                "aws-eks with a role",
                Some(with_role("aws-eks")),
                none,
                role("arn:r", None, false),
            ),
            ("owner operator", None, operator, chain.clone()),
            ("owner misspelt", None, keys(Some("opertaor"), None, None), chain),
            ("owner pod", None, keys(Some("pod"), None, None), fixed(None)),
            ("keys", None, given, fixed(None)),
            (
                "temporary keys",
                None,
                keys(None, None, Some("t")),
                fixed(Some("t")),
            ),
            (
                "role before keys",
                None,
                keys(None, Some("arn:q"), None),
                role("arn:q", None, false),
            ),
        ];
        for (name, pod_identity, keys, expected) in cases {
            assert_eq!(
                AwsIdentity::decide(pod_identity.as_ref(), &keys).unwrap(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn every_missing_credential_is_named() {
        let problems = AwsIdentity::decide(None, &CredentialKeys::default())
            .unwrap_err()
            .to_string();
        assert!(problems.contains("awsAccessKeyID not found"), "{problems}");
        assert!(problems.contains("awsSecretAccessKey not found"), "{problems}");
        let half = CredentialKeys {
            secret_access_key: None,
            ..keys(None, None, None)
        };
        let problems = AwsIdentity::decide(Some(&identity("aws-eks")), &half).unwrap_err();
        assert_eq!(problems.errors().len(), 1);
    }

    #[test]
    fn a_workload_without_a_role_is_refused() {
        let workload = PodIdentity {
            identity_owner: Some("workload".into()),
            ..identity("aws")
        };
        let problems = AwsIdentity::decide(Some(&workload), &CredentialKeys::default()).unwrap_err();
        assert!(problems.to_string().contains("eks.amazonaws.com/role-arn"));
    }
}
