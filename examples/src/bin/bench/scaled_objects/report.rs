//! What was measured of a fleet, beside KEDA's figures.

use std::time::Duration;

use serde_json::{Value, json};

use super::{fleet::Fleet, requests::Counts};
use crate::process::Machine;

/// A poll is late when it comes this much after it was due.
const TOLERANCE: Duration = Duration::from_secs(1);

/// Everything that was seen of a fleet.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) fleet: Fleet,
    /// Until the last ScaledObject was made.
    pub(super) created: Duration,
    /// Until each was Ready, in that order.
    pub(super) ready: Vec<Duration>,
    /// Requests until nothing was written any more.
    pub(super) until_rest: Counts,
    pub(super) until_ready: UntilReady,
    pub(super) rest: Rest,
    pub(super) peak_megabytes: f64,
    pub(super) resident_megabytes: f64,
    /// What of the memory is the program's own pages.
    pub(super) program_megabytes: f64,
}

/// What bounds the time until all are Ready.
#[derive(Debug)]
pub(super) struct UntilReady {
    /// Processor time of the process.
    pub(super) processor: Duration,
    /// Of the API server.
    pub(super) api_server: Duration,
    /// Of everything on the machine.
    pub(super) machine: Machine,
}

/// What was seen while nothing happened.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) took: Duration,
    pub(super) processor: Duration,
    pub(super) requests: Counts,
    pub(super) polls: usize,
    /// Between two polls of the same object.
    pub(super) gaps: Vec<Duration>,
}

impl Rest {
    /// How many of the gaps were longer than they should be, of 1, and the longest of all.
    fn lateness(&self, polling_interval: u64) -> (f64, Duration) {
        let due = Duration::from_secs(polling_interval) + TOLERANCE;
        let late = self.gaps.iter().filter(|gap| **gap > due).count();
        let longest = self.gaps.iter().max().copied().unwrap_or_default();
        (late as f64 / self.gaps.len().max(1) as f64, longest)
    }

    fn per_minute(&self, count: f64) -> f64 {
        count * 60.0 / self.took.as_secs_f64()
    }
}

impl Report {
    /// When this part of the objects, of 1, was Ready.
    fn ready_at(&self, part: f64) -> f64 {
        let index = (self.ready.len() as f64 * part).ceil() as usize;
        let at = self.ready.get(index.saturating_sub(1));
        at.map_or(f64::NAN, Duration::as_secs_f64)
    }

    /// The same as [`print`](Self::print) says; durations are in seconds.
    pub(super) fn json(&self) -> Value {
        let (late, longest) = self.rest.lateness(self.fleet.polling_interval);
        json!({
            "fleet": self.fleet,
            "made": self.created.as_secs_f64(),
            "ready": {
                "half": self.ready_at(0.5), "most": self.ready_at(0.99), "all": self.ready_at(1.0),
                "processor": self.until_ready.processor.as_secs_f64(),
                "apiServerProcessor": self.until_ready.api_server.as_secs_f64(),
                "machineBusy": self.until_ready.machine.busy.as_secs_f64(),
                "machineIdle": self.until_ready.machine.idle.as_secs_f64(),
            },
            "requestsUntilRest": self.until_rest,
            "rest": {
                "took": self.rest.took.as_secs_f64(),
                "processor": self.rest.processor.as_secs_f64(),
                "requests": self.rest.requests,
                "polls": self.rest.polls,
                "lateFraction": late,
                "longestGap": longest.as_secs_f64(),
            },
            "peakMegabytes": self.peak_megabytes,
            "residentMegabytes": self.resident_megabytes,
            "programMegabytes": self.program_megabytes,
        })
    }

    pub(super) fn print(&self) {
        let Rest { requests, polls, .. } = &self.rest;
        println!("{}", self.fleet);
        println!("  made           {:.1} s", self.created.as_secs_f64());
        println!(
            "  Ready          half {:.1} s, 99 % {:.1} s, all {:.1} s",
            self.ready_at(0.5),
            self.ready_at(0.99),
            self.ready_at(1.0),
        );
        let UntilReady {
            processor,
            api_server,
            machine,
        } = &self.until_ready;
        println!(
            "  processors     {:.1} s of this process, {:.1} s of the API server, {:.1} s of all processes, {:.1} s idle",
            processor.as_secs_f64(),
            api_server.as_secs_f64(),
            machine.busy.as_secs_f64(),
            machine.idle.as_secs_f64(),
        );
        println!(
            "  until rest     {} reads, {} writes",
            self.until_rest.reads, self.until_rest.writes
        );
        let (late, longest) = self.rest.lateness(self.fleet.polling_interval);
        println!(
            "  at rest        {polls} polls in {:.0} s, {:.2} % more than {} s late, longest gap {:.2} s",
            self.rest.took.as_secs_f64(),
            late * 100.0,
            TOLERANCE.as_secs(),
            longest.as_secs_f64(),
        );
        println!(
            "  per minute     {:.2} s of processor time; {:.0} reads, {:.0} writes, {:.0} of the lease, {:.0} reviews for the adapter's callers",
            self.rest.per_minute(self.rest.processor.as_secs_f64()),
            self.rest.per_minute(requests.reads as f64),
            self.rest.per_minute(requests.writes as f64),
            self.rest.per_minute(requests.leases as f64),
            self.rest.per_minute(requests.reviews as f64),
        );
        println!(
            "  memory         {:.0} MB at most, {:.0} MB at the end, of which {:.0} MB are the program itself",
            self.peak_megabytes, self.resident_megabytes, self.program_megabytes
        );
        if self.fleet.objects == 1000 {
            println!(
                "  KEDA           141 Ready after 9 minutes; with raised limits 752 after 1 minute (then it crashed), \
                 15 s of processor time a minute, 216 + 118 MB"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_late_beyond_the_tolerance() {
        let rest = Rest {
            took: Duration::from_secs(30),
            processor: Duration::ZERO,
            requests: Counts::default(),
            polls: 4,
            gaps: [4_900, 5_900, 6_100, 5_000].map(Duration::from_millis).to_vec(),
        };
        assert_eq!(rest.lateness(5), (0.25, Duration::from_millis(6_100)));
        assert!((rest.per_minute(3.0) - 6.0).abs() < 1e-9);
    }
}
