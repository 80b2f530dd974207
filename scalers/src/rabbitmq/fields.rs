//! The keys.

use scaler_api::{Field, Source};

const M_A: &[Source] = &[Source::Metadata, Source::Authentication];
const M_A_E: &[Source] = &[Source::Metadata, Source::Authentication, Source::Environment];
const A_E: &[Source] = &[Source::Authentication, Source::Environment];
const A: &[Source] = &[Source::Authentication];

pub(super) const FIELDS: &[Field] = &[
    Field::new("queueName", "The queue, or with `useRegex` an expression that its name matches.").required(),
    Field::new(
        "host",
        "URL of the broker (`amqp`, `amqps`) or of its management API (`http`, `https`), with the virtual host as its path.",
    )
    .required()
    .from(M_A_E)
    .secret(),
    Field::new("protocol", "How to ask: `amqp`, `http`, or `auto` by the scheme of `host`.")
        .from(M_A)
        .allowed(&["auto", "amqp", "http"])
        .default("auto"),
    Field::new("vhostName", "The virtual host, in place of that of `host`.").from(M_A),
    Field::new(
        "mode",
        "What counts: QueueLength, MessageRate, DeliverGetRate, PublishedToDeliveredRatio or ExpectedQueueConsumptionTime.",
    )
    .default("Unknown"),
    Field::new("value", "Value that one replica is to carry; without it and `mode`, 20 messages."),
    Field::new("queueLength", "The old way to say `mode: QueueLength` and `value`."),
    Field::new("activationValue", "The trigger is active above this value.").default("0"),
    Field::new("useRegex", "Whether `queueName` is an expression; with `http` only.").default("false"),
    Field::new("pageSize", "How many queues an expression may match.").default("100"),
    Field::new("operation", "How queues that an expression matches are made one.")
        .allowed(&["sum", "avg", "max"])
        .default("sum"),
    Field::new(
        "excludeUnacknowledged",
        "Whether only messages count that are ready; with `http` only.",
    )
    .default("false"),
    Field::new("timeout", "How long an answer may take; with `http` only."),
    Field::new("unsafeSsl", "Whether any certificate of the server is accepted.").default("false"),
    Field::new("username", "User, in place of that of `host`.").from(A_E),
    Field::new("password", "Password of the user.").from(A_E).secret(),
    Field::new("tls", "Whether `ca`, `cert` and `key` are used: `enable` or `disable`.")
        .from(A)
        .allowed(&["enable", "disable"])
        .default("disable"),
    Field::new("ca", "Certificates, in PEM, that are trusted beside the system's.").from(A).secret(),
    Field::new("cert", "Client certificate, in PEM.").from(A).secret(),
    Field::new("key", "Key of the client certificate, in PEM.").from(A).secret(),
    Field::new("keyPassword", "Password of the key, if that is encrypted as PKCS#8 does it.").from(A).secret(),
    Field::new("workloadIdentityResource", "What the token of an Azure identity is for, with `http` only.").from(A),
    Field::new("oauthTokenURI", "URL at which OAuth 2 gets its tokens; with `http` only.").from(A),
    Field::new("clientID", "Client for OAuth 2.").from(A),
    Field::new("clientSecret", "Secret of the client for OAuth 2.").from(A).secret(),
    Field::new("scopes", "What OAuth 2 asks for: `scope,scope`.").from(A),
    Field::new("endpointParams", "More parameters for OAuth 2, as a query: `name=value&name=value`.").from(A),
];
