//! Every session file, played against the real `qmail-smtpd`, `qmail-qmtpd` and `qmail-qmqpd`: a
//! process for each connection, and a clean parent that is handed one connection after the other.
//! The queue is a shell script, or a thread that speaks queued's protocol.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, helpers and all")]

mod house;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::outcome::Outcome;
use base::wire::frame;
use base::wire::queue::{Answer, MAX_REQUEST, Origin, Request};
use house::{House, NOBODY, without_trace};
use session::{Queued, Script, Server, Wire, play};
use sys::brood::{Brood, Event};
use yard::Yard;

const PROGRAM: &str = env!("CARGO_BIN_EXE_qmail-net");

/// Stands in for queued: takes letters in its protocol, one connection after the other.
#[derive(Clone, Default)]
struct Daemon {
    letters: Arc<Mutex<Vec<Queued>>>,
    refusal: Arc<Mutex<Option<String>>>,
    connections: Arc<Mutex<usize>>,
    /// It hangs up after so many letters of one connection.
    stamina: Option<usize>,
}

impl Daemon {
    fn start(&self, house: &House) {
        let socket = house.root.join("queue/queued");
        let listener = UnixListener::bind(&socket).unwrap();
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).unwrap();
        let daemon = self.clone();
        // Ends with the test program; a connection that breaks off is a letter that was given up.
        std::thread::spawn(move || {
            listener.incoming().for_each(|c| drop(daemon.serve(c.unwrap())));
        });
    }

    fn serve(&self, mut socket: UnixStream) -> std::io::Result<()> {
        *self.connections.lock().unwrap() += 1;
        let (mut heard, mut room) = (Vec::new(), [0; 4096]);
        let (mut body, mut count) = (None::<Vec<u8>>, 0);
        while self.stamina != Some(count) {
            let Some((frame, used)) = frame::take(&heard, MAX_REQUEST).unwrap() else {
                let len = socket.read(&mut room)?;
                if len == 0 {
                    break;
                }
                heard.extend_from_slice(&room[..len]);
                continue;
            };
            match Request::decode(frame).unwrap() {
                Request::Begin(Origin::Network) => body = Some(Vec::new()),
                Request::Chunk(bytes) => body.as_mut().unwrap().extend_from_slice(bytes),
                Request::Envelope(envelope) => {
                    let body = without_trace(&body.take().unwrap());
                    let envelope = [envelope.sender()].into_iter().chain(envelope.recipients());
                    let envelope = envelope.map(<[u8]>::to_vec).collect();
                    let mut answer = Vec::new();
                    self.judge(Queued { envelope, body }, &mut answer);
                    socket.write_all(&answer)?;
                    count += 1;
                }
                other => panic!("{other:?}"),
            }
            heard.drain(..used);
        }
        Ok(())
    }

    fn judge(&self, letter: Queued, answer: &mut Vec<u8>) {
        if let Some(words) = &*self.refusal.lock().unwrap() {
            let outcome = Outcome::from_letter(words.as_bytes()[0]).unwrap();
            return Answer::Refused(outcome, &words.as_bytes()[1..]).encode(answer);
        }
        self.letters.lock().unwrap().push(letter);
        Answer::Accepted(7).encode(answer);
    }
}

/// A connected pair: the client's end as a server to play against, and the server's.
fn connection() -> (Wire, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (Wire::over(client).unwrap(), listener.accept().unwrap().0.into())
}

/// The wire, and behind it a process or a clean parent's child that must have ended before the
/// queue is looked at.
struct Running<'a> {
    wire: Wire,
    house: &'a House,
    server: Behind<'a>,
    /// Where the letters are, if not with the script.
    letters: Option<&'a Daemon>,
}

enum Behind<'a> {
    Process(Child),
    Brood(&'a Brood),
}

impl Server for Running<'_> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.wire.send(bytes)
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        self.wire.line()
    }

    fn netstring(&mut self) -> Result<Option<Vec<u8>>, String> {
        self.wire.netstring()
    }

    fn be_silent(&mut self) {
        self.wire.be_silent();
    }

    fn hang_up(&mut self) {
        self.wire.hang_up();
    }

    fn queued(&mut self) -> Option<Vec<Queued>> {
        match &mut self.server {
            Behind::Process(child) => {
                child.wait().unwrap();
            }
            Behind::Brood(brood) => ended(brood),
        }
        let daemon = self.letters.map(|daemon| daemon.letters.lock().unwrap().clone());
        Some(daemon.unwrap_or_else(|| self.house.queued()))
    }
}

/// Waits until the clean parent's child has ended.
fn ended(brood: &Brood) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        match brood.next().unwrap() {
            Some(Event::Ended { .. }) => return,
            Some(_) => {}
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    panic!("the child does not end");
}

fn process<'a>(house: &'a House) -> Running<'a> {
    process_of("qmail-smtpd", house)
}

fn process_of<'a>(program: &str, house: &'a House) -> Running<'a> {
    let (wire, end) = connection();
    let mut command = Command::new(PROGRAM);
    command.arg(program).envs(house.env.iter().cloned());
    command.stdin(Stdio::from(end.try_clone().unwrap())).stdout(Stdio::from(end));
    if House::ids().is_some() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Running { wire, house, server: Behind::Process(command.spawn().unwrap()), letters: None }
}

fn clean_parent(house: &House) -> Brood {
    clean_parent_of("qmail-smtpd", house)
}

fn clean_parent_of(program: &str, house: &House) -> Brood {
    let env = [("QMAILHOME".into(), house.root.as_os_str().to_owned())];
    let args = [program.into()];
    Brood::spawn(PROGRAM.as_ref(), &args, &env, House::ids().as_ref()).unwrap()
}

fn handed_over<'a>(house: &'a House, brood: &'a Brood) -> Running<'a> {
    let (wire, end) = connection();
    let block: String = house.env.iter().map(|(k, v)| format!("{k}={v}\0")).collect();
    brood.hand_over(1, block.as_bytes(), &[end.as_fd()]).unwrap();
    Running { wire, house, server: Behind::Brood(brood), letters: None }
}

fn scripts() -> Vec<(String, Script)> {
    scripts_of("smtp")
}

fn scripts_of(ending: &str) -> Vec<(String, Script)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sessions");
    let mut scripts: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == ending))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, Script::parse(&std::fs::read_to_string(&path).unwrap()).unwrap())
        })
        .collect();
    scripts.sort_by(|a, b| a.0.cmp(&b.0));
    scripts
}

#[test]
fn a_process_for_each_connection_answers_as_the_files_say() {
    let mut house = House::new("process");
    for (name, script) in scripts() {
        house.furnish(&script);
        play(&script, &mut process(&house)).unwrap_or_else(|m| panic!("{name}: {m}"));
    }
}

#[test]
fn queued_gets_the_letters_the_files_list() {
    let mut house = House::new("queued");
    let daemon = Daemon::default();
    for (name, script) in scripts() {
        house.furnish(&script);
        house.env.retain(|(name, _)| name != "QMAILQUEUE");
        if name == "addresses.smtp" {
            daemon.start(&house);
        }
        let words =
            house.env.iter().find(|(name, _)| name == "SAYS").map(|(_, words)| words.clone());
        *daemon.refusal.lock().unwrap() = words;
        daemon.letters.lock().unwrap().clear();
        let mut running = Running { letters: Some(&daemon), ..process(&house) };
        play(&script, &mut running).unwrap_or_else(|m| panic!("{name}: {m}"));
    }
}

#[test]
fn several_letters_share_a_connection_to_queued_and_a_lost_one_is_made_again() {
    let script = scripts().into_iter().find(|(name, _)| name == "several.smtp").unwrap().1;
    for (stamina, connections) in [(None, 1), (Some(1), 2)] {
        let mut house = House::new(&format!("stamina-{connections}"));
        house.furnish(&script);
        house.env.retain(|(name, _)| name != "QMAILQUEUE");
        let daemon = Daemon { stamina, ..Daemon::default() };
        daemon.start(&house);
        let mut running = Running { letters: Some(&daemon), ..process(&house) };
        play(&script, &mut running).unwrap();
        assert_eq!(*daemon.connections.lock().unwrap(), connections);
    }
}

#[test]
fn a_clean_parent_answers_as_the_files_say_though_its_control_files_change() {
    let mut house = House::new("brood");
    let brood = clean_parent(&house);
    for (name, script) in scripts() {
        house.furnish(&script);
        play(&script, &mut handed_over(&house, &brood)).unwrap_or_else(|m| panic!("{name}: {m}"));
    }
    let pid = brood.pid();
    drop(brood);
    assert_eq!(sys::spawn::wait(pid).unwrap().code(), Some(0));
}

/// What the clean parent greets with, once it says `wanted`.
fn greets(brood: &Brood, wanted: &[u8]) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        brood.next().unwrap();
        if brood.greeting().is_some_and(|greeting| greeting.text(String::new) == wanted) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

#[test]
fn a_clean_parent_tells_its_greeting_and_nobody_is_greeted_twice() {
    let mut house = House::new("greeting");
    house.furnish(&Script::parse("control me = mail.example.org").unwrap());
    let brood = clean_parent(&house);
    assert!(greets(&brood, b"220 mail.example.org ESMTP\r\n"));
    house.furnish(&Script::parse("control me = mail.example.org").unwrap());
    std::fs::write(house.root.join("control/smtpgreeting"), "other.example.org\n").unwrap();
    // Told by itself, before a client comes.
    assert!(greets(&brood, b"220 other.example.org ESMTP\r\n"));
    house.env.push(("GREETED".to_owned(), "220 other.example.org ESMTP".to_owned()));
    let mut greeted = handed_over(&house, &brood);
    greeted.send(b"QUIT\r\n").unwrap();
    assert_eq!(greeted.line().unwrap().unwrap(), b"221 other.example.org");
    ended(&brood);
    house.env.retain(|(name, _)| name != "GREETED");
    let mut anew = handed_over(&house, &brood);
    assert_eq!(anew.line().unwrap().unwrap(), b"220 other.example.org ESMTP");
    anew.hang_up();
    ended(&brood);
}

/// Runs one session and gives the exit code.
fn exit_code(house: &House, say: &[u8]) -> i32 {
    let mut running = process(house);
    running.send(say).unwrap();
    running.hang_up();
    while running.line().unwrap().is_some() {}
    let Behind::Process(mut child) = running.server else { panic!() };
    child.wait().unwrap().code().unwrap()
}

#[test]
fn only_quit_ends_with_exit_code_0() {
    let mut house = House::new("exit");
    house.furnish(&Script::parse("control me = mail.example.org").unwrap());
    assert_eq!(exit_code(&house, b"QUIT\r\n"), 0);
    assert_eq!(exit_code(&house, b"NOOP\r\n"), 1);
    assert_eq!(exit_code(&house, &b"?\r\n".repeat(11)), 1);
}

#[test]
fn without_a_name_the_client_is_sent_away() {
    let mut house = House::new("nameless");
    house.furnish(&Script::default());
    let mut running = process(&house);
    assert_eq!(running.line().unwrap().unwrap(), b"421 unable to read controls (#4.3.0)");
    assert_eq!(running.line().unwrap(), None);
}

#[test]
fn a_queue_that_is_down_refuses_at_data() {
    let mut house = House::new("down");
    let text = "control me = m\nmailbox a@m\nS: 220 m ESMTP\nC: MAIL FROM:<>\nC: RCPT TO:<a>\n\
        C: DATA\nC: QUIT\nS: 250 ok\nS: 250 ok\n\
        S: 451 qq trouble creating files in queue (#4.3.0)\nS: 221 m\nclosed\n";
    let script = Script::parse(text).unwrap();
    house.furnish(&script);
    house.env.retain(|(name, _)| name != "QMAILQUEUE");
    play(&script, &mut process(&house)).unwrap();
    house.env.push(("QMAILQUEUE".to_owned(), "/nonexistent".to_owned()));
    let script =
        Script::parse(&text.replace("qq trouble creating files in queue", "unable to exec qq"));
    play(&script.unwrap(), &mut process(&house)).unwrap();
}

#[test]
fn root_does_not_listen_to_strangers() {
    if sys::user::euid() != 0 {
        return yard::skipped("only root can be refused to root");
    }
    let root = Yard::new("sessions-root");
    std::fs::create_dir_all(root.join("control")).unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("qmail-smtpd").env("QMAILHOME", &root).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(111));
    assert!(said.contains("refusing to run as root"), "{said}");
}

#[test]
fn qmtp_and_qmqp_are_answered_as_the_files_say_by_a_process_and_by_a_clean_parent() {
    for (ending, program) in [("qmtp", "qmail-qmtpd"), ("qmqp", "qmail-qmqpd")] {
        let mut house = House::new(program);
        let brood = clean_parent_of(program, &house);
        let daemon = Daemon::default();
        daemon.start(&house);
        for (name, script) in scripts_of(ending) {
            house.furnish(&script);
            let tell = |what, m| panic!("{name} with {what}: {m}");
            play(&script, &mut process_of(program, &house))
                .unwrap_or_else(|m| tell("a process", m));
            house.furnish(&script);
            let mut handed = handed_over(&house, &brood);
            play(&script, &mut handed).unwrap_or_else(|m| tell("a clean parent", m));
            house.env.retain(|(name, _)| name != "QMAILQUEUE");
            let words = house.env.iter().find(|(name, _)| name == "SAYS");
            *daemon.refusal.lock().unwrap() = words.map(|(_, words)| words.clone());
            daemon.letters.lock().unwrap().clear();
            let mut fenced = Running { letters: Some(&daemon), ..handed_over(&house, &brood) };
            play(&script, &mut fenced).unwrap_or_else(|m| tell("queued", m));
        }
        let pid = brood.pid();
        drop(brood);
        assert_eq!(sys::spawn::wait(pid).unwrap().code(), Some(0));
    }
}
