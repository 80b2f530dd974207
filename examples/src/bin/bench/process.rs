//! What a process has cost, from `/proc`.

use std::{fs, time::Duration};

use anyhow::Context as _;

/// Clock ticks of `/proc/<pid>/stat` are hundredths of a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Processor time that the process has used, in user and kernel mode together.
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th field after it.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/<pid>/stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = fields.get(11..13).context("no times in /proc/<pid>/stat")?;
    let ticks: Vec<u32> = ticks.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    Ok(TICK * ticks.iter().sum())
}

/// The most memory that the process has ever held, in MB.
pub(crate) fn peak_megabytes(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line
        .and_then(|line| line.split_whitespace().next())
        .context("no VmHWM in /proc/<pid>/status")?;
    Ok(kilobytes.parse::<f64>()? * 1024.0 / 1e6)
}
