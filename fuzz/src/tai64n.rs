//! Time zones as tai64nlocal reads them.

#[allow(dead_code, reason = "only what its neighbours need is called")]
#[path = "../../crates/daemontools/src/tai64n/civil.rs"]
pub(crate) mod civil;
#[allow(dead_code, reason = "only what its neighbours need is called")]
#[path = "../../crates/daemontools/src/tai64n/local.rs"]
pub(crate) mod local;
#[allow(dead_code, reason = "only what its neighbours need is called")]
#[path = "../../crates/daemontools/src/tai64n/rule.rs"]
pub(crate) mod rule;
#[allow(dead_code, reason = "only what its neighbours need is called")]
#[path = "../../crates/daemontools/src/tai64n/zone.rs"]
pub(crate) mod zone;

/// Lines with labels, in the zone that a `$TZ` names.
pub(crate) fn local_lines(tz: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
    let mut local = local::Local::new(zone::Zone::of_this_machine(Some(tz)));
    let mut out = Vec::new();
    pieces.iter().for_each(|piece| local.feed(piece, &mut out));
    out
}

/// The offset of a POSIX rule.
pub(crate) fn rule_offset(rule: &[u8], unix: i64) -> Option<i64> {
    rule::Rule::parse(rule).map(|rule| rule.offset(unix))
}
