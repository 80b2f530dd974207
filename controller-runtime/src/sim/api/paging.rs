//! Lists in pages, all of one snapshot.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::{status::ApiError, store::Entry};

/// Rests of lists that clients are still paging through.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    next: u64,
    open: BTreeMap<u64, Snapshot>,
}

#[derive(Debug)]
struct Snapshot {
    revision: u64,
    entries: Arc<[Arc<Entry>]>,
}

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) revision: u64,
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) next: Option<String>,
    pub(crate) remaining: usize,
}

/// More snapshots than this are not kept; the oldest expire, as compaction would have it.
const MOST: usize = 64;

impl Snapshots {
    /// The first page of a list that is longer than `limit`, whose rest is kept.
    pub(crate) fn open(&mut self, revision: u64, entries: Vec<Arc<Entry>>, limit: usize) -> Page {
        if entries.len() <= limit {
            return Page {
                revision,
                entries,
                next: None,
                remaining: 0,
            };
        }
        self.next += 1;
        let id = self.next;
        let entries: Arc<[Arc<Entry>]> = entries.into();
        self.open.insert(id, Snapshot { revision, entries });
        if self.open.len() > MOST {
            self.open.pop_first();
        }
        self.page(id, 0, limit).unwrap_or(Page {
            revision,
            entries: Vec::new(),
            next: None,
            remaining: 0,
        })
    }

    /// The page behind a continue token.
    ///
    /// # Errors
    /// 400 for a token that is none, 410 for one whose snapshot is gone.
    pub(crate) fn resume(&mut self, token: &str, limit: usize) -> Result<Page, ApiError> {
        let (id, start) = decode(token).ok_or_else(|| {
            let problem = match illegal_base64(token, "-_") {
                Some(at) => format!("illegal base64 data at input byte {at}"),
                None => "it is not of this server".to_owned(),
            };
            ApiError::bad_request(format!(
                "invalid continue token: continue key is not valid: {problem}"
            ))
        })?;
        self.page(id, start, limit).ok_or_else(|| {
            ApiError::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new \
                 list without the continue parameter.",
            )
        })
    }

    /// Forgets all snapshots.
    pub(crate) fn expire(&mut self) {
        self.open.clear();
    }

    fn page(&self, id: u64, start: usize, limit: usize) -> Option<Page> {
        let snapshot = self.open.get(&id)?;
        let all = &snapshot.entries;
        let start = start.min(all.len());
        let end = if limit == 0 {
            all.len()
        } else {
            all.len().min(start.saturating_add(limit))
        };
        let remaining = all.len() - end;
        Some(Page {
            revision: snapshot.revision,
            entries: all[start..end].to_vec(),
            next: (remaining > 0).then(|| encode(id, snapshot.revision, end)),
            remaining,
        })
    }
}

fn encode(id: u64, revision: u64, start: usize) -> String {
    let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start, "list": id});
    base64(token.to_string().as_bytes())
}

fn decode(token: &str) -> Option<(u64, usize)> {
    let bytes = from_base64(token)?;
    let token: Value = serde_json::from_slice(&bytes).ok()?;
    Some((
        token.get("list")?.as_u64()?,
        usize::try_from(token.get("start")?.as_u64()?).ok()?,
    ))
}

/// Where a text stops being base64, as Go counts it; `signs` are the two characters beyond letters and digits.
pub(crate) fn illegal_base64(text: &str, signs: &str) -> Option<usize> {
    let body = text.trim_end_matches('=');
    let known = |letter: char| letter.is_ascii_alphanumeric() || signs.contains(letter);
    if let Some(at) = body.chars().position(|letter| !known(letter)) {
        return Some(at);
    }
    let padded = signs == "+/";
    let whole = if padded {
        text.len().is_multiple_of(4)
    } else {
        body.len() % 4 != 1
    };
    // Go names the start of the incomplete group.
    (!whole).then(|| text.len() / 4 * 4)
}

/// Bytes in base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    match serde_json::to_value(ByteString(bytes.to_vec())) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}

/// The bytes behind a base64 text.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    serde_json::from_value::<ByteString>(text.into())
        .ok()
        .map(|bytes| bytes.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_snapshot_until_it_expires() {
        let mut snapshots = Snapshots::default();
        let entries: Vec<_> = (0..5)
            .map(|i| Entry::new(format!("n/{i}").into(), i, json!({})))
            .collect();
        let first = snapshots.open(9, entries, 2);
        assert_eq!((first.entries.len(), first.remaining, first.revision), (2, 3, 9));
        let token = first.next.unwrap();
        let second = snapshots.resume(&token, 2).unwrap();
        assert_eq!(&*second.entries[0].key, "n/2");
        let last = snapshots.resume(&second.next.unwrap(), 2).unwrap();
        assert_eq!((last.entries.len(), last.next), (1, None));
        snapshots.expire();
        assert_eq!(snapshots.resume(&token, 2).unwrap_err().code, 410);
        assert_eq!(snapshots.resume("nonsense", 2).unwrap_err().code, 400);
    }
}
