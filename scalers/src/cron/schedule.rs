//! Five-field schedules with the grammar of robfig/cron, and when they fire next.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};

/// A schedule.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    cron: Cron,
}

/// One of the five fields: what it may hold.
struct Range {
    name: &'static str,
    min: u8,
    max: u8,
    /// Names for numbers, the first standing for `min`.
    names: &'static [&'static str],
}

const RANGES: [Range; 5] = [
    Range {
        name: "minute",
        min: 0,
        max: 59,
        names: &[],
    },
    Range {
        name: "hour",
        min: 0,
        max: 23,
        names: &[],
    },
    Range {
        name: "day of month",
        min: 1,
        max: 31,
        names: &[],
    },
    Range {
        name: "month",
        min: 1,
        max: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    Range {
        name: "day of week",
        min: 0,
        max: 6,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() != RANGES.len() {
            return Err(format!(
                "expected five fields (minute, hour, day of month, month, day of week), got {}",
                fields.len()
            ));
        }
        // Fields are written out as plain numbers, so that what they mean does not depend on the dialect of the search.
        let plain: Result<Vec<String>, String> = fields
            .iter()
            .zip(&RANGES)
            .map(|(field, range)| range.write_out(field))
            .collect();
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(&plain?.join(" "))
            .map_err(|error| error.to_string())?;
        let schedule = Self { cron };
        let any_time = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        schedule
            .next(&any_time)
            .map(|_| schedule)
            .ok_or_else(|| "it never fires".to_owned())
    }

    /// The first time after `now`, in its time zone.
    pub(super) fn next(&self, now: &Zoned) -> Option<Zoned> {
        self.cron.find_next_occurrence(now, false).ok()
    }
}

impl Range {
    /// The numbers of a field as a list; `*` if it restricts nothing.
    fn write_out(&self, field: &str) -> Result<String, String> {
        let mut chosen = vec![false; usize::from(self.max) + 1];
        let mut unrestricted = false;
        for part in field.split(',').filter(|part| !part.is_empty()) {
            let (first, last, step) = self
                .part(part)
                .map_err(|problem| format!("{problem} in {} {field:?}", self.name))?;
            unrestricted |= step == 1 && part.starts_with(['*', '?']);
            for number in (first..=last).step_by(usize::from(step)) {
                if let Some(slot) = chosen.get_mut(usize::from(number)) {
                    *slot = true;
                }
            }
        }
        if unrestricted {
            return Ok("*".to_owned());
        }
        let numbers: Vec<String> = chosen
            .iter()
            .enumerate()
            .filter(|(_, chosen)| **chosen)
            .map(|(number, _)| number.to_string())
            .collect();
        if numbers.is_empty() {
            return Err(format!("nothing is chosen in {} {field:?}", self.name));
        }
        Ok(numbers.join(","))
    }

    /// First, last and step of `*`, `a`, `a-b`, each perhaps with `/n`.
    fn part(&self, part: &str) -> Result<(u8, u8, u8), String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (self.min, self.max),
            Some((first, last)) => (self.number(first)?, self.number(last)?),
            None if step.is_some() => (self.number(range)?, self.max),
            None => (self.number(range)?, self.number(range)?),
        };
        if first > last {
            return Err(format!("the range {range} runs backwards"));
        }
        let step = match step {
            None => 1,
            Some(text) => text
                .parse()
                .ok()
                .filter(|step| *step > 0)
                .ok_or(format!("{text:?} is no step"))?,
        };
        Ok((first, last, step))
    }

    fn number(&self, text: &str) -> Result<u8, String> {
        let lower = text.to_ascii_lowercase();
        let named = self
            .names
            .iter()
            .zip(self.min..)
            .find(|(name, _)| **name == lower);
        if let Some((_, number)) = named {
            return Ok(number);
        }
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text
            .parse()
            .ok()
            .filter(|number| digits && (self.min..=self.max).contains(number));
        number.ok_or_else(|| format!("{text:?} is not from {} to {}", self.min, self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, now: &str) -> String {
        let now: Zoned = now.parse().unwrap();
        let next = Schedule::parse(schedule).unwrap().next(&now).unwrap();
        next.strftime("%Y-%m-%dT%H:%M%:z").to_string()
    }

    #[test]
    fn fields_mean_what_they_mean_to_robfig() {
        // 2026-01-01 is a Thursday.
        for (schedule, expected) in [
            ("0 9 * * *", "2026-01-01T09:00+00:00"),
            ("30 8 * * *", "2026-01-02T08:30+00:00"),
            ("*/20 * * * *", "2026-01-01T08:40+00:00"),
            ("5/20 * * * *", "2026-01-01T08:45+00:00"),
            ("10-50/20 9 * * *", "2026-01-01T09:10+00:00"),
            ("0 0 * * MON-fri", "2026-01-02T00:00+00:00"),
            ("0 0 * * 0", "2026-01-04T00:00+00:00"),
            ("0 0 ? FEB ?", "2026-02-01T00:00+00:00"),
            ("0 0 31 * *", "2026-01-31T00:00+00:00"),
            ("0 0 29 2 *", "2028-02-29T00:00+00:00"),
            ("0 0 13 * 5", "2026-01-02T00:00+00:00"),
            ("0 0 * * 2/3", "2026-01-02T00:00+00:00"),
            ("15,45,,50 10 1,2 1,7 *", "2026-01-01T10:15+00:00"),
        ] {
            assert_eq!(
                next(schedule, "2026-01-01T08:30:00+00:00[UTC]"),
                expected,
                "{schedule}"
            );
        }
    }

    #[test]
    fn what_robfig_refuses_is_refused() {
        for (schedule, problem) in [
            ("", "got 0"),
            ("@daily", "got 1"),
            ("@every 1h", "got 2"),
            ("0 0 9 * * *", "got 6"),
            ("60 * * * *", "\"60\" is not from 0 to 59 in minute \"60\""),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of month"),
            ("* * * 13 *", "month"),
            ("* * * * 7", "\"7\" is not from 0 to 6"),
            ("* * L * *", "\"L\""),
            ("* * 15W * *", "\"15W\""),
            ("* * * * 5#2", "\"5#2\""),
            ("* * * * FRI-MON", "runs backwards"),
            ("*/0 * * * *", "no step"),
            ("/5 * * * *", "\"\" is not from"),
            ("+5 * * * *", "\"+5\""),
            (", * * * *", "nothing is chosen"),
            ("0 0 30 2 *", "never fires"),
        ] {
            let refusal = Schedule::parse(schedule).unwrap_err();
            assert!(refusal.contains(problem), "{schedule:?}: {refusal}");
        }
    }

    #[test]
    fn clock_changes_move_a_skipped_time_and_take_a_doubled_one_once() {
        for (schedule, now, expected) in [
            // Forward on 29 March 2026 at 02:00, back on 25 October 2026 at 03:00.
            (
                "30 2 * * *",
                "2026-03-29T01:00:00+01:00[Europe/Berlin]",
                "2026-03-29T03:00+02:00",
            ),
            (
                "30 2 * * *",
                "2026-10-25T01:00:00+02:00[Europe/Berlin]",
                "2026-10-25T02:30+02:00",
            ),
            (
                "30 2 * * *",
                "2026-10-25T02:30:00+02:00[Europe/Berlin]",
                "2026-10-26T02:30+01:00",
            ),
            (
                "0 8 * * *",
                "2026-03-28T09:00:00+01:00[Europe/Berlin]",
                "2026-03-29T08:00+02:00",
            ),
        ] {
            assert_eq!(next(schedule, now), expected, "{schedule} after {now}");
        }
    }
}
