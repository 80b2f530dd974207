//! The process as the kernel sees it, read from `/proc` at every scrape.

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// Ticks a second in what the kernel tells user space, whatever its own are.
const TICKS: f64 = 100.0;

/// The collector; it says nothing where there is no `/proc`.
#[derive(Debug)]
pub(super) struct Process;

/// What is said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    start_seconds: f64,
    resident_bytes: u64,
    threads: u64,
    open_files: u64,
}

impl Usage {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let system = fs::read_to_string("/proc/stat").ok()?;
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let mut usage = Self::parse(&stat, &status, &system)?;
        usage.open_files = u64::try_from(open_files).unwrap_or(u64::MAX);
        Some(usage)
    }

    fn parse(stat: &str, status: &str, system: &str) -> Option<Self> {
        // The second field is a name in brackets that may hold anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // proc(5) counts from 1, and two fields came before.
        let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let boot: f64 = system
            .lines()
            .find_map(|line| line.strip_prefix("btime "))?
            .trim()
            .parse()
            .ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = resident.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(Self {
            cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS,
            start_seconds: boot + ticks(22)? / TICKS,
            resident_bytes: kilobytes * 1024,
            threads: fields.get(17)?.parse().ok()?,
            open_files: 0,
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(usage) = Usage::read() else {
            return Ok(());
        };
        let cpu = ConstCounter::new(usage.cpu_seconds);
        let metric = encoder.encode_descriptor(
            "process_cpu",
            "Processor time in user and system mode",
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?;
        cpu.encode(metric)?;
        for (name, help, unit, value) in [
            (
                "process_start_time",
                "When the process started, since 1970",
                Some(Unit::Seconds),
                usage.start_seconds,
            ),
            (
                "process_resident_memory",
                "Memory that is in use",
                Some(Unit::Bytes),
                as_float(usage.resident_bytes),
            ),
            ("process_threads", "Threads", None, as_float(usage.threads)),
            (
                "process_open_fds",
                "Open files and sockets",
                None,
                as_float(usage.open_files),
            ),
        ] {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "metrics are floats; bytes stay far below 2^53"
)]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194304 900 0 0 0 250 50 0 0 20 0 7 0 1000 5000 300";
        let status = "Name:\ta\nVmRSS:\t    2048 kB\nThreads:\t7\n";
        let usage = Usage::parse(stat, status, "cpu 1 2\nbtime 1700000000\n").unwrap();
        assert_eq!(
            usage,
            Usage {
                cpu_seconds: 3.0,
                start_seconds: 1_700_000_010.0,
                resident_bytes: 2 << 20,
                threads: 7,
                open_files: 0,
            }
        );
    }
}
