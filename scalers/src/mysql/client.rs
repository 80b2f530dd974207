//! One connection to a server, and one query over it.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mysql_async::{Conn, Error as MysqlError, Opts, Row, Value, prelude::Queryable as _};
use scaler_api::{Error, ErrorKind};
use tokio::sync::Mutex;

use crate::tcp::{Failure, Peer};

pub(super) struct Mysql {
    pub(super) options: Opts,
    pub(super) query: String,
}

impl fmt::Debug for Mysql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mysql").finish_non_exhaustive()
    }
}

#[async_trait]
impl Peer for Mysql {
    /// One question after the other: the protocol has no more.
    type Connection = Arc<Mutex<Conn>>;
    type Answer = f64;

    async fn connect(&self) -> Result<Arc<Mutex<Conn>>, Error> {
        let connection = Conn::new(self.options.clone()).await;
        let connection = connection.map_err(|error| translate("cannot log in", &error))?;
        Ok(Arc::new(Mutex::new(connection)))
    }

    async fn ask(&self, connection: &Arc<Mutex<Conn>>) -> Result<f64, Failure> {
        let mut connection = connection.lock().await;
        let row: Result<Option<Row>, MysqlError> = connection.query_first(&self.query).await;
        let row = row.map_err(|error| Failure {
            is_lost: error.is_fatal(),
            error: translate("cannot run the query", &error),
        })?;
        number(row.as_ref()).map_err(Failure::answered)
    }
}

/// The number in a row, which must have one column.
fn number(row: Option<&Row>) -> Result<f64, Error> {
    let row = row.ok_or_else(|| Error::invalid("the query gives no row"))?;
    if row.len() != 1 {
        return Err(Error::invalid(format!(
            "the query gives {} columns, expected one",
            row.len()
        )));
    }
    let number = match row.as_ref(0) {
        None | Some(Value::NULL) => {
            return Err(Error::invalid("the query gives NULL, expected a number"));
        }
        Some(Value::Bytes(text)) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
        #[allow(clippy::cast_precision_loss, reason = "metrics have three decimals at most")]
        Some(Value::Int(number)) => Some(*number as f64),
        #[allow(clippy::cast_precision_loss, reason = "metrics have three decimals at most")]
        Some(Value::UInt(number)) => Some(*number as f64),
        Some(Value::Float(number)) => Some(f64::from(*number)),
        Some(Value::Double(number)) => Some(*number),
        Some(_) => None,
    };
    number
        .filter(|number| number.is_finite())
        .ok_or_else(|| Error::invalid("the query gives what is no number"))
}

fn translate(message: &'static str, error: &MysqlError) -> Error {
    let kind = match error {
        MysqlError::Server(error) => match error.code {
            // Access denied: to the server, a database, a table, a column, or for want of a privilege.
            1044 | 1045 | 1142 | 1143 | 1227 | 1698 => ErrorKind::Unauthorized,
            // Unknown database, unknown table.
            1049 | 1146 => ErrorKind::NotFound,
            // Too many connections, of all or of this user; shutting down; too many errors of this host.
            1040 | 1203 | 1226 | 1053 | 1129 => ErrorKind::Unavailable,
            // A statement was stopped for its time.
            1317 | 1969 | 3024 => ErrorKind::Timeout,
            _ => ErrorKind::Invalid,
        },
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, message).with_source(error.to_string())
}
