use super::*;

const NOW: Now = Now { moment: Moment::from_secs(1_795_355_199), pid: 77 };

/// Runs a letter through an environment and a command line on `mx.example.org`.
fn inject(
    variables: &[(&str, &str)],
    words: &[&str],
    letter: &[u8],
) -> Result<(String, String, Vec<String>), Fatal> {
    let control = Control::at("/nonexistent");
    let environment = |name: &str| {
        let hosts = ["QMAILDEFAULTHOST", "QMAILDEFAULTDOMAIN", "QMAILPLUSDOMAIN", "QMAILIDHOST"];
        let set = variables.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        set.or_else(|| hosts.contains(&name).then_some("mx.example.org")).map(Into::into)
    };
    let site = Site::read(&control, &environment)?;
    let who = Who::read(&site, &environment);
    let words = std::iter::once("qmail-inject").chain(words.iter().copied());
    let options = Options::parse(&words.map(OsString::from).collect::<Vec<_>>()).unwrap();
    let mut head = Head::new(10_000);
    head.feed(letter).unwrap();
    let prepared = prepare(&options, &site, &who, &[], &head.finish().0, &NOW)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let recipients = text0::fields(&prepared.recipients).unwrap().map(text).collect();
    Ok((text(prepared.sender.as_bytes()), text(&prepared.header), recipients))
}

const JOE: (&str, &str) = ("USER", "joe");

#[test]
fn a_letter_gets_what_it_lacks() {
    let (sender, header, recipients) = inject(&[JOE], &[], b"to: me\n\nhi\n").unwrap();
    assert_eq!(sender, "joe@mx.example.org");
    assert_eq!(recipients, ["me@mx.example.org"]);
    assert_eq!(
        header,
        "Date: 22 Nov 2026 13:46:39 -0000\n\
         Message-ID: <20261122134639.77.qmail@mx.example.org>\n\
         From: joe@mx.example.org\n\
         to: me@mx.example.org\n"
    );
}

#[test]
fn arguments_silence_the_header_unless_both_are_wanted() {
    let letter = b"To: a, b\nCc: c\n\n";
    let recipients = |words: &[&str]| inject(&[JOE], words, letter).unwrap().2.join(" ");
    let host = |names: &str| names.replace(' ', "@mx.example.org ") + "@mx.example.org";
    assert_eq!(recipients(&[]), host("b a c"));
    assert_eq!(recipients(&["x", "y"]), host("x y"));
    assert_eq!(recipients(&["-a", "x"]), host("x"));
    assert_eq!(recipients(&["-h", "x"]), host("b a c"));
    assert_eq!(recipients(&["-H", "x"]), host("x b a c"));
}

#[test]
fn the_sender_is_said_on_the_command_line_then_in_return_path_then_by_the_environment() {
    let letter = b"Return-Path: <path@x.org>\nTo: a\n\n";
    let sender = |vars: &[(&str, &str)], words: &[&str], letter: &[u8]| {
        inject(vars, words, letter).unwrap().0
    };
    let s = ("QMAILINJECT", "s");
    assert_eq!(sender(&[JOE], &["-fann"], letter), "ann@mx.example.org");
    assert_eq!(sender(&[JOE], &["-f", ""], letter), "");
    assert_eq!(sender(&[JOE], &[], letter), "path@x.org");
    assert_eq!(sender(&[JOE, s], &[], letter), "joe@mx.example.org");
    let other = [JOE, ("QMAILSUSER", "su"), ("QMAILSHOST", "sh")];
    assert_eq!(sender(&other, &[], b"To: a\n"), "su@sh.mx.example.org");
    assert_eq!(sender(&[], &[], b"To: a\n"), "anonymous@mx.example.org");
}

#[test]
fn verp_marks_the_sender() {
    let sender = |letters, words: &[&str], letter: &[u8]| {
        inject(&[JOE, ("QMAILINJECT", letters)], words, letter).unwrap().0
    };
    assert_eq!(sender("m", &[], b"To: a\n"), "joe-1795355199.77@mx.example.org");
    assert_eq!(sender("r", &[], b"To: a\n"), "joe-@mx.example.org-@[]");
    assert_eq!(sender("rm", &[], b"To: a\n"), "joe-1795355199.77-@mx.example.org-@[]");
    assert_eq!(sender("r", &[], b"Return-Path: l@x.org\nTo: a\n"), "l@x.org-@[]");
    assert_eq!(sender("r", &["-fs@x.org"], b"To: a\n"), "s@x.org");
}

#[test]
fn the_writers_name_and_host_come_from_the_environment() {
    let vars = [JOE, ("MAILHOST", "h"), ("MAILNAME", "J. Doe"), ("MAILUSER", "jd")];
    let (sender, header, _) = inject(&vars, &["x"], b"").unwrap();
    assert_eq!(sender, "jd@h.mx.example.org");
    assert!(header.contains("\nFrom: \"J. Doe\" <jd@h.mx.example.org>\n"), "{header}");
    assert!(header.ends_with("\nCc: recipient list not shown: ;\n"), "{header}");
}

#[test]
fn what_cannot_be_sent_is_refused_in_so_many_words() {
    let fatal = |words: &[&str], letter: &[u8]| {
        let fatal = inject(&[JOE], words, letter).unwrap_err();
        (fatal.code, String::from_utf8(fatal.text).unwrap())
    };
    let line = "unable to parse this line:\nFrom: (x";
    assert_eq!(fatal(&["a"], b"From: (x\n"), (100, line.into()));
    assert_eq!(fatal(&[], b"To: x:\n"), (100, "unable to parse this line:\nTo: x:".into()));
    assert_eq!(fatal(&["a@[1"], b""), (100, "unable to parse address: a@[1".into()));
    assert_eq!(fatal(&[], b"").0, 100);
    let long = format!("{}@x", "a".repeat(1002));
    let text = "envelope address too long for qq (#5.1.3)";
    assert_eq!(fatal(&[&long], b""), (100, text.into()));
    assert!(inject(&[JOE], &["a"], b"To: x:\n").is_ok());
    assert!(inject(&[JOE], &["-n"], b"").is_ok());
}
