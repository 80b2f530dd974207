//! SASL: who a connection belongs to.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};
use scaler_api::{Error, ErrorKind, Secret};

#[cfg(feature = "kafka-msk-iam")]
use super::msk::Iam;
use super::{
    client::Wire,
    codes,
    scram::{Digest, Exchange},
    wire::{self, Request},
};
use crate::{oauth2::TokenSource, tcp::Failure};

/// How to log in.
pub(super) enum Login {
    None,
    Plain(User),
    Scram(Digest, User),
    Bearer {
        tokens: Box<TokenSource>,
        extensions: Vec<(String, String)>,
    },
    /// AWS's own mechanism.
    #[cfg(feature = "kafka-msk-iam")]
    Iam(Box<Iam>),
    /// `OAUTHBEARER` with a request to AWS, signed but not sent, as the token.
    #[cfg(feature = "kafka-msk-iam")]
    IamBearer(Box<Iam>),
}

/// A user with a password.
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: Secret,
}

impl Login {
    /// Logs in on a new connection to `host`, which a signature may be for.
    #[cfg_attr(
        not(feature = "kafka-msk-iam"),
        allow(unused_variables, reason = "no signature is")
    )]
    pub(super) async fn log_in(&self, wire: &mut Wire, host: &str) -> Result<(), Failure> {
        match self {
            Self::None => Ok(()),
            Self::Plain(user) => {
                let message = format!("\0{}\0{}", user.name, user.password.expose());
                begin(wire, "PLAIN").await?;
                say(wire, message.as_bytes()).await.map(drop)
            }
            Self::Scram(digest, user) => scram(wire, *digest, user).await,
            Self::Bearer { tokens, extensions } => {
                let token = tokens.token().await.map_err(Failure::lost)?;
                let result = bearer(wire, &token, extensions).await;
                if let Err(failure) = &result
                    && failure.error.kind() == ErrorKind::Unauthorized
                {
                    tokens.forget(&token).await;
                }
                result
            }
            #[cfg(feature = "kafka-msk-iam")]
            Self::Iam(iam) => {
                let message = iam.message(host).await.map_err(Failure::lost)?;
                begin(wire, "AWS_MSK_IAM").await?;
                say(wire, message.as_bytes()).await.map(drop)
            }
            #[cfg(feature = "kafka-msk-iam")]
            Self::IamBearer(iam) => {
                let token = iam.token().await.map_err(Failure::lost)?;
                bearer(wire, &token, &[]).await
            }
        }
    }
}

async fn begin(wire: &mut Wire, mechanism: &str) -> Result<(), Failure> {
    let answer = wire.call(Request::sasl_handshake(mechanism)).await?;
    let (code, mechanisms) = wire::sasl_handshake(&answer).map_err(Failure::lost)?;
    codes::check(code).map_err(|error| {
        let words = format!("{mechanism} is none of {}", mechanisms.join(", "));
        Failure::lost(error.with_source(words))
    })
}

async fn say(wire: &mut Wire, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let answer = wire.call(Request::sasl_authenticate(message)).await?;
    wire::sasl_authenticate(&answer).map_err(Failure::lost)
}

async fn scram(wire: &mut Wire, digest: Digest, user: &User) -> Result<(), Failure> {
    let mut random = [0; 18];
    SystemRandom::new().fill(&mut random).map_err(|_| {
        let message = "the system gives no random numbers";
        Failure::lost(Error::new(ErrorKind::Internal, message))
    })?;
    let exchange = Exchange::new(digest, &user.name, URL_SAFE_NO_PAD.encode(random));
    begin(wire, digest.mechanism()).await?;
    let challenge = say(wire, exchange.first().as_bytes()).await?;
    let (message, expected) = exchange
        .second(&user.password, &challenge)
        .map_err(Failure::lost)?;
    let last = say(wire, message.as_bytes()).await?;
    match last == expected.as_bytes() {
        true => Ok(()),
        false => Err(Failure::lost(Error::new(
            ErrorKind::Unauthorized,
            "the broker does not know the password, either",
        ))),
    }
}

/// RFC 7628 §3.1, with Kafka's extensions.
fn bearer_message(token: &Secret, extensions: &[(String, String)]) -> String {
    let start = format!("n,,\u{1}auth=Bearer {}\u{1}", token.expose());
    let message = extensions.iter().fold(start, |message, (name, value)| {
        format!("{message}{name}={value}\u{1}")
    });
    message + "\u{1}"
}

async fn bearer(wire: &mut Wire, token: &Secret, extensions: &[(String, String)]) -> Result<(), Failure> {
    begin(wire, "OAUTHBEARER").await?;
    let answer = say(wire, bearer_message(token, extensions).as_bytes()).await?;
    if answer.is_empty() {
        return Ok(());
    }
    // RFC 7628 §3.2.2: what is said on success is nothing.
    let words = String::from_utf8_lossy(&answer).into_owned();
    let error = Error::new(ErrorKind::Unauthorized, "the broker refuses the token");
    Err(Failure::lost(error.with_source(words)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_with_its_extensions() {
        let extension = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let extensions = [extension("logicalCluster", "lkc-1"), extension("pool", "p")];
        assert_eq!(
            bearer_message(&Secret::new("abc"), &extensions),
            "n,,\x01auth=Bearer abc\x01logicalCluster=lkc-1\x01pool=p\x01\x01"
        );
        assert_eq!(
            bearer_message(&Secret::new("abc"), &[]),
            "n,,\x01auth=Bearer abc\x01\x01"
        );
    }
}
