//! What counts of a queue.

use super::management::Counts;

/// `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    QueueLength,
    MessageRate,
    DeliverGetRate,
    PublishedToDeliveredRatio,
    ExpectedQueueConsumptionTime,
}

impl Mode {
    const ALL: [Self; 5] = [
        Self::QueueLength,
        Self::MessageRate,
        Self::DeliverGetRate,
        Self::PublishedToDeliveredRatio,
        Self::ExpectedQueueConsumptionTime,
    ];

    pub(super) fn named(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|mode| format!("{mode:?}") == word);
        found.ok_or_else(|| {
            let words = Self::ALL.map(|mode| format!("{mode:?}")).join(", ");
            format!("trigger mode {word} must be one of {words}")
        })
    }

    /// The value, and whether the trigger is active.
    pub(super) fn value(self, counts: Counts, activation: f64) -> (f64, bool) {
        let Counts {
            messages,
            published,
            delivered,
        } = counts;
        // Nobody takes what comes, or what is there: no ratio tells that, so it is said by being active.
        let is_stuck = delivered == 0.0;
        match self {
            Self::QueueLength => (messages, messages > activation),
            Self::MessageRate => (published, published > activation || messages > activation),
            Self::DeliverGetRate => (delivered, delivered > activation),
            Self::PublishedToDeliveredRatio => {
                let is_stuck = is_stuck && published > 0.0;
                let ratio = match published > 0.0 {
                    true if is_stuck => activation,
                    true => published / delivered,
                    false => 0.0,
                };
                (ratio, ratio > activation || is_stuck)
            }
            Self::ExpectedQueueConsumptionTime => {
                let time = match messages > 0.0 {
                    false => 0.0,
                    true if is_stuck => activation,
                    true => (published - delivered) / delivered + messages / delivered,
                };
                (time, time > activation || is_stuck && messages > 0.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_5_7_every_mode_has_its_arithmetic() {
        for (mode, (messages, published, delivered), expected) in [
            (Mode::QueueLength, (5.0, 9.0, 9.0), (5.0, false)),
            (Mode::QueueLength, (6.0, 0.0, 0.0), (6.0, true)),
            (Mode::MessageRate, (0.0, 5.5, 0.0), (5.5, true)),
            (Mode::MessageRate, (6.0, 1.0, 0.0), (1.0, true)),
            (Mode::MessageRate, (5.0, 5.0, 9.0), (5.0, false)),
            (Mode::DeliverGetRate, (9.0, 9.0, 5.0), (5.0, false)),
            (Mode::DeliverGetRate, (0.0, 0.0, 6.0), (6.0, true)),
            (Mode::PublishedToDeliveredRatio, (0.0, 12.0, 2.0), (6.0, true)),
            (Mode::PublishedToDeliveredRatio, (0.0, 1.0, 2.0), (0.5, false)),
            (Mode::PublishedToDeliveredRatio, (0.0, 1.0, 0.0), (5.0, true)),
            (Mode::PublishedToDeliveredRatio, (9.0, 0.0, 0.0), (0.0, false)),
            (Mode::ExpectedQueueConsumptionTime, (20.0, 4.0, 2.0), (11.0, true)),
            (Mode::ExpectedQueueConsumptionTime, (4.0, 2.0, 2.0), (2.0, false)),
            (Mode::ExpectedQueueConsumptionTime, (1.0, 0.0, 0.0), (5.0, true)),
            (Mode::ExpectedQueueConsumptionTime, (0.0, 9.0, 0.0), (0.0, false)),
        ] {
            let counts = Counts {
                messages,
                published,
                delivered,
            };
            assert_eq!(mode.value(counts, 5.0), expected, "{mode:?} {counts:?}");
        }
    }

    #[test]
    fn a_word_that_is_no_mode_is_told_with_those_there_are() {
        assert_eq!(Mode::named("MessageRate"), Ok(Mode::MessageRate));
        assert!(
            Mode::named("messageRate")
                .unwrap_err()
                .contains("must be one of QueueLength, MessageRate")
        );
    }
}
