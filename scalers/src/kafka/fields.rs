//! The keys.

use scaler_api::{Field, Source};

const M_E: &[Source] = &[Source::Metadata, Source::Environment];
const M_A: &[Source] = &[Source::Metadata, Source::Authentication];
const A_E: &[Source] = &[Source::Authentication, Source::Environment];
const A: &[Source] = &[Source::Authentication];

pub(super) const FIELDS: &[Field] = &[
    Field::new("bootstrapServers", "Brokers to begin with: `host:port,host:port`.")
        .required()
        .from(M_E),
    Field::new("consumerGroup", "The group whose lag counts.").required().from(M_E),
    Field::new(
        "topic",
        "The topic, or `topic,topic`; without it all topics that the group has committed to.",
    )
    .from(M_E),
    Field::new("lagThreshold", "Messages behind that one replica is to carry.").default("10"),
    Field::new(
        "activationLagThreshold",
        "The trigger is active above this number of messages behind.",
    )
    .default("0"),
    Field::new(
        "offsetResetPolicy",
        "Where consumers begin that have committed nothing: `latest` counts as 1, `earliest` as the end of the partition.",
    )
    .allowed(&["latest", "earliest"])
    .default("latest"),
    Field::new(
        "allowIdleConsumers",
        "Whether there may be more replicas than partitions.",
    )
    .default("false"),
    Field::new(
        "excludePersistentLag",
        "Whether partitions whose committed offset is where it was at the last sample count for activity only.",
    )
    .default("false"),
    Field::new(
        "scaleToZeroOnInvalidOffset",
        "Whether partitions in which the group has committed nothing count as 0.",
    )
    .default("false"),
    Field::new(
        "limitToPartitionsWithLag",
        "Whether there may be no more replicas than partitions with lag.",
    )
    .default("false"),
    Field::new(
        "ensureEvenDistributionOfPartitions",
        "Whether the number of replicas is to divide that of partitions.",
    )
    .default("false"),
    Field::new(
        "partitionLimitation",
        "The partitions that count, such as `1,2,10-20`; of no effect without `topic`.",
    ),
    Field::new(
        "version",
        "Version of the brokers; checked, but without effect, since every request is one that all know.",
    )
    .default("1.0.0"),
    Field::new(
        "fullMetadata",
        "Whether KEDA's client reads what it does not need; without effect here, where nothing else is read.",
    )
    .default("true"),
    Field::new("tls", "Whether to use TLS: `enable` or `disable`.")
        .from(M_A)
        .allowed(&["enable", "disable"])
        .default("disable"),
    Field::new("unsafeSsl", "Whether any certificate of the brokers is accepted.").default("false"),
    Field::new("ca", "Certificates, in PEM, that are trusted beside the system's.").from(A).secret(),
    Field::new("cert", "Client certificate, in PEM.").from(A).secret(),
    Field::new("key", "Key of the client certificate, in PEM.").from(A).secret(),
    Field::new("keyPassword", "Password of the key, if that is encrypted as PKCS#8 does it.").from(A).secret(),
    Field::new(
        "sasl",
        "How to log in: `none`, `plaintext`, `scram_sha256`, `scram_sha512`, `oauthbearer` or `aws_msk_iam`; `gssapi` is refused.",
    )
    .from(M_A)
    .allowed(&[
        "none",
        "plaintext",
        "scram_sha256",
        "scram_sha512",
        "oauthbearer",
        "aws_msk_iam",
        "gssapi",
    ])
    .default("none"),
    Field::new("username", "User; for `oauthbearer` the client's id.").from(A_E).secret(),
    Field::new("password", "Password; for `oauthbearer` the client's secret.").from(A_E).secret(),
    Field::new(
        "saslTokenProvider",
        "Where the tokens of `oauthbearer` come from: `bearer`, a token endpoint, or `aws_msk_iam`.",
    )
    .from(M_A)
    .allowed(&["bearer", "aws_msk_iam"])
    .default("bearer"),
    Field::new("oauthTokenEndpointUri", "URL at which `oauthbearer` gets its tokens.").from(A),
    Field::new("scopes", "What `oauthbearer` asks for: `scope,scope`.").from(A),
    Field::new("oauthExtensions", "What goes to the brokers with a token: `name=value,name=value`.").from(A),
    Field::new("keytab", "Key table of `gssapi`, which is refused.").from(A).secret(),
    Field::new("realm", "Realm of `gssapi`, which is refused.").from(A),
    Field::new("kerberosConfig", "Configuration of `gssapi`, which is refused.").from(A).secret(),
    Field::new("kerberosServiceName", "Service of `gssapi`, which is refused.").from(A).default("kafka"),
    Field::new("kerberosDisableFAST", "Switch of `gssapi`, which is refused.").from(A).default("false"),
    Field::new("awsRegion", "AWS region of the brokers, for a login by IAM.").from(M_A),
    Field::new(
        "awsEndpoint",
        "URL of a service of AWS; without effect, since a login by IAM asks none.",
    ),
    Field::new(
        "identityOwner",
        "Whose credentials a login by IAM uses where the TriggerAuthentication names no identity: `pod` (keys or a role \
         given in it) or `operator` (the default chain of this process).",
    ),
    Field::new("awsRoleArn", "Role to assume for a login by IAM.").from(A),
    Field::new("awsAccessKeyID", "Access key for a login by IAM.")
        .aliases(&["awsAccessKeyId"])
        .from(&[Source::Authentication, Source::Metadata, Source::Environment])
        .secret(),
    Field::new("awsSecretAccessKey", "Secret of the access key.")
        .from(&[Source::Authentication, Source::Environment])
        .secret(),
    Field::new("awsSessionToken", "Session token of a temporary access key.").from(A).secret(),
];
