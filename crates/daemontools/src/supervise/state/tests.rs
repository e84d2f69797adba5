use super::Action::{Finish, KillFinish, Leave, Start, Tell, Write};
use super::*;
use base::service::NO_CODE;

const FINE: End = End { code: 0, signal: 0 };
const DOWN: Event = Event::Down(None);

fn at(millis: u64) -> Now {
    let secs = 1_700_000_000 + millis / 1000;
    Now { label: Label::new(secs, 500), ticks: Duration::from_millis(100_000 + millis) }
}

/// Runs events given with their milliseconds and returns the last actions.
fn play(state: State, events: &[(u64, Event)]) -> (State, Vec<Action>) {
    events
        .iter()
        .fold((state, Vec::new()), |(state, _), &(millis, event)| state.step(event, at(millis)))
}

fn started(pid: u32) -> Event {
    Event::Started { pid, tells: false }
}

fn up() -> State {
    play(State::new(false, at(0)), &[(0, Event::Begin), (0, started(7))]).0
}

/// Its process ends, and it has no `./finish`.
fn die(state: State, millis: u64) -> (State, Vec<Action>) {
    let (state, mut actions) = state.step(Event::Died(FINE), at(millis));
    assert_eq!(actions.pop(), Some(Finish(FINE)));
    let (state, more) = state.step(Event::Finished(None), at(millis));
    actions.extend(more);
    (state, actions)
}

fn signal(signal: Signal) -> Action {
    Action::Signal(signal)
}

#[test]
fn it_starts_at_once_unless_a_down_file_says_no() {
    assert_eq!(State::new(false, at(0)).step(Event::Begin, at(0)).1, [Start]);
    assert_eq!(State::new(true, at(0)).step(Event::Begin, at(0)).1, []);
}

#[test]
fn who_lived_longer_than_a_second_is_back_at_once() {
    assert_eq!(die(up(), 1000).1, [Write, Start]);
}

#[test]
fn who_died_at_once_is_back_a_second_after_its_start_and_no_sooner() {
    let (state, actions) = die(up(), 10);
    assert_eq!(actions, [Write]);
    assert_eq!(state.wake(), Some(at(1000).ticks));
    let tick = Event::Tick { changed: false };
    assert_eq!(state.clone().step(tick, at(999)).1, []);
    assert_eq!(state.step(tick, at(1000)).1, [Start]);
}

#[test]
fn who_dies_at_once_ten_times_in_a_row_is_started_every_five_seconds_and_said_so_once() {
    let (mut state, mut said, mut starts) = (up(), 0, vec![]);
    for second in 0..40 {
        let millis = second * 1000;
        if state.pid().is_some() {
            starts.push(second);
            let (next, actions) = die(state, millis + 1);
            said += actions.iter().filter(|act| matches!(act, Tell(News::Slow(_)))).count();
            state = next;
        }
        let (next, actions) = state.step(Event::Tick { changed: false }, at(millis + 1000));
        state = if actions == [Start] { next.step(started(7), at(millis + 1000)).0 } else { next };
    }
    assert_eq!((said, starts), (1, vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 19, 24, 29, 34, 39]));
}

#[test]
fn a_slow_one_is_started_when_its_run_has_changed_or_somebody_says_up() {
    let slow = (0..10).fold(up(), |state, second| {
        let (state, _) = die(state, second * 1000 + 1);
        if second == 9 { state } else { state.step(started(7), at(second * 1000 + 1000)).0 }
    });
    let (state, actions) = slow.clone().step(Event::Tick { changed: true }, at(10_100));
    assert_eq!((actions, state.quick), (vec![Start], 0));
    assert_eq!(slow.clone().step(Event::Tick { changed: false }, at(10_100)).1, []);
    let (state, actions) = slow.step(Event::Command(b'u'), at(10_200));
    assert_eq!((actions, state.quick), (vec![Write, Start], 0));
}

#[test]
fn commands_are_heard_while_a_restart_is_due() {
    let (state, _) = die(up(), 10);
    let (state, actions) = state.step(DOWN, at(20));
    assert_eq!(actions, [Write]);
    assert_eq!((state.wake(), state.status().want), (None, Want::Down));
    let (state, actions) = state.step(Event::Command(b'u'), at(30));
    assert_eq!((actions, state.wake()), (vec![Write], Some(at(1000).ticks)));
    assert_eq!(state.step(Event::Command(b'x'), at(40)).1, [Write, Leave]);
}

#[test]
fn down_means_term_and_cont_and_ends_a_pause() {
    let (state, actions) = play(up(), &[(1, Event::Command(b'p'))]);
    assert_eq!(actions, [signal(Signal::Stop), Write]);
    assert!(state.status().paused);
    let (state, actions) = state.step(DOWN, at(2));
    assert_eq!(actions, [signal(Signal::Term), signal(Signal::Cont), Write]);
    assert!(!state.status().paused && state.wake().is_none());
    assert_eq!(die(state, 3000).1, [Write]);
}

#[test]
fn who_is_not_down_in_its_time_is_killed_and_a_second_order_gives_no_more_time() {
    let down = Event::Down(Some(Duration::from_millis(500)));
    let (state, _) = play(up(), &[(2000, down), (2400, down)]);
    assert_eq!(state.wake(), Some(at(2500).ticks));
    let tick = Event::Tick { changed: false };
    let (state, actions) = state.clone().step(tick, at(2500));
    assert_eq!(actions, [signal(Signal::Kill), Tell(News::Killed)]);
    assert_eq!((state.wake(), state.clone().step(tick, at(2600)).1), (None, vec![]));
    assert_eq!(die(state, 2600).1, [Write]);
    // "Up" takes the threat back.
    assert_eq!(play(up(), &[(2000, down), (2100, Event::Command(b'u'))]).0.wake(), None);
}

#[test]
fn once_is_not_started_again() {
    let (state, actions) = State::new(true, at(0)).step(Event::Command(b'o'), at(0));
    assert_eq!(actions, [Write, Start]);
    let (state, actions) = die(state.step(started(7), at(0)).0, 5000);
    assert_eq!((actions, state.status().want), (vec![Write], Want::Once));
}

#[test]
fn exit_waits_for_the_service_and_cannot_be_taken_back() {
    let (state, actions) = up().step(Event::Command(b'x'), at(1));
    assert_eq!(actions, [Write]);
    let (state, _) = state.step(Event::Command(b'u'), at(2));
    assert_eq!(die(state, 5000).1, [Write, Leave]);
}

#[test]
fn up_and_exit_on_a_down_service_runs_it_once() {
    let (state, actions) = State::new(true, at(0)).step(Event::Command(b'u'), at(0));
    assert_eq!(actions, [Write, Start]);
    let (_, actions) = play(state, &[(0, started(7)), (0, Event::Command(b'x'))]);
    assert_eq!(actions, [Write]);
}

#[test]
fn signals_go_to_a_process_only_and_write_nothing() {
    for (byte, sent) in [
        (b'h', Signal::Hup),
        (b'a', Signal::Alrm),
        (b'i', Signal::Int),
        (b't', Signal::Term),
        (b'k', Signal::Kill),
    ] {
        assert_eq!(up().step(Event::Command(byte), at(1)).1, [signal(sent)]);
        assert_eq!(State::new(true, at(0)).step(Event::Command(byte), at(1)).1, []);
    }
}

#[test]
fn nonsense_changes_nothing() {
    for byte in (0..=255).filter(|byte| !b"udopchaitkx".contains(byte)) {
        let (state, actions) = up().step(Event::Command(byte), at(1));
        assert_eq!((state, actions), (up(), vec![]), "{byte}");
    }
}

#[test]
fn a_pause_while_down_is_written_and_forgotten() {
    let (state, actions) = State::new(true, at(0)).step(Event::Command(b'p'), at(0));
    assert_eq!(actions, [Write]);
    assert!(!state.status().paused);
}

#[test]
fn a_fork_that_failed_is_tried_again_in_a_second() {
    let (state, _) = play(State::new(false, at(0)), &[(0, Event::Begin), (0, Event::NotStarted)]);
    assert_eq!(state.wake(), Some(at(1000).ticks));
}

#[test]
fn a_run_that_cannot_be_run_is_down_and_tried_again() {
    let (state, actions) = play(State::new(false, at(0)), &[(0, Event::Begin), (0, Event::NotRun)]);
    assert_eq!((actions, state.status().pid, state.wake()), (vec![], 0, Some(at(1000).ticks)));
    let (state, actions) = state.step(Event::Command(b'x'), at(10));
    assert_eq!((actions, state.starts), (vec![Write, Leave], 0));
}

#[test]
fn a_directory_that_is_gone_ends_supervise_when_its_service_has_ended() {
    let (state, actions) = die(up(), 2000);
    assert_eq!(actions, [Write, Start]);
    assert_eq!(state.step(Event::Removed, at(2000)).1, [Leave]);
}

#[test]
fn a_service_that_tells_is_ready_when_it_says_so_and_not_in_its_next_life() {
    let tells = Event::Started { pid: 7, tells: true };
    let (state, _) = play(State::new(false, at(0)), &[(0, Event::Begin), (0, tells)]);
    assert_eq!(state.facts(None).ready, Ready::NotYet);
    let (state, actions) = state.step(Event::Ready, at(3000));
    assert_eq!((actions, state.facts(None).ready), (vec![Write], Ready::Since(at(3000).label)));
    assert_eq!(state.clone().step(Event::Ready, at(3001)).1, []);
    let (state, _) = die(state, 4000);
    assert_eq!(state.facts(None).ready, Ready::Untold);
    let state = state.step(tells, at(4000)).0;
    assert_eq!((state.facts(None).ready, state.facts(None).starts), (Ready::NotYet, 2));
    assert_eq!(up().step(Event::Ready, at(1)).1, []);
}

#[test]
fn finish_runs_before_the_next_life_and_not_for_ever() {
    let end = End { code: NO_CODE, signal: 15 };
    let limit = Some(Duration::from_secs(5));
    let (state, actions) = up().step(Event::Died(end), at(2000));
    assert_eq!(actions, [Finish(end)]);
    let (state, actions) = state.step(Event::FinishStarted { pid: 8, limit }, at(2000));
    assert_eq!((actions, state.finish(), state.status().pid), (vec![Write], Some(8), 0));
    assert_eq!(state.clone().step(Event::Finished(Some(0)), at(3000)).1, [Write, Start]);
    assert_eq!(state.wake(), Some(at(7000).ticks));
    let (state, actions) = state.step(Event::Tick { changed: false }, at(7000));
    assert_eq!(actions, [KillFinish, Tell(News::FinishKilled)]);
    assert_eq!(state.step(Event::Finished(None), at(7000)).1, [Write, Start]);
}

#[test]
fn finish_can_say_never_again_and_an_order_is_stronger() {
    let finishing = Event::FinishStarted { pid: 8, limit: None };
    let (state, _) = play(up(), &[(2000, Event::Died(FINE)), (2000, finishing)]);
    let (state, actions) = state.step(Event::Finished(Some(125)), at(2500));
    assert_eq!(actions, [Tell(News::Failed), Write]);
    assert!(state.facts(None).failed && state.status().want == Want::Down);
    let (state, actions) = state.step(Event::Command(b'u'), at(9000));
    assert_eq!((actions, state.facts(None).failed), (vec![Write, Start], false));
}

#[test]
fn orders_given_while_finish_runs_are_carried_out_after_it() {
    let finishing = Event::FinishStarted { pid: 8, limit: None };
    let (state, _) = play(up(), &[(2000, Event::Died(FINE)), (2000, finishing)]);
    let after = |orders: &[Event]| {
        let state =
            orders.iter().fold(state.clone(), |state, &order| state.step(order, at(2100)).0);
        state.step(Event::Finished(Some(0)), at(2500)).1
    };
    assert_eq!(after(&[DOWN]), [Write]);
    assert_eq!(after(&[DOWN, Event::Command(b'o')]), [Write, Start]);
    assert_eq!(after(&[Event::Command(b'o'), DOWN]), [Write]);
    assert_eq!(after(&[Event::Command(b'x')]), [Write, Leave]);
}

#[test]
fn an_adopted_service_keeps_its_pid_its_age_and_what_was_wanted() {
    let old = Status { since: at(0).label, pid: 9, paused: true, want: Want::Down };
    let fresh = State::new(false, at(9000));
    let (state, actions) = fresh.clone().adopted(&old, Ready::NotYet).step(Event::Begin, at(9000));
    assert_eq!((state.status(), actions), (old, vec![]));
    assert_eq!(die(state, 9001).1, [Write]);
    let old = Status { want: Want::Up, ..old };
    assert_eq!(die(fresh.clone().adopted(&old, Ready::Untold), 9001).1, [Write, Start]);
    let state = fresh.finishing(8, &Status { pid: 0, ..old }, Some(at(9500).ticks));
    assert_eq!(state.clone().step(Event::Begin, at(9000)).1, []);
    assert_eq!((state.finish(), state.wake()), (Some(8), Some(at(9500).ticks)));
}

#[test]
fn what_was_counted_before_is_counted_on() {
    let mut old = up().facts(None);
    (old.starts, old.last) = (41, Some((FINE, at(0).label)));
    let state = State::new(true, at(0)).after(&old);
    let facts = play(state, &[(0, Event::Command(b'u')), (0, started(7))]).0.facts(None);
    assert_eq!((facts.starts, facts.last), (42, old.last));
}
