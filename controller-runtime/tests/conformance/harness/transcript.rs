//! What a case asked and was answered, without what differs from run to run.

use std::{
    fmt::Write as _,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

const FOLDER: &str = "AUTOSCALER_TEST_TRANSCRIPTS";

/// The transcript of one case; empty unless it is asked for.
#[derive(Debug)]
pub(crate) struct Transcript {
    file: Option<PathBuf>,
    /// The case's own suffix of names.
    unique: String,
    text: Mutex<String>,
}

impl Transcript {
    pub(crate) fn new(cluster: &str, case: &str, unique: &str) -> Self {
        let folder = std::env::var_os(FOLDER).map(PathBuf::from);
        Self {
            file: folder.map(|folder| {
                folder
                    .join(cluster)
                    .join(format!("{}.txt", case.replace("::", ".")))
            }),
            unique: unique.to_owned(),
            text: Mutex::new(String::new()),
        }
    }

    pub(crate) fn add(&self, asked: &str, code: u16, body: &Value) {
        if self.file.is_none() {
            return;
        }
        let mut body = body.clone();
        blur(&mut body);
        let body = serde_json::to_string_pretty(&body).unwrap_or_default();
        self.line(&format!("{asked}\n{code} {body}"));
    }

    pub(crate) fn line(&self, line: &str) {
        if self.file.is_none() {
            return;
        }
        let line = line.replace(&self.unique, "UNIQUE");
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(text, "{line}").expect("a string takes everything");
    }

    pub(crate) fn write(&self) -> std::io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(file, &*self.text.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes versions, uids and times out.
fn blur(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match key.as_str() {
                    "resourceVersion" | "uid" | "continue" | "clusterIP" | "clusterIPs"
                        if member.is_string() || member.is_array() =>
                    {
                        *member = Value::from(format!("<{key}>"));
                    }
                    "time" => *member = Value::from("<time>"),
                    key if key.ends_with("Time") || key.ends_with("Timestamp") => {
                        *member = Value::from(format!("<{key}>"));
                    }
                    _ => blur(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(blur),
        _ => {}
    }
}
