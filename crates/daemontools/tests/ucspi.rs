//! The programs around a connection: the client, the filters, the lists of DNS, what rules say.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
mod stage;

use stage::{Said, Stage};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

const BINARY: &str = env!("CARGO_BIN_EXE_daemontools");

/// One of our programs, in the stage's directory.
fn command(stage: &Stage, words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(words).current_dir(&stage.dir).stdin(Stdio::null());
    command
}

/// What it says.
fn run(stage: &Stage, words: &[&str]) -> Said {
    command(stage, words).output().unwrap().into()
}

/// What a program says that gets this on descriptor 0.
fn feed(command: &mut Command, input: &[u8]) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that does not read it all must not stop the test.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let said = child.wait_with_output().unwrap().into();
    writer.join().unwrap();
    said
}

/// A server for one client: says `text`, hears so many lines, says no more, and gives back all it
/// heard to the client's end.
fn server(address: &str, text: &'static str, lines: usize) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let (mut conn, _) = listener.accept().unwrap();
        conn.set_read_timeout(Some(stage::LONG)).unwrap();
        conn.write_all(text.as_bytes()).unwrap();
        let mut heard = Vec::new();
        let mut buf = [0; 512];
        let count = |heard: &[u8]| heard.iter().filter(|byte| **byte == b'\n').count();
        while count(&heard) < lines
            && let Ok(got @ 1..) = conn.read(&mut buf)
        {
            heard.extend_from_slice(&buf[..got]);
        }
        conn.shutdown(Shutdown::Write).unwrap();
        // A client may be gone by now.
        let _ = conn.read_to_end(&mut heard);
        String::from_utf8(heard).unwrap()
    };
    (port, std::thread::spawn(serve))
}

#[test]
fn filters_change_line_ends_and_end_with_0() {
    let stage = Stage::new("filters");
    let said = feed(&mut command(&stage, &["addcr"]), b"a\nb\r\npart");
    assert_eq!((said.code, said.out.as_str()), (Some(0), "a\r\nb\r\r\npart"));
    let said = feed(&mut command(&stage, &["delcr"]), b"a\r\nb\r\r\nc\rd\r");
    assert_eq!((said.code, said.out.as_str()), (Some(0), "a\nb\r\nc\rd\r"));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = command(&stage, &["addcr"]).stdin(Stdio::piped()).stdout(full).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"x\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(111));
}

#[test]
fn argv0_runs_a_program_under_another_name() {
    let stage = Stage::new("argv0");
    let said = run(&stage, &["argv0", "sh", "zero", "-c", "echo $0"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "zero\n"));
    for words in [&["argv0"][..], &["argv0", "sh"]] {
        let said = run(&stage, words);
        let usage = "argv0: usage: argv0 realname program [ arg ... ]\n";
        assert_eq!((said.code, said.err.as_str()), (Some(100), usage));
    }
    let said = run(&stage, &["argv0", "./nope", "x"]);
    let text = "argv0: fatal: unable to run ./nope: file does not exist\n";
    assert_eq!((said.code, said.err.as_str()), (Some(111), text));
}

#[test]
fn recordio_shows_what_passes_and_ends_as_the_program_does() {
    let stage = Stage::new("recordio");
    let script = "read -r line; echo \"$line bye\"; printf part; exit 7";
    let said = feed(&mut command(&stage, &["recordio", "sh", "-c", script]), b"in\n");
    assert_eq!((said.code, said.out.as_str()), (Some(7), "in bye\npart"));
    let (pid, _) = said.err.split_once(' ').unwrap();
    let mut lines: Vec<&str> = said.err.lines().collect();
    assert!(lines.iter().all(|line| line.starts_with(pid)));
    lines.sort_unstable();
    let want = ["< [EOF]", "< in ", "> [EOF]", "> in bye ", "> part+"];
    // The two directions do not wait for each other, so their lines come in any order.
    assert_eq!(lines, want.map(|line| format!("{pid} {line}")));
    let long = [b'x'; 600];
    let said = feed(&mut command(&stage, &["recordio", "cat"]), &long);
    assert_eq!(
        said.err.lines().filter(|line| line.contains(" > x") && line.ends_with("x+")).count(),
        3
    );
    assert_eq!(said.out.len(), 600);
    let said = run(&stage, &["recordio"]);
    let usage = "recordio: usage: recordio program [ arg ... ]\n";
    assert_eq!((said.code, said.err.as_str()), (Some(100), usage));
    let said = run(&stage, &["recordio", "./nope"]);
    assert!(said.err.contains("recordio: fatal: unable to run ./nope: file does not exist\n"));
    assert_eq!(said.code, Some(111));
}

#[test]
fn fixcrio_puts_in_what_is_missing_both_ways_even_if_nobody_reads_for_long() {
    let stage = Stage::new("fixcrio");
    let script = "cat -v; printf 'a\\nb\\r\\n'; exit 3";
    let said = feed(&mut command(&stage, &["fixcrio", "sh", "-c", script]), b"x\ny\r\n");
    assert_eq!((said.code, said.out.as_str()), (Some(3), "x^M\r\ny^M\r\na\r\nb\r\n"));
    // Neither side reads until it has written more than pipes hold.
    let much = b"line\n".repeat(200_000);
    let script = "head -c 500000 /dev/zero | tr '\\0' y; cat > /dev/null; echo end";
    let said = feed(&mut command(&stage, &["fixcrio", "sh", "-c", script]), &much);
    assert!(said.out.ends_with("yend\r\n") && said.out.len() == 500_005);
    assert_eq!(run(&stage, &["fixcrio"]).err, "fixcrio: usage: fixcrio program [ arg ... ]\n");
}

#[test]
fn a_client_has_its_connection_on_6_and_7_and_knows_its_ends() {
    let stage = Stage::new("tcpclient");
    for (address, proto) in [("127.0.0.1", "TCP"), ("::1", "TCP6")] {
        let (port, heard) = server(address, "", 1);
        let script = "echo hi >&7; env | grep -a '^TCP\\|^PROTO' | sort";
        let mut client = command(&stage, &["tcpclient", "-vRHl", "me", address, &port.to_string()]);
        client.args(["sh", "-c", script]).env("TCPREMOTEHOST", "old").env("TCP6REMOTEIP", "old");
        let said: Said = client.output().unwrap().into();
        assert_eq!(heard.join().unwrap(), "hi\n");
        assert_eq!(said.err, format!("tcpclient: connected to {address} port {port}\n"));
        assert!(said.out.starts_with(&format!("PROTO={proto}\n")), "{}", said.out);
        for line in [
            format!("TCPREMOTEPORT={port}"),
            format!("TCPREMOTEIP={address}"),
            "TCPLOCALHOST=me".to_owned(),
        ] {
            assert!(said.out.lines().any(|each| each == line), "{line} in {}", said.out);
        }
        assert!(!said.out.contains("old") && said.out.contains("TCP6") == (proto == "TCP6"));
    }
    let (port, heard) = server("127.0.0.1", "hello\n", 0);
    let said = run(
        &stage,
        &["tcpclient", "-RHl0", "0", &port.to_string(), "sh", "-c", "read -r l <&6; echo $l"],
    );
    assert_eq!((said.code, said.out.as_str()), (Some(0), "hello\n"));
    assert_eq!(heard.join().unwrap(), "");
}

#[test]
fn a_connection_that_fails_is_told_with_its_address() {
    let stage = Stage::new("refused");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let said = run(&stage, &["tcpclient", "-RHl0", "127.0.0.1", &port, "true"]);
    let text =
        format!("tcpclient: unable to connect to 127.0.0.1 port {port}: connection refused\n");
    assert_eq!((said.code, said.err), (Some(111), text));
    let said = run(&stage, &["tcpclient", "-qRHl0", "127.0.0.1", &port, "true"]);
    assert_eq!((said.code, said.err.as_str()), (Some(111), ""));
    let said = run(&stage, &["tcpclient", "127.1", "25", "true"]);
    assert_eq!(said.err, "tcpclient: fatal: no IP address for 127.1\n");
    let said = run(&stage, &["tcpclient", "0", "no-such-service", "true"]);
    let text = "tcpclient: fatal: unable to figure out port number for no-such-service\n";
    assert_eq!((said.code, said.err.as_str()), (Some(111), text));
    let said = run(&stage, &["tcpclient", "-i", "name", "0", "25", "true"]);
    let usage = "tcpclient: usage: tcpclient [ -hHrRdDqQv ] [ -i localip ] [ -p localport ] \
        [ -T timeoutconn ] [ -l localname ] [ -t timeoutinfo ] host port program\n";
    assert_eq!((said.code, said.err.as_str()), (Some(100), usage));
}

#[test]
fn mconnect_adds_crs_and_ends_with_the_server() {
    let stage = Stage::new("mconnect");
    let (port, heard) = server("127.0.0.1", "220 hello\r\n", 2);
    let said = feed(&mut command(&stage, &["mconnect", "0", &port.to_string()]), b"EHLO x\nQUIT\n");
    assert_eq!((said.code, said.out.as_str()), (Some(0), "220 hello\r\n"));
    assert_eq!(heard.join().unwrap(), "EHLO x\r\nQUIT\r\n");
    let (port, heard) = server("127.0.0.1", "220 hello\r\n", 1);
    let words = ["tcpclient", "-RHl0", "0", &port.to_string(), BINARY, "mconnect-io"];
    let said = feed(&mut command(&stage, &words), b"NOOP\n");
    assert_eq!(said.out, "220 hello\r\n");
    assert_eq!(heard.join().unwrap(), "NOOP\r\n");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    assert_eq!(run(&stage, &["mconnect", "0", &closed]).code, Some(111));
}

#[test]
fn small_questions_are_asked_and_answers_shown() {
    let stage = Stage::new("questions");
    let page = "HTTP/1.0 200 OK\r\nA: b\r\n\r\nbody\r\n\r\nlast";
    let (port, heard) = server("127.0.0.1", page, 3);
    let said = run(&stage, &["http@", "127.0.0.1", "a/page", &port.to_string()]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "body\n\nlast\n"));
    let question = format!("GET /a/page HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    assert_eq!(heard.join().unwrap(), question);
    let (port, heard) = server("127.0.0.1", "quote\r\n\u{1b}[1m", 0);
    let said = run(&stage, &["tcpcat", "127.0.0.1", &port.to_string()]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "quote\r\n\u{1b}[1m"));
    heard.join().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    assert_eq!(run(&stage, &["tcpcat", "127.0.0.1", &closed]).code, Some(111));
    assert_eq!(run(&stage, &["http@", "127.0.0.1", "", &closed]).code, Some(0));
}

/// A DNS server that knows these names' texts, says that `broken` is broken and every other name is
/// not there. Where it listens, for `$DNSCACHEIP`.
fn dns(texts: &'static [(&'static str, &'static str)]) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut buf = [0; 512];
        while let Ok((got, from)) = socket.recv_from(&mut buf) {
            let mut answer = buf[..got].to_vec();
            let mut name = String::new();
            let mut at = 12;
            while answer[at] != 0 {
                let end = at + 1 + usize::from(answer[at]);
                name += std::str::from_utf8(&answer[at + 1..end]).unwrap();
                name.push('.');
                at = end;
            }
            let kind = answer[at + 2];
            let found = texts.iter().find(|(each, _)| *each == name);
            (answer[2], answer[3]) = (0x81, 0x80);
            match found {
                _ if name.contains("broken") => answer[3] |= 2,
                None => answer[3] |= 3,
                Some((_, text)) => {
                    let text = [&[text.len() as u8][..], text.as_bytes()].concat();
                    let data = if kind == 16 { text } else { vec![127, 0, 0, 2] };
                    answer[7] = 1;
                    answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
                    answer.extend(data);
                }
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
    address
}

#[test]
fn who_is_listed_is_refused_in_the_lists_words() {
    let stage = Stage::new("rblsmtpd");
    let dns = dns(&[
        ("1.2.0.192.rbl.example.", "Go\u{1} away"),
        ("1.2.0.192.good.example.", "yes"),
        ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.rbl.example.", "six"),
    ]);
    let ask = |options: &str, ip: &str, input: &[u8]| {
        let words: Vec<&str> = ["rblsmtpd"].into_iter().chain(options.split_whitespace()).collect();
        let mut command = command(&stage, &words);
        command.args(["echo", "server"]).env("TCPREMOTEIP", ip).env("DNSCACHEIP", &dns);
        let mut said = feed(&mut command, input);
        if let Some((before, after)) = said.err.split_once(" pid ") {
            said.err = format!("{before} {}", after.split_once(": ").unwrap().1);
        }
        assert_eq!(said.code, Some(0));
        (said.out, said.err)
    };
    let server = ("server\n".to_owned(), String::new());
    assert_eq!(ask("-r rbl.example", "192.0.2.2", b""), server);
    assert_eq!(ask("-a good.example -r rbl.example", "192.0.2.1", b""), server);
    assert_eq!(ask("-r broken.example", "192.0.2.1", b""), server);
    let (out, err) =
        ask("-r rbl.example", "192.0.2.1", b"EHLO x\r\nRCPT TO:<a>\r\nQUIT\r\nNOOP\r\n");
    let hello =
        "220 rblsmtpd.local\r\n250 rblsmtpd.local\r\n451 Go? away\r\n221 rblsmtpd.local\r\n";
    assert_eq!((out.as_str(), err.as_str()), (hello, "rblsmtpd: 192.0.2.1 451 Go? away\n"));
    assert_eq!(ask("-t 0 -b -r rbl.example", "192.0.2.1", b"").0, "553 Go? away\r\n");
    assert_eq!(
        ask("-t0 -b -r broken.example -r rbl.example", "192.0.2.1", b"").0,
        "451 Go? away\r\n"
    );
    let closed = "451 temporary RBL lookup error\r\n";
    assert_eq!(ask("-t0 -c -b -r broken.example", "192.0.2.1", b"").0, closed);
    assert_eq!(ask("-t0 -r rbl.example", "2001:db8::1", b"").0, "451 six\r\n");
}

#[test]
fn what_a_list_says_can_be_left_to_the_server_and_a_greeting_can_be_late() {
    let stage = Stage::new("rblsmtpd-judge");
    let dns = dns(&[("1.2.0.192.rbl.example.", "Go\u{1} away")]);
    let run = |options: &str, ip: &str, more: &[(&str, &str)]| {
        let words: Vec<&str> = ["rblsmtpd"].into_iter().chain(options.split_whitespace()).collect();
        let mut command = command(&stage, &words);
        command.args(["sh", "-c", "echo \"got ${RBLSMTPD-nothing}\""]).env("TCPREMOTEIP", ip);
        let begun = std::time::Instant::now();
        let said: Said =
            command.env("DNSCACHEIP", &dns).envs(more.to_vec()).output().unwrap().into();
        let log = said.err.split_once(": ").and_then(|(_, rest)| rest.split_once(": "));
        let log = log.map(|(_, text)| text.trim_end().to_owned()).unwrap_or_default();
        assert_eq!(said.code, Some(0));
        (said.out.trim_end().to_owned(), log, begun.elapsed().as_secs() >= 1)
    };
    let said = |out: &str, log: &str, late: bool| (out.to_owned(), log.to_owned(), late);
    let info = "[RBL info] Go? away";
    let reported = run("-i -b -r rbl.example", "192.0.2.1", &[]);
    assert_eq!((reported.0.as_str(), reported.1.as_str()), (&*format!("got {info}"), info));
    assert_eq!(run("-i -r rbl.example", "192.0.2.2", &[]).0, "got nothing");
    let refused = run("-i -t0", "192.0.2.1", &[("RBLSMTPD", "-no")]);
    assert_eq!(refused.0, "553 no\r".trim_end());
    let delay = [("GREETDELAY", "1")];
    assert_eq!(run("-w1", "192.0.2.2", &[]), said("got nothing", "greetdelay: 1", true));
    assert_eq!(run("-W", "192.0.2.2", &delay), said("got nothing", "greetdelay: 1", true));
    assert_eq!(run("-W -w0", "192.0.2.2", &[]).1, "");
    let exempt = [("GREETDELAY", "9"), ("RBLSMTPD", "")];
    assert_eq!(run("-W -w9", "192.0.2.2", &exempt).1, "", "who is accepted does not wait");
}

#[test]
fn the_variable_refuses_without_any_list_and_a_session_has_its_time() {
    let stage = Stage::new("rblsmtpd-variable");
    let mut refusing = command(&stage, &["rblsmtpd", "-t1", "echo", "server"]);
    refusing.env("RBLSMTPD", "-no").stdin(Stdio::piped()).stdout(Stdio::piped());
    let begun = std::time::Instant::now();
    let mut child = refusing.stderr(Stdio::piped()).spawn().unwrap();
    let held = child.stdin.take();
    let said: Said = child.wait_with_output().unwrap().into();
    assert_eq!((said.code, said.out.as_str()), (Some(0), "220 rblsmtpd.local\r\n"));
    assert!(begun.elapsed().as_secs() >= 1);
    drop(held);
    assert!(
        said.err.starts_with("rblsmtpd:  pid ") && said.err.ends_with(": 553 no\n"),
        "{}",
        said.err
    );
    let said: Said = command(&stage, &["rblsmtpd", "echo", "server"])
        .env("RBLSMTPD", "")
        .output()
        .unwrap()
        .into();
    assert_eq!(said.out, "server\n");
    for option in ["-w", "-t"] {
        let said = run(&stage, &["rblsmtpd", option, "soon", "true"]);
        let why = format!("rblsmtpd: fatal: {option} soon: write a number\n");
        assert_eq!((said.code, said.err), (Some(100), why));
    }
    let said = run(&stage, &["rblsmtpd", "-R", "true"]);
    let usage = "rblsmtpd: illegal option -- R\nrblsmtpd: usage: rblsmtpd [ -b ] [ -R ] [ -t timeout ] \
        [ -r base ] [ -a base ] smtpd [ arg ... ]\n";
    assert_eq!((said.code, said.err.as_str()), (Some(100), usage));
}

#[test]
fn rules_are_checked_and_bad_ones_leave_the_old_database() {
    let stage = Stage::new("rules");
    let compile = |rules: &[u8]| feed(&mut command(&stage, &["tcprules", "r.cdb", "r.tmp"]), rules);
    assert_eq!(compile(b"127.:allow,A=\"b\"\n10.0.0.0/8:deny\n::1:allow,SIX=\"\"\n").code, Some(0));
    let check = |ip: &str| {
        let said: Said = command(&stage, &["tcprulescheck", "r.cdb"])
            .env("TCPREMOTEIP", ip)
            .output()
            .unwrap()
            .into();
        assert_eq!(said.code, Some(0));
        said.out
    };
    let lo = "rule 127.:\nset environment variable A=b\nallow connection\n";
    assert_eq!(check("127.0.0.1"), lo);
    assert_eq!(check("10.9.8.7"), "rule 10.0.0.0/8:\ndeny connection\n");
    assert_eq!(check("::1"), "rule ::1:\nset environment variable SIX=\nallow connection\n");
    assert_eq!(run(&stage, &["tcprulescheck", "r.cdb"]).out, "default:\nallow connection\n");
    let said = compile(b":allow\n# fine\n1.2.3.4:alow\nno colon\n5.6.7.8:allow,A\n");
    let text = "tcprules: fatal: unable to parse this line: 1.2.3.4:alow\n\
        tcprules: fatal: that is line 3: after the first colon stands neither allow nor deny\n\
        tcprules: warning: line 4 has no colon and was passed over: no colon\n\
        tcprules: fatal: unable to parse this line: 5.6.7.8:allow,A\n\
        tcprules: fatal: that is line 5: a variable is NAME=\"VALUE\", in any quotes\n";
    assert_eq!((said.code, said.err.as_str()), (Some(111), text));
    assert_eq!(check("127.0.0.1"), lo, "the old database is as it was");
    let said = run(&stage, &["tcprulescheck", "none.cdb"]);
    let text = "tcprulescheck: fatal: unable to read none.cdb: file does not exist\n";
    assert_eq!((said.code, said.err.as_str()), (Some(111), text));
    assert_eq!(
        run(&stage, &["tcprulescheck"]).err,
        "tcprulescheck: usage: tcprulescheck rules.cdb\n"
    );
}
