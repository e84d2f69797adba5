use std::os::unix::fs::PermissionsExt;

use super::*;
use yard::{Kept, Yard};

fn home(label: &str, files: &[(&str, &str)]) -> Kept<Home> {
    let root = Yard::new(&format!("showctl-{label}"));
    for dir in ["control", "users"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (file, text) in files {
        let path = root.join(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let home = Home::at(&root).unwrap();
    root.keep(home)
}

fn found(home: &Home) -> Vec<String> {
    let files = files::all(&home.path("control")).unwrap();
    let root = format!("{}/", home.root().display());
    troubles::all(home, &files).iter().map(|text| text.replace(&root, "")).collect()
}

#[test]
fn a_sound_home_has_no_troubles() {
    let home = home(
        "sound",
        &[("control/me", "mx.example.org\n"), ("control/rcpthosts", "example.org\n")],
    );
    assert_eq!(found(&home), [""; 0]);
}

#[test]
fn every_slip_is_named_with_its_file_and_line() {
    let home = home(
        "slips",
        &[
            ("control/locals", "ok.org\ndos.org\r\n blank.org\nboth.org"),
            ("control/virtualdomains", "Both.org:x\nno colon\na: b\nA:c\n"),
            ("control/databytes", "many\n"),
            ("control/queuelifetime", "7d\n"),
            ("control/helohost", "\n"),
            ("control/bouncehost", "# here\nthere\n"),
            ("control/morercpthosts", "x\n"),
            ("users/assign", "=joe:joe:1:1:/home/joe:::\n"),
        ],
    );
    let said = found(&home);
    for want in [
        "control/locals line 4 has no newline",
        "control/locals line 2 ends in a CR",
        "control/locals line 3 begins with a blank",
        "control/virtualdomains line 2 has no colon",
        "control/virtualdomains line 3 has a blank",
        "control/virtualdomains line 3 says nothing: line 4",
        "control/virtualdomains line 1: both.org is in control/locals too",
        "control/databytes line 1 is not a number",
        "control/queuelifetime line 1 has more than a number: it is read as 7",
        "control/helohost line 1 is empty",
        "control/bouncehost line 1 begins with #",
        "control/bouncehost line 2: only line 1 counts",
        "control/me is missing",
        "control/rcpthosts is missing",
        "control/morercpthosts.cdb is missing",
        "users/assign does not end in a line with a single dot",
        "users/cdb is missing",
    ] {
        assert_eq!(
            said.iter().filter(|text| text.starts_with(want)).count(),
            1,
            "{want}: {said:#?}"
        );
    }
    assert_eq!(said.len(), 17, "{said:#?}");
}

#[test]
fn what_programs_do_not_start_with_or_take_otherwise_is_named_each_alone() {
    let sound = [("control/me", "mx\n"), ("control/rcpthosts", "x\n")];
    for (at, (file, text, want)) in [
        ("priority", "x:foo", "line 1 says x:foo: write people, lists or bounces"),
        ("concurrencydestination", "a.b:x", "line 1 says a.b:x: write a number"),
        ("pauses", "foo:bar", "line 1 says foo:bar: write a time"),
        ("dnsservers", "nosuch", "line 1 is no address of a DNS server"),
        ("outgoingip", "300.1.1.1", "line 1 is no address"),
        ("me", "mail example.org", "line 1 is no host's name"),
        ("rcpthosts", "*.example.org", "line 1 has a *"),
        ("concurrencyremote", "9999", "line 1 is more than 500"),
        ("timeoutremote", "0", "line 1 is 0"),
        ("smtproutes", "x:bad host", "line 1: the relay has a blank"),
        ("checkpassword", "/no/such x", "line 1 names /no/such"),
    ]
    .into_iter()
    .enumerate()
    {
        let (path, text) = (format!("control/{file}"), format!("{text}\n"));
        let home = home(&format!("judged-{at}"), &[&sound[..], &[(&path, &text)]].concat());
        let said = found(&home);
        assert!(said.len() == 1 && said[0].contains(want), "{file}: {said:?}");
    }
    let home = home("judged", &[&sound[..], &[("control/databyte", "1\n")]].concat());
    let unknown = troubles::unknown(&files::all(&home.path("control")).unwrap());
    assert!(unknown.len() == 1 && unknown[0].contains("control/databyte is no setting"));
    assert_eq!(found(&home), [""; 0]);
}

#[test]
fn a_password_is_not_shown_and_is_not_for_everybody() {
    let routes = "a.org:relay:26|joe|x|y\nb.org:relay\n:c|joe|\n";
    let sound = [("control/me", "mx\n"), ("control/rcpthosts", "x\n")];
    let home = home("secret", &[&sound[..], &[("control/smtproutes", routes)]].concat());
    let shown =
        String::from_utf8(page(&home, &files::all(&home.path("control")).unwrap())).unwrap();
    let want = "SMTP route: a.org:relay:26|joe|***\nSMTP route: b.org:relay\nSMTP route: :c|joe|\n";
    assert!(shown.contains(want), "{shown}");
    let said = found(&home);
    assert!(
        said.len() == 1 && said[0].starts_with("control/smtproutes holds a password"),
        "{said:?}"
    );
    let mode = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(home.path("control/smtproutes"), mode).unwrap();
    assert_eq!(found(&home), [""; 0]);
}

#[test]
fn every_file_that_the_manual_names_is_known() {
    let manual = include_str!("../../../../man/qmail-control.5");
    let items = manual.lines().filter_map(|line| line.strip_prefix(".It Pa "));
    let names = items.flat_map(|item| item.split(" Pq ").next().unwrap_or(item).split(" , "));
    let names: Vec<&str> = names.map(str::trim).collect();
    assert!(names.len() > 25, "{names:?}");
    for known in names {
        assert!(table::entry(known.as_bytes()).is_some(), "{known} is missing in showctl::table");
    }
}
