//! A process under measurement: it ends with its owner, and `/proc` says what it has cost.

use std::{fs, ops::Sub, process::Child, time::Duration};

use anyhow::Context as _;

/// Clock ticks of `/proc/<pid>/stat` are hundredths of a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// A process that ends with its owner.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<std::process::ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Processor time that it has used, in user and kernel mode together.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The name in parentheses may hold anything; utime and stime are the 12th and 13th field after it.
        let (_, fields) = stat.rsplit_once(')').context("no name in /proc/<pid>/stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = fields.get(11..13).context("no times in /proc/<pid>/stat")?;
        let ticks: Vec<u32> = ticks.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(TICK * ticks.iter().sum())
    }

    /// The most memory that it has ever held, in MB.
    pub(crate) fn peak_megabytes(&self) -> anyhow::Result<f64> {
        self.megabytes("VmHWM")
    }

    /// The memory that it holds, in MB.
    pub(crate) fn resident_megabytes(&self) -> anyhow::Result<f64> {
        self.megabytes("VmRSS")
    }

    /// What of that is the program itself, in MB.
    pub(crate) fn program_megabytes(&self) -> anyhow::Result<f64> {
        self.megabytes("RssFile")
    }

    fn megabytes(&self, field: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        let kilobytes = lines
            .find_map(|(name, value)| (name == field).then_some(value))
            .and_then(|value| value.split_whitespace().next())
            .with_context(|| format!("no {field} in /proc/<pid>/status"))?;
        Ok(kilobytes.parse::<f64>()? * 1024.0 / 1e6)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            self.0.wait().ok();
        }
    }
}

/// What all processors of the machine have done since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Worked, for whomever.
    pub(crate) busy: Duration,
    /// Had nothing to do, or waited for a disk.
    pub(crate) idle: Duration,
}

impl Machine {
    pub(crate) fn now() -> anyhow::Result<Self> {
        Self::parse(&fs::read_to_string("/proc/stat")?)
    }

    fn parse(stat: &str) -> anyhow::Result<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "));
        let fields = line.context("no processors in /proc/stat")?.split_whitespace();
        // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is in user already.
        let ticks: Vec<u32> = fields.take(8).map(str::parse).collect::<Result<_, _>>()?;
        let idle: u32 = ticks.iter().skip(3).take(2).sum();
        Ok(Self {
            busy: TICK * (ticks.iter().sum::<u32>() - idle),
            idle: TICK * idle,
        })
    }
}

impl Sub for Machine {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            idle: self.idle.saturating_sub(earlier.idle),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_disk_is_idle() {
        let stat = "cpu  100 20 30 400 50 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        let expected = Machine {
            busy: Duration::from_millis(1_710),
            idle: Duration::from_millis(4_500),
        };
        assert_eq!(Machine::parse(stat).unwrap(), expected);
        Machine::parse("intr 1\n").unwrap_err();
    }
}
