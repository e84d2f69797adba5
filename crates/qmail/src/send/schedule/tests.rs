//! The scheduler against a queue that is a map and spawners that are lists.

use std::collections::BTreeMap;

use base::outcome::Outcome;
use base::time::Moment;
use base::wire::frame;
use base::wire::queue::{Entry, Envelope, MAX_REQUEST, Note, Progress, Request, progress_block};
use base::wire::spawn::{Delivery, MAX_DELIVERY};
use store::control::{Map, Set};

use super::*;

mod cuts;
mod lives;
mod matchup;
mod traffic;
mod world;

use world::{Flying, World};

#[test]
fn a_letter_to_a_mailbox_leaves_the_log_of_stock() {
    let mut w = World::new(10, 20);
    w.step(Event::Listed);
    w.arrive(10_111_050, "s@x.org", &["tuser@here"]);
    w.land(0, Outcome::Done, "did 1+0+0\n");
    assert_eq!(w.cleaning, [], "nothing goes before its note is written");
    w.ack_all();
    w.clean_all();
    assert_eq!(
        w.log,
        "status: local 0/10 remote 0/20\n\
         new msg 10111050\n\
         info msg 10111050: bytes 249 from <s@x.org> qp 28543 uid 0\n\
         starting delivery 1: msg 10111050 to local tuser@here\n\
         status: local 1/10 remote 0/20\n\
         delivery 1: success: did_1+0+0/\n\
         status: local 0/10 remote 0/20\n\
         end msg 10111050\n"
    );
}

#[test]
fn a_letter_without_recipients_ends_at_once() {
    let mut w = World::linked(1, 1);
    w.arrive(1, "s@x", &[]);
    w.clean_all();
    assert!(w.log.ends_with("end msg 1\n"));
}

#[test]
fn years_of_deferrals_end_in_one_bounce_at_the_seventy_ninth_attempt() {
    let mut w = World::linked(10, 20);
    let birth = w.now;
    w.arrive(1, "s@x", &["a@here"]);
    let mut ages = vec![0];
    while w.bouncing.is_empty() {
        w.land(0, Outcome::Later, "busy\n");
        w.ack_all();
        if w.bouncing.is_empty() {
            w.sleep();
            ages.push(w.now.since(birth) / 1_000_000);
        }
    }
    assert_eq!(ages.len(), 79);
    assert!(ages.iter().zip(0u64..).all(|(&age, k)| age == (10 * k).pow(2)));
    assert!(w.log.ends_with(
        "delivery 79: failure: busy/I'm_not_going_to_try_again;_this_message_has_been_in_the_queue_too_long./\n\
         status: local 0/10 remote 0/20\n"
    ));
    assert_eq!(
        w.disk[&1].paragraphs,
        [b"<a@here>:\nbusy\nI'm not going to try again; this message has been in the queue too long.\n\n"]
    );
    let bouncing = w.bouncing();
    w.step(Event::Bounced(bouncing, Bounced::Settled(77)));
    assert!(w.log.ends_with("bounce msg 1 qp 77\nend msg 1\n"));
    assert_eq!(w.schedule.wake(), None);
}

#[test]
fn a_slow_delivery_counts_its_retry_from_its_start() {
    let mut w = World::linked(1, 20);
    w.arrive(1, "s@x", &["a@far"]);
    w.now = w.now.plus_secs(300);
    w.land(0, Outcome::Later, "");
    w.ack_all();
    let birth = w.disk[&1].birth;
    assert_eq!(w.disk[&1].progress, [Progress::Deferred(birth.plus_secs(400))]);
    assert_eq!(w.schedule.wake(), Some(birth.plus_secs(400)));
}

#[test]
fn a_bounce_waits_for_every_recipient_and_names_the_failed_ones() {
    let mut w = World::linked(10, 20);
    w.arrive(1, "s@x", &["a@v.org", "b@far", "c@here"]);
    assert_eq!(
        w.flying.iter().map(|f| f.recipient.clone()).collect::<Vec<_>>(),
        [&b"vu-a@v.org"[..], b"c@here", b"b@far"]
    );
    w.land(0, Outcome::Never, "no such\n");
    w.land(1, Outcome::Never, "refused");
    w.ack_all();
    assert_eq!(w.bouncing, []);
    w.land(0, Outcome::Done, "");
    w.ack_all();
    assert_eq!(
        w.bouncing.iter().map(|(known, s)| (known.id, &s[..])).collect::<Vec<_>>(),
        [(1, &b"s@x"[..])]
    );
    let paragraphs = [&b"<a@v.org>:\nno such\n\n"[..], b"<b@far>:\nrefused\n\n"];
    assert_eq!(w.disk[&1].paragraphs, paragraphs);
    let bouncing = w.bouncing();
    w.step(Event::Bounced(bouncing, Bounced::Refused));
    assert!(w.log.ends_with("warning: trouble injecting bounce message, will try later\n"));
    w.now = w.now.plus_secs(122);
    w.step(Event::Wake);
    assert_eq!(w.bouncing, []);
    w.sleep();
    assert_eq!(w.bouncing.len(), 1);
    w.step(Event::Bounced(bouncing, Bounced::Queued(5)));
    assert_eq!(
        w.cleaning,
        [bouncing],
        "a bounce through another program leaves the letter to clean"
    );
    w.clean_all();
    assert!(w.log.ends_with("bounce msg 1 qp 5\nend msg 1\n"));
}

#[test]
fn a_double_bounce_that_fails_is_discarded() {
    let mut w = World::linked(10, 20);
    w.arrive(4, "#@[]", &["postmaster@here"]);
    w.land(0, Outcome::Never, "no\n");
    w.ack_all();
    assert!(w.log.ends_with("triple bounce: discarding bounce/4\n"));
    assert_eq!((w.bouncing.len(), w.cleaning.len()), (0, 1));
}

#[test]
fn list_mail_carries_the_readers_name_and_what_is_too_long_fails_without_a_pipe() {
    let mut w = World::linked(10, 20);
    w.arrive(1, "list-@h.org-@[]", &["ok@r.org"]);
    assert_eq!(w.flying[0].sender, b"list-ok=r.org@h.org");
    assert!(w.log.contains("from <list-@h.org-@[]> qp"));
    let long = format!("list-{}@h.org-@[]", "x".repeat(600));
    let reader = format!("{}@far", "y".repeat(600));
    w.arrive(2, &long, &[&reader]);
    assert_eq!(w.flying.len(), 1);
    w.ack_all();
    assert_eq!(w.bouncing.len(), 1);
}

#[test]
fn letters_from_an_earlier_run_or_attempt_were_perhaps_delivered() {
    let mut w = World::new(10, 20);
    for id in [1, 2, 3] {
        w.store(id, "s@x", &["a@here"]);
        w.disk.get_mut(&id).unwrap().old = id < 3;
    }
    let later = w.now.plus_secs(50);
    w.disk.get_mut(&2).unwrap().progress = vec![Progress::Deferred(later)];
    for id in [1, 2, 3] {
        w.tell(id);
    }
    let flying = |w: &World| w.flying.iter().map(|f| (f.letter, f.perhaps)).collect::<Vec<_>>();
    assert_eq!(flying(&w), [(1, true), (3, false)], "what has come starts before the list ends");
    w.step(Event::Listed);
    for _ in 0..2 {
        w.land(0, Outcome::Later, "");
    }
    w.ack_all();
    w.sleep();
    assert_eq!((w.now, flying(&w)), (later, vec![(2, true)]));
    assert_eq!(w.lines("new msg"), 2, "a letter already tried is not announced again");
    w.land(0, Outcome::Later, "");
    w.step(Event::Hurry);
    while !w.flying.is_empty() {
        assert!(w.land(0, Outcome::Later, "").perhaps);
    }
    assert_eq!(w.lines("starting"), 6);
}

#[test]
fn a_held_channel_starts_nothing_and_the_other_goes_on() {
    let mut w = World::linked(10, 0);
    w.arrive(1, "s@x", &["a@far", "b@here"]);
    assert_eq!(w.flying.len(), 1);
    w.land(0, Outcome::Done, "");
    assert_eq!(w.schedule.wake(), None);
}

#[test]
fn alrm_makes_everything_due_and_hup_changes_where_new_letters_go() {
    let mut w = World::linked(10, 20);
    w.arrive(1, "s@x", &["a@here"]);
    w.land(0, Outcome::Later, "");
    w.step(Event::Wake);
    assert!(w.flying.is_empty());
    w.step(Event::Hurry);
    assert_eq!(w.flying.len(), 1);
    w.step(Event::Domains(Domains {
        locals: Set::from_lines([&b"new"[..]]),
        ..Domains::default()
    }));
    w.arrive(2, "s@x", &["a@here", "a@new"]);
    let way = |name: &[u8]| w.flying.iter().find(|f| f.letter == 2 && f.recipient == name);
    assert_eq!(way(b"a@here").unwrap().channel, Channel::Remote);
    assert_eq!(way(b"a@new").unwrap().channel, Channel::Local);
}

#[test]
fn after_term_what_runs_is_heard_out_and_nothing_starts() {
    let mut w = World::linked(1, 20);
    w.arrive(1, "s@x", &["a@here", "b@here"]);
    w.step(Event::Exit);
    assert!(!w.schedule.over(w.now));
    w.land(0, Outcome::Done, "");
    assert!(w.log.ends_with("status: local 0/1 remote 0/20 exitasap\n"));
    assert!(w.flying.is_empty() && !w.schedule.over(w.now));
    w.ack_all();
    assert!(w.schedule.over(w.now));
}

#[test]
fn what_is_finished_still_leaves_after_term() {
    let mut w = World::linked(1, 20);
    w.arrive(1, "s@x", &["a@here"]);
    w.step(Event::Exit);
    w.land(0, Outcome::Done, "");
    w.ack_all();
    assert!(!w.schedule.over(w.now));
    w.clean_all();
    assert!(w.schedule.over(w.now) && w.log.ends_with("end msg 1\n"));
}

#[test]
fn a_lost_spawner_is_not_waited_for_but_the_other_is() {
    let mut w = World::linked(10, 20);
    w.arrive(1, "s@x", &["a@here", "b@far"]);
    w.step(Event::Lost(Channel::Local));
    assert!(!w.schedule.over(w.now));
    w.land(1, Outcome::Done, "");
    w.ack_all();
    assert!(w.schedule.over(w.now));
    assert_eq!(w.disk[&1].progress, [Progress::Waiting, Progress::Done]);
}

#[test]
fn deliveries_start_while_a_crowd_of_new_letters_comes_in() {
    let mut w = World::linked(3, 20);
    for id in 1..=1000 {
        w.arrive(id, "s@x", &[&format!("u{id}@here")]);
        assert_eq!(w.flying.len(), 3.min(id as usize));
        if id > 3 {
            w.land(0, Outcome::Done, "");
            w.ack_all();
            w.clean_all();
            assert_eq!(w.flying.len(), 3);
        }
    }
    assert_eq!(w.lines("end msg"), 997);
}

#[test]
fn when_queued_is_slow_to_write_no_more_is_started() {
    let mut w = World::linked(10, 20);
    for id in 1..=2000 {
        w.arrive(id, "s@x", &["a@here"]);
    }
    while !w.flying.is_empty() {
        w.land(0, Outcome::Done, "");
    }
    assert!((1024..1050).contains(&w.unacked.len()));
    w.ack_all();
    assert_eq!(w.flying.len(), 8, "the last places are not for one who has so many");
}

#[test]
fn reports_that_come_while_queued_is_away_are_noted_when_it_is_back() {
    let mut w = World::linked(10, 20);
    w.arrive(1, "s@x", &["a@here", "b@far", "c@far"]);
    w.step(Event::Unlinked);
    w.land(0, Outcome::Done, "");
    w.land(0, Outcome::Never, "no\n");
    assert!(w.unacked.is_empty(), "nothing is sent to nobody");
    w.arrive(2, "s@x", &["d@here"]);
    assert_eq!(w.flying.len(), 1, "nothing is started meanwhile");
    w.tell(1);
    assert_eq!(w.flying.len(), 1);
    w.step(Event::Listed);
    assert_eq!(w.unacked.len(), 2);
    assert_eq!(w.flying.len(), 2);
    w.land(0, Outcome::Done, "");
    w.ack_all();
    assert_eq!(w.bouncing.len(), 1);
    assert_eq!(w.lines("new msg 1\n"), 0);
    assert_eq!(w.lines("new msg"), 2, "a letter met again is not new");
}

#[test]
fn notes_a_full_disk_refused_are_said_again_later() {
    let mut w = World::linked(10, 20);
    w.arrive(1, "s@x", &["a@here"]);
    w.land(0, Outcome::Done, "");
    w.unacked.clear();
    w.step(Event::Unwritten);
    assert!(w.unacked.is_empty());
    let before = w.now;
    w.sleep();
    assert_eq!((w.now, w.unacked.len()), (before.plus_secs(5), 1));
    w.ack_all();
    w.clean_all();
    assert!(w.log.ends_with("end msg 1\n") && w.schedule.wake().is_none());
}

#[test]
fn a_letter_queued_has_lost_is_forgotten() {
    let mut w = World::linked(10, 20);
    w.arrive(1, "s@x", &["a@here", "b@far"]);
    w.land(0, Outcome::Done, "");
    w.unacked.clear();
    w.disk.clear();
    w.step(Event::Unlinked);
    w.step(Event::Listed);
    assert!(w.log.ends_with("end msg 1\n"));
    w.land(0, Outcome::Done, "");
    assert!(w.unacked.is_empty() && w.schedule.wake().is_none());
    w.step(Event::Exit);
    assert!(w.schedule.over(w.now));
}

#[test]
fn a_report_on_an_empty_slot_is_a_warning() {
    let mut w = World::linked(10, 20);
    for slot in [0, 10, u32::MAX] {
        let report = Report { slot, outcome: Some(Outcome::Done), text: b"" };
        w.step(Event::Report(Channel::Local, report));
    }
    assert_eq!(w.lines("warning: internal error: delivery report out of range"), 3);
}

#[test]
fn a_letter_qmail_clean_could_not_forget_is_tried_again() {
    let mut w = World::linked(10, 20);
    w.arrive(1, "s@x", &[]);
    let cleaning = w.cleaning.remove(0);
    w.step(Event::Cleaned(cleaning, false));
    assert!(w.log.ends_with("warning: qmail-clean unable to clean up foop/1\n"));
    w.sleep();
    assert_eq!(w.cleaning, [cleaning]);
}

#[test]
fn a_hundred_thousand_letters_pass_in_no_time() {
    let mut w = World::linked(120, 120);
    for id in 1..=100_000 {
        w.store(id, "s@x", &[&format!("u{}@here", id % 1000)]);
    }
    w.step(Event::Unlinked);
    for id in 1..=100_000 {
        w.tell(id);
    }
    w.step(Event::Listed);
    assert_eq!(w.schedule.lines[0].len(), 100_000 - 120);
    while !w.flying.is_empty() {
        w.land(w.flying.len() - 1, Outcome::Done, "");
        w.ack_all();
        w.clean_all();
    }
    assert!(w.disk.is_empty() && w.schedule.letters.is_empty());
}
