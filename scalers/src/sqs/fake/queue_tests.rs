//! The rules of a queue, without protocol and clock.

use super::*;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn message(body: &str, group: Option<&str>, deduplication_id: Option<&str>) -> NewMessage {
    NewMessage {
        body: body.to_owned(),
        group: group.map(str::to_owned),
        deduplication_id: deduplication_id.map(str::to_owned),
        ..NewMessage::default()
    }
}

fn standard() -> Queue {
    Queue::new(QueueOptions::default(), Duration::ZERO)
}

fn fifo() -> Queue {
    Queue::new(QueueOptions::fifo(), Duration::ZERO)
}

fn send(queue: &mut Queue, now: Duration, body: &str, group: Option<&str>) -> Sent {
    queue.send(now, message(body, group, None), format!("id-{body}"))
}

fn bodies(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.body.as_str()).collect()
}

fn counts(visible: u64, in_flight: u64, delayed: u64) -> Counts {
    Counts {
        visible,
        in_flight,
        delayed,
    }
}

#[test]
fn a_received_message_is_hidden_until_its_visibility_times_out_or_it_is_deleted() {
    let mut queue = standard();
    send(&mut queue, at(0), "a", None);
    send(&mut queue, at(0), "b", None);
    let first = queue.receive(at(1), 10, Some(at(30)));
    assert_eq!(bodies(&first), ["a", "b"]);
    assert_eq!(queue.counts(at(1)), counts(0, 2, 0));
    assert!(queue.receive(at(30), 10, None).is_empty());
    assert_eq!(queue.delete(at(30), &first[0].receipt), Ok(true));
    assert_eq!(queue.next_due(), Some(at(31)));
    assert_eq!(queue.counts(at(31)), counts(1, 0, 0));
    let again = queue.receive(at(31), 10, None);
    assert_eq!((again[0].body.as_str(), again[0].receive_count), ("b", 2));
    assert_eq!(again[0].first_received_at, at(1));
}

#[test]
fn a_fifo_group_is_blocked_while_one_of_its_messages_is_in_flight() {
    let mut queue = fifo();
    for body in ["a1", "a2", "a3"] {
        send(&mut queue, at(0), body, Some("a"));
    }
    send(&mut queue, at(0), "b1", Some("b"));
    let first = queue.receive(at(1), 1, Some(at(60)));
    assert_eq!(bodies(&first), ["a1"]);
    assert_eq!(
        bodies(&queue.receive(at(1), 10, None)),
        ["b1"],
        "only the other group can be delivered"
    );
    assert!(queue.receive(at(2), 10, None).is_empty());
    assert_eq!(
        queue.counts(at(2)),
        counts(2, 2, 0),
        "a blocked message still counts as visible"
    );
    assert_eq!(queue.delete(at(3), &first[0].receipt), Ok(true));
    let batch = queue.receive(at(3), 10, Some(at(60)));
    assert_eq!(
        bodies(&batch),
        ["a2", "a3"],
        "one receive may take several of a group, in order"
    );
    assert_eq!(queue.delete(at(4), &batch[0].receipt), Ok(true));
    assert!(!queue.can_deliver(at(4)), "a3 is still in flight");
}

#[test]
fn a_fifo_message_that_times_out_comes_again_before_its_successors() {
    let mut queue = fifo();
    send(&mut queue, at(0), "1", Some("g"));
    send(&mut queue, at(0), "2", Some("g"));
    let lost = queue.receive(at(0), 1, Some(at(60)));
    assert!(queue.receive(at(59), 1, None).is_empty());
    let again = queue.receive(at(60), 1, Some(at(60)));
    assert_eq!(bodies(&again), ["1"]);
    assert_eq!(queue.delete(at(61), &lost[0].receipt), Err(ReceiptError::Expired));
    assert_eq!(queue.delete(at(61), &again[0].receipt), Ok(true));
    assert_eq!(bodies(&queue.receive(at(61), 1, None)), ["2"]);
}

#[test]
fn equal_deduplication_ids_are_one_message_for_five_minutes_even_after_it_is_deleted() {
    let mut queue = fifo();
    let first = queue.send(at(0), message("x", Some("g"), Some("d")), "one".into());
    let delivery = queue.receive(at(1), 1, None);
    assert_eq!(queue.delete(at(1), &delivery[0].receipt), Ok(true));
    assert_eq!(
        queue.send(at(299), message("y", Some("g"), Some("d")), "two".into()),
        first
    );
    let third = queue.send(at(300), message("z", Some("g"), Some("d")), "three".into());
    assert_eq!(third.id, "three");
    let totals = queue.totals(at(300));
    assert_eq!((totals.sent, totals.deduplicated), (2, 1));
}

#[test]
fn content_deduplicates_only_where_it_was_asked_for() {
    let options = QueueOptions {
        content_based_deduplication: true,
        ..QueueOptions::fifo()
    };
    let mut queue = Queue::new(options, at(0));
    send(&mut queue, at(0), "same", Some("a"));
    send(&mut queue, at(0), "same", Some("b"));
    assert_eq!(queue.counts(at(0)).visible, 1);
    let mut plain = standard();
    send(&mut plain, at(0), "same", None);
    send(&mut plain, at(0), "same", None);
    assert_eq!(plain.counts(at(0)).visible, 2);
}

#[test]
fn delayed_messages_count_apart_and_hold_back_their_fifo_group() {
    let mut queue = standard();
    let mut late = message("late", None, None);
    late.delay = Some(at(10));
    queue.send(at(0), late, "id".into());
    send(&mut queue, at(0), "now", None);
    assert_eq!(queue.counts(at(0)), counts(1, 0, 1));
    assert_eq!(bodies(&queue.receive(at(0), 10, None)), ["now"]);
    assert_eq!(bodies(&queue.receive(at(10), 10, None)), ["late"]);
    let mut ordered = Queue::new(
        QueueOptions {
            delay: at(5),
            ..QueueOptions::fifo()
        },
        at(0),
    );
    send(&mut ordered, at(0), "1", Some("g"));
    assert!(!ordered.can_deliver(at(4)));
    assert!(ordered.can_deliver(at(5)));
}

#[test]
fn visibility_can_be_prolonged_and_given_back() {
    let mut queue = fifo();
    send(&mut queue, at(0), "1", Some("g"));
    let delivery = queue.receive(at(0), 1, Some(at(10)));
    assert_eq!(
        queue.change_visibility(at(9), &delivery[0].receipt, at(10)),
        Ok(())
    );
    assert!(!queue.can_deliver(at(18)));
    assert_eq!(
        queue.change_visibility(at(18), &delivery[0].receipt, at(0)),
        Ok(())
    );
    assert!(queue.can_deliver(at(18)));
    assert_eq!(
        queue.change_visibility(at(18), &delivery[0].receipt, at(5)),
        Err(ReceiptError::Expired)
    );
}

#[test]
fn receipts_are_told_apart() {
    let mut queue = standard();
    send(&mut queue, at(0), "1", None);
    let first = queue.receive(at(0), 1, Some(at(10)))[0].receipt.clone();
    let second = queue.receive(at(10), 1, Some(at(10)))[0].receipt.clone();
    for nonsense in ["", "abc", "id-1#9#1", "id-1#0#1", "id-2#1#1", "id-1#1"] {
        assert_eq!(
            queue.delete(at(10), nonsense),
            Err(ReceiptError::Invalid),
            "{nonsense:?}"
        );
    }
    assert_eq!(
        queue.delete(at(11), &first),
        Ok(false),
        "an older receipt deletes nothing"
    );
    assert_eq!(
        queue.delete(at(30), &second),
        Ok(true),
        "a standard queue forgives the timeout"
    );
    assert_eq!(
        queue.delete(at(30), &second),
        Ok(false),
        "deleting twice is no error"
    );
}

#[test]
fn old_messages_expire_wherever_they_are() {
    let mut queue = Queue::new(
        QueueOptions {
            retention: at(100),
            ..QueueOptions::fifo()
        },
        at(0),
    );
    send(&mut queue, at(0), "1", Some("g"));
    send(&mut queue, at(50), "2", Some("g"));
    assert_eq!(queue.receive(at(60), 1, Some(at(1000))).len(), 1);
    assert!(!queue.can_deliver(at(99)));
    assert_eq!(
        bodies(&queue.receive(at(100), 1, None)),
        ["2"],
        "the expired message blocks no longer"
    );
    assert_eq!(queue.totals(at(200)).expired, 2);
    assert_eq!(queue.counts(at(200)), Counts::default());
}

#[test]
fn purging_leaves_nothing() {
    let mut queue = fifo();
    for body in ["1", "2", "3"] {
        send(&mut queue, at(0), body, Some("g"));
    }
    assert_eq!(queue.receive(at(0), 1, None).len(), 1);
    queue.purge(at(1));
    assert_eq!(queue.counts(at(1)), Counts::default());
    assert_eq!(queue.next_due(), None);
    assert_eq!(queue.totals(at(1)).purged, 3);
    assert!(queue.heads.is_empty() && queue.groups.is_empty() && queue.due.is_empty());
}

/// A small generator, so that the walk below is the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = super::super::split_mix(self.0);
        self.0 % sides
    }
}

/// Random sends, receives, deletes and waits: no message is lost or invented, and every index agrees with the messages.
#[test]
fn no_walk_loses_or_invents_a_message() {
    for seed in 0..60 {
        let options = if seed % 2 == 0 {
            QueueOptions::default()
        } else {
            QueueOptions::fifo()
        };
        walk(&mut Queue::new(options, at(0)), &mut Dice(seed), seed);
    }
}

fn walk(queue: &mut Queue, dice: &mut Dice, seed: u64) {
    let (mut now, mut receipts): (Duration, Vec<String>) = (at(0), Vec::new());
    for step in 0..300 {
        now += Duration::from_millis(dice.roll(8000));
        match dice.roll(10) {
            0..4 => {
                let mut message = message(&format!("{step}"), Some(&format!("g{}", dice.roll(3))), None);
                message.delay = Some(at(dice.roll(3) * 10)).filter(|_| step % 5 == 0);
                queue.send(now, message, format!("id{step}"));
            }
            4..7 => {
                let max = usize::try_from(dice.roll(4)).unwrap();
                receipts.extend(
                    queue
                        .receive(now, max, None)
                        .into_iter()
                        .map(|delivery| delivery.receipt),
                );
            }
            7..9 if !receipts.is_empty() => {
                let index = usize::try_from(dice.roll(receipts.len() as u64)).unwrap();
                // Expired receipts are refused; what matters is that the books stay balanced.
                let _answer = queue.delete(now, &receipts.swap_remove(index));
            }
            _ if !receipts.is_empty() => {
                let index = usize::try_from(dice.roll(receipts.len() as u64)).unwrap();
                let _answer = queue.change_visibility(now, &receipts[index], at(dice.roll(40)));
            }
            _ => {}
        }
        assert_consistent(queue, now, seed);
    }
    let mut left = queue.messages.len();
    while left > 0 {
        now += at(120);
        for delivery in queue.receive(now, 10, Some(at(60))) {
            assert_eq!(queue.delete(now, &delivery.receipt), Ok(true), "seed {seed}");
            left -= 1;
        }
    }
    let totals = queue.totals(now);
    assert_eq!(totals.sent, totals.deleted, "seed {seed}");
}

fn assert_consistent(queue: &mut Queue, now: Duration, seed: u64) {
    let (counts, totals) = (queue.counts(now), queue.totals(now));
    let held = counts.visible + counts.in_flight + counts.delayed;
    assert_eq!(totals.sent, totals.deleted + totals.expired + held, "seed {seed}");
    let in_state = |wanted: fn(&State) -> bool| {
        queue
            .messages
            .values()
            .filter(|message| wanted(&message.state))
            .count() as u64
    };
    assert_eq!(
        in_state(|state| matches!(state, State::Ready)),
        counts.visible,
        "seed {seed}"
    );
    assert_eq!(
        in_state(|state| matches!(state, State::InFlight { .. })),
        counts.in_flight,
        "seed {seed}"
    );
    assert_eq!(
        queue.due.len() as u64,
        counts.in_flight + counts.delayed,
        "seed {seed}"
    );
    if queue.options.fifo {
        for (name, group) in &queue.groups {
            let in_flight = group
                .members
                .iter()
                .filter(|sequence| matches!(queue.messages[sequence].state, State::InFlight { .. }))
                .count();
            assert_eq!(group.in_flight, in_flight, "seed {seed}, group {name}");
            let head = group
                .members
                .first()
                .filter(|first| in_flight == 0 && queue.messages[first].state == State::Ready);
            assert_eq!(group.listed.as_ref(), head, "seed {seed}, group {name}");
        }
        assert_eq!(
            queue.heads.len(),
            queue
                .groups
                .values()
                .filter(|group| group.listed.is_some())
                .count()
        );
    }
}
