//! `cargo xtask services`: servers that go on when the command ends.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use rustix::process::Signal;
use serde_json::{Map, Value, json};

use super::{
    Options, SERVICES, Service,
    process::{patiently, signal},
};
use crate::tools;

/// What to do with servers.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install and start servers, all of them where none is named.
    Up {
        /// Which.
        names: Vec<String>,
    },
    /// Stop servers, all that run where none is named.
    Down {
        /// Which.
        names: Vec<String>,
    },
    /// Tell which run, and how to reach them.
    Status {
        /// `text` or `json`.
        #[arg(short, long, default_value = "text")]
        output: Output,
    },
    /// Install the programs of servers without starting them.
    Install {
        /// Which.
        names: Vec<String>,
    },
}

/// How to tell.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Output {
    /// One line for each detail.
    Text,
    /// One object by name.
    Json,
}

/// A server that was left running.
#[derive(Debug)]
struct Record {
    name: &'static str,
    file: PathBuf,
    value: Value,
}

pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up { names } => chosen(&names)?.into_iter().try_for_each(up),
        Command::Down { names } => chosen(&names)?.into_iter().try_for_each(down),
        Command::Install { names } => chosen(&names)?
            .into_iter()
            .try_for_each(|service| service.program.install().map(drop)),
        Command::Status { output } => {
            print!("{}", status(output)?);
            Ok(())
        }
    }
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Service>> {
    if names.is_empty() {
        return Ok(SERVICES.iter().collect());
    }
    names.iter().map(|name| Service::find(name)).collect()
}

fn up(service: &'static Service) -> anyhow::Result<()> {
    if let Some(record) = Record::read(service)? {
        if record.runs() {
            eprintln!("{} runs already", service.name);
            return Ok(());
        }
        down(service)?;
    }
    service.program.install()?;
    let server = service.start(&Options {
        outlives: true,
        ..Options::default()
    })?;
    let details: Map<String, Value> = server
        .details()
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let (folder, processes) = server.detach().context("it was not detached before")?;
    let processes: Vec<Value> = processes
        .into_iter()
        .map(|pid| json!({"pid": pid, "started": started(pid)}))
        .collect();
    let value = json!({"details": details, "folder": folder, "processes": processes});
    let file = Record::file(service)?;
    fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
    fs::write(&file, serde_json::to_vec_pretty(&value)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("{} is up", service.name);
    Ok(())
}

fn down(service: &'static Service) -> anyhow::Result<()> {
    let Some(record) = Record::read(service)? else {
        return Ok(());
    };
    let own = record.own_processes();
    for pid in own.iter().rev() {
        signal(*pid, Signal::TERM);
        if !patiently(|| !record.own_processes().contains(pid)) {
            signal(*pid, Signal::KILL);
        }
    }
    if let Some(folder) = record.value["folder"].as_str() {
        fs::remove_dir_all(folder).ok();
    }
    fs::remove_file(&record.file).with_context(|| format!("cannot remove {}", record.file.display()))?;
    eprintln!("{} is down", service.name);
    Ok(())
}

fn status(output: Output) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut all = Map::new();
    for service in SERVICES {
        let record = Record::read(service)?;
        let Some(record) = record.filter(Record::runs) else {
            text += &format!("{:<16} down\n", service.name);
            continue;
        };
        text += &format!("{:<16} up\n", record.name);
        for (name, value) in record.value["details"].as_object().into_iter().flatten() {
            text += &format!("  {name}: {}\n", value.as_str().unwrap_or_default());
        }
        all.insert(record.name.to_owned(), record.value["details"].clone());
    }
    Ok(match output {
        Output::Text => text,
        Output::Json => format!("{:#}\n", Value::Object(all)),
    })
}

impl Record {
    fn file(service: &Service) -> anyhow::Result<PathBuf> {
        Ok(tools::cache()?
            .join("services")
            .join(format!("{}.json", service.name)))
    }

    fn read(service: &Service) -> anyhow::Result<Option<Self>> {
        let file = Self::file(service)?;
        let Ok(text) = fs::read(&file) else {
            return Ok(None);
        };
        let value =
            serde_json::from_slice(&text).with_context(|| format!("{} cannot be read", file.display()))?;
        Ok(Some(Self {
            name: service.name,
            file,
            value,
        }))
    }

    /// The processes that were started for it and still run: one that has a number of theirs by chance has another start.
    fn own_processes(&self) -> Vec<u32> {
        let processes = self.value["processes"].as_array().into_iter().flatten();
        processes
            .filter_map(|process| {
                let pid = u32::try_from(process["pid"].as_u64()?).ok()?;
                let is_own =
                    started(pid).is_some_and(|start| Some(start.as_str()) == process["started"].as_str());
                is_own.then_some(pid)
            })
            .collect()
    }

    fn runs(&self) -> bool {
        !self.own_processes().is_empty()
    }
}

/// When a process was started, in ticks since the machine was; none for one that has ended.
fn started(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in brackets, and may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_and_one_that_is_not_there_has_none() {
        assert!(started(std::process::id()).is_some_and(|start| start.parse::<u64>().is_ok()));
        assert_eq!(started(u32::MAX), None);
    }

    #[test]
    fn a_name_that_is_none_is_told_with_those_there_are() {
        let error = chosen(&["redsi".to_owned()]).unwrap_err().to_string();
        assert!(
            error.contains("\"redsi\" is not one of redis, redis-cluster"),
            "{error}"
        );
    }
}
