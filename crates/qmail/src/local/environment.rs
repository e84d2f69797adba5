//! What a delivery tells programs, and the lines it writes on top (dot-qmail(5)).

use base::address::quote2;
use base::time::Moment;
use letter::mbox::from_line;

use super::Job;

/// The lines that may stand on top of a delivered letter, each with its LF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    /// `Delivered-To: local@domain`
    pub(super) delivered_to: Vec<u8>,
    /// `Return-Path: <sender>`
    pub(super) return_path: Vec<u8>,
    /// `From sender date`
    pub(super) from: Vec<u8>,
}

impl Lines {
    /// The lines of a delivery made `now`.
    pub(super) fn of(job: &Job, now: Moment) -> Self {
        let one_line = |head: &str, mut text: Vec<u8>, tail: &str| {
            replace(&mut text, b"\n", b'_');
            [head.as_bytes(), &text, tail.as_bytes()].concat()
        };
        Self {
            delivered_to: one_line("Delivered-To: ", job.recipient(), "\n"),
            return_path: one_line("Return-Path: <", quote2(&job.sender), ">\n"),
            from: from_line(&job.sender, now),
        }
    }

    /// What stands on top of a file delivery: the trace in the order of RFC 5321 §4.4.
    pub(super) fn head(&self) -> Vec<u8> {
        [&self.return_path[..], &self.delivered_to].concat()
    }
}

fn replace(text: &mut [u8], these: &[u8], by: u8) {
    for c in text {
        if these.contains(c) {
            *c = by;
        }
    }
}

/// The variables a program gets, beside what is inherited.
pub(super) fn variables(
    job: &Job,
    lines: &Lines,
    newsender: &[u8],
    default: Option<&[u8]>,
) -> Vec<(&'static str, Vec<u8>)> {
    let mut variables = vec![
        ("SENDER", job.sender.clone()),
        ("NEWSENDER", newsender.to_vec()),
        ("RECIPIENT", job.recipient()),
        ("USER", job.user.clone()),
        ("HOME", job.home.clone()),
        ("LOCAL", job.local.clone()),
        ("HOST", job.domain.clone()),
        ("EXT", job.ext.clone()),
        ("DTLINE", lines.delivered_to.clone()),
        ("RPLINE", lines.return_path.clone()),
        ("UFLINE", lines.from.clone()),
    ];
    let (mut host, mut ext) = (&job.domain[..], &job.ext[..]);
    for (host_name, ext_name) in [("HOST2", "EXT2"), ("HOST3", "EXT3"), ("HOST4", "EXT4")] {
        host = without_last(host);
        ext = behind_first(ext);
        variables.push((host_name, host.to_vec()));
        variables.push((ext_name, ext.to_vec()));
    }
    variables.extend(default.map(|default| ("DEFAULT", default.to_vec())));
    variables
}

/// Up to the last dot; all of it if there is none.
fn without_last(host: &[u8]) -> &[u8] {
    let dot = host.iter().rposition(|&c| c == b'.');
    dot.and_then(|dot| host.get(..dot)).unwrap_or(host)
}

/// Behind the first `-`; nothing if there is none.
fn behind_first(ext: &[u8]) -> &[u8] {
    let dash = ext.iter().position(|&c| c == b'-');
    dash.and_then(|dash| ext.get(dash.saturating_add(1)..)).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn job() -> Job {
        Job {
            user: b"tuser".to_vec(),
            home: b"/home/tuser".to_vec(),
            local: b"tuser-virt-A.B-C%d".to_vec(),
            dash: b"-".to_vec(),
            ext: b"virt-A.B-C%d".to_vec(),
            domain: b"virt.org".to_vec(),
            sender: b"a b@x".to_vec(),
            default: b"./Mailbox".to_vec(),
            queued: None,
            dry: false,
        }
    }

    #[test]
    fn programs_are_told_what_stock_tells_them() {
        let job = job();
        let lines = Lines::of(&job, Moment::from_secs(1_795_355_199));
        let all = variables(&job, &lines, b"new@x", Some(b"A.B-C%d"));
        let get = |name: &str| {
            let value = all.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_slice());
            String::from_utf8(value.unwrap().to_vec()).unwrap()
        };
        let want = [
            ("LOCAL", "tuser-virt-A.B-C%d"),
            ("EXT", "virt-A.B-C%d"),
            ("EXT2", "A.B-C%d"),
            ("EXT3", "C%d"),
            ("EXT4", ""),
            ("DEFAULT", "A.B-C%d"),
            ("HOST2", "virt"),
            ("HOST3", "virt"),
            ("RECIPIENT", "tuser-virt-A.B-C%d@virt.org"),
            ("DTLINE", "Delivered-To: tuser-virt-A.B-C%d@virt.org\n"),
            ("RPLINE", "Return-Path: <\"a b\"@x>\n"),
            ("UFLINE", "From a-b@x Sun Nov 22 13:46:39 2026\n"),
        ];
        for (name, value) in want {
            assert_eq!(get(name), value, "{name}");
        }
    }

    #[test]
    fn no_address_can_make_a_line_of_its_own() {
        let mut it = job();
        it.domain = b"x\nBcc: y".to_vec();
        it.sender = Vec::new();
        let lines = Lines::of(&it, Moment::default());
        assert!(lines.delivered_to.ends_with(b"@x_Bcc: y\n"));
        assert_eq!(lines.return_path, b"Return-Path: <>\n");
        assert!(lines.from.starts_with(b"From MAILER-DAEMON Thu Jan 01 "));
    }
}
