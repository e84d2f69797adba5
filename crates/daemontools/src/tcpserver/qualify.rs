//! How the name of a host, as somebody typed it, is made longer before DNS is asked.
//!
//! Rules come from `$DNSREWRITEFILE` or `/etc/dnsrewrite`; else they are made of `$LOCALDOMAIN`, of the
//! `search` or `domain` line of `/etc/resolv.conf`, or of this host's own name.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Names that are tried for one.
const CANDIDATES: usize = 16;
/// How long a name may become on the way.
const LONGEST: usize = 4_096;
/// Lines of rules.
const RULES: usize = 1_000;

/// The rules, in order, each as a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Qualifying(Vec<Vec<u8>>);

impl Qualifying {
    /// Those of this host now; `file` reads a file, empty if there is none.
    pub(super) fn of_this_host(file: &dyn Fn(&str) -> Vec<u8>) -> Self {
        let variable = |name: &str| std::env::var_os(name).map(OsStringExt::into_vec);
        let path = variable("DNSREWRITEFILE").unwrap_or_else(|| b"/etc/dnsrewrite".to_vec());
        let path = OsString::from_vec(path);
        let rules = path.to_str().map(file).unwrap_or_default();
        if !rules.is_empty() {
            return Self::written(&rules);
        }
        match variable("LOCALDOMAIN").or_else(|| searched(&file("/etc/resolv.conf"))) {
            Some(domains) => Self::domains(&domains),
            None => Self::host(file("/proc/sys/kernel/hostname").trim_ascii()),
        }
    }

    /// A file of rules.
    fn written(file: &[u8]) -> Self {
        Self(file.split(|&byte| byte == b'\n').take(RULES).map(<[u8]>::to_vec).collect())
    }

    /// A name without a dot is tried in each of these.
    fn domains(text: &[u8]) -> Self {
        let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let rule = words.fold(b"?:".to_vec(), |rule, word| [&rule, &b"+."[..], word].concat());
        Self(vec![rule, b"*.:".to_vec()])
    }

    /// A name without a dot is one of this host's domain.
    fn host(name: &[u8]) -> Self {
        let dot = name.iter().position(|&byte| byte == b'.').unwrap_or(name.len());
        let domain = name.get(dot..).unwrap_or_default();
        Self(vec![[b"?:", domain].concat(), b"*.:".to_vec()])
    }

    /// The names to ask for, in order.
    pub(super) fn candidates(&self, name: &[u8]) -> Vec<Vec<u8>> {
        let mut name = name.to_vec();
        for rule in &self.0 {
            apply(rule, &mut name);
            name.truncate(LONGEST);
        }
        let mut parts = name.split(|&byte| byte == b'+');
        let first = parts.next().unwrap_or_default();
        let longer: Vec<Vec<u8>> =
            parts.take(CANDIDATES).map(|part| [first, part].concat()).collect();
        if longer.is_empty() { vec![name] } else { longer }
    }
}

/// The words of the last `search` or `domain` line, if there is one.
fn searched(file: &[u8]) -> Option<Vec<u8>> {
    let lines = file.split(|&byte| byte == b'\n').rev();
    lines
        .filter_map(|line| {
            let rest = line.strip_prefix(b"search").or_else(|| line.strip_prefix(b"domain"))?;
            rest.first().filter(|byte| byte.is_ascii_whitespace()).map(|_| rest.to_vec())
        })
        .next()
}

/// One rule: `=x:y` makes x to y, `*x:y` the end x to y, `?x:y` the same if what stands before has no
/// dot and no bracket, `-x:y` all that ends in x to y. Anything else is none.
fn apply(rule: &[u8], name: &mut Vec<u8>) {
    let Some((kind, rest)) = rule.split_first() else { return };
    let Some(colon) = rest.iter().position(|&byte| byte == b':') else { return };
    let (old, new) = rest.split_at(colon);
    let Some(before) = name.len().checked_sub(old.len()) else { return };
    let (start, end) = name.split_at(before);
    if !end.eq_ignore_ascii_case(old) {
        return;
    }
    let keep = match kind {
        b'=' if before == 0 => 0,
        b'*' => before,
        b'?' if !start.iter().any(|byte| b".[]".contains(byte)) => before,
        b'-' => 0,
        _ => return,
    };
    name.truncate(keep);
    name.extend_from_slice(new.get(1..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(rules: &Qualifying, name: &str) -> Vec<String> {
        let names = rules.candidates(name.as_bytes());
        names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn a_name_without_a_dot_is_tried_in_each_domain_and_others_as_they_are() {
        let rules = Qualifying::domains(b"a.example  b.example\n");
        assert_eq!(tried(&rules, "mail"), ["mail.a.example", "mail.b.example"]);
        assert_eq!(tried(&rules, "mail.org"), ["mail.org"]);
        assert_eq!(tried(&rules, "mail.org."), ["mail.org"]);
        assert_eq!(tried(&rules, "mail."), ["mail"]);
    }

    #[test]
    fn this_hosts_domain_is_the_last_resort() {
        assert_eq!(tried(&Qualifying::host(b"me.dom.example"), "mail"), ["mail.dom.example"]);
        assert_eq!(tried(&Qualifying::host(b"me"), "mail"), ["mail"]);
    }

    #[test]
    fn rules_are_applied_one_after_the_other() {
        let rules = b"# no rule\n=here:127.0.0.1\n*.cheap:.af.mil\n?:.heaven.af.mil\n-.local:me.local\nodd\n";
        let rules = Qualifying::written(rules);
        assert_eq!(tried(&rules, "HERE"), ["127.0.0.1"]);
        assert_eq!(tried(&rules, "aol.cheap"), ["aol.af.mil"]);
        assert_eq!(tried(&rules, "lima"), ["lima.heaven.af.mil"]);
        assert_eq!(tried(&rules, "any.local"), ["me.local"]);
        assert_eq!(tried(&rules, "[x]"), ["[x]"]);
    }

    #[test]
    fn the_last_line_of_domains_counts() {
        let file = b"domain a.example\nnameserver ::1\nsearch b.example c\nsearchers x\n";
        assert_eq!(searched(file), Some(b" b.example c".to_vec()));
        assert_eq!(searched(b"nameserver ::1\n"), None);
    }
}
