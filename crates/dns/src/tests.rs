use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::*;

/// What the little server says: names, and a code where there are no records.
fn zone(name: &str, kind: RecordType) -> (ResponseCode, Vec<(&'static str, RData)>) {
    let mx = |preference, host| RData::MX(MX::new(preference, Name::from_ascii(host).unwrap()));
    let a = |last| RData::A(A(Ipv4Addr::new(192, 0, 2, last)));
    let records = match (name, kind) {
        ("good.test.", RecordType::MX) => {
            vec![("good.test.", mx(20, "b.test.")), ("good.test.", mx(10, "a.test."))]
        }
        ("null.test.", RecordType::MX) => vec![("null.test.", mx(0, "."))],
        ("many.test.", RecordType::MX) => vec![("many.test.", mx(5, "a.test.")); 120],
        ("a.test.", RecordType::A) => vec![("a.test.", a(1)), ("a.test.", a(2))],
        ("a.test.", RecordType::AAAA) => {
            vec![("a.test.", RData::AAAA(AAAA("2001:db8::1".parse().unwrap())))]
        }
        ("alias.test.", RecordType::A | RecordType::AAAA) => {
            let target = CNAME(Name::from_ascii("end.test.").unwrap());
            let mut chain = vec![("alias.test.", RData::CNAME(target))];
            if kind == RecordType::A {
                chain.push(("end.test.", a(9)));
            }
            chain
        }
        ("half.test.", RecordType::A) => vec![("half.test.", a(5))],
        ("half.test." | "broken.test.", _) => return (ResponseCode::ServFail, Vec::new()),
        ("refused.test.", _) => return (ResponseCode::Refused, Vec::new()),
        ("none.test.", _) => return (ResponseCode::NXDomain, Vec::new()),
        _ => Vec::new(),
    };
    (ResponseCode::NoError, records)
}

/// The answer to one question; over UDP cut short if it is long, so that it is asked over TCP.
fn answer(question: &[u8], udp: bool) -> Vec<u8> {
    let question = Message::from_vec(question).unwrap();
    let query = question.queries[0].clone();
    let name = query.name().to_ascii().to_ascii_lowercase();
    let (code, records) = zone(&name, query.query_type());
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.response_code = code;
    answer.metadata.recursion_available = true;
    answer.metadata.truncation = udp && records.len() > 20;
    answer.add_query(query);
    if !answer.metadata.truncation {
        answer.add_answers(
            records.into_iter().map(|(owner, data)| {
                Record::from_rdata(Name::from_ascii(owner).unwrap(), 60, data)
            }),
        );
    }
    answer.to_vec().unwrap()
}

/// Answers over UDP until the test's process ends.
fn serve_udp(socket: &UdpSocket) {
    let mut buffer = [0; 4096];
    while let Ok((len, from)) = socket.recv_from(&mut buffer) {
        socket.send_to(&answer(&buffer[..len], true), from).unwrap();
    }
}

/// Answers one question a connection over TCP.
fn serve_tcp(listener: &TcpListener) {
    while let Ok((mut stream, _)) = listener.accept() {
        let mut len = [0; 2];
        stream.read_exact(&mut len).unwrap();
        let mut question = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut question).unwrap();
        let answer = answer(&question, false);
        let len = u16::try_from(answer.len()).unwrap().to_be_bytes();
        stream.write_all(&[&len[..], &answer].concat()).unwrap();
    }
}

fn resolver() -> Resolver {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(server).unwrap();
    std::thread::spawn(move || serve_udp(&socket));
    std::thread::spawn(move || serve_tcp(&listener));
    Resolver::from(&Config { servers: vec![server] }).unwrap()
}

#[test]
fn exchangers_come_best_first() {
    let found = resolver().mx("good.test").unwrap();
    assert!(
        found
            .iter()
            .map(|mx| (mx.preference, mx.host.as_str()))
            .eq([(10, "a.test"), (20, "b.test")])
    );
}

#[test]
fn a_null_mx_is_one_exchanger_without_a_name() {
    let found = resolver().mx("null.test").unwrap();
    assert_eq!(found, [Exchanger { preference: 0, host: String::new() }]);
}

#[test]
fn a_long_list_comes_over_tcp_and_is_cut() {
    assert_eq!(resolver().mx("many.test").unwrap().len(), MAX_EXCHANGERS);
}

#[test]
fn addresses_are_of_both_families_and_aliases_are_followed() {
    let resolver = resolver();
    let found = resolver.addresses("a.test").unwrap();
    assert!(found.iter().map(ToString::to_string).eq(["192.0.2.1", "192.0.2.2", "2001:db8::1"]));
    assert_eq!(resolver.addresses("alias.test").unwrap(), ["192.0.2.9".parse::<IpAddr>().unwrap()]);
    assert_eq!(resolver.addresses("192.0.2.77").unwrap().len(), 1);
    assert!(resolver.addresses("localhost").unwrap().iter().all(IpAddr::is_loopback));
}

#[test]
fn one_family_is_enough() {
    assert_eq!(resolver().addresses("half.test").unwrap().len(), 1);
}

#[test]
fn no_such_name_differs_from_no_such_record_and_from_trouble() {
    let resolver = resolver();
    assert_eq!(resolver.mx("none.test"), Err(Error::NotFound));
    assert_eq!(resolver.addresses("none.test"), Err(Error::NotFound));
    assert_eq!(resolver.mx("a.test"), Err(Error::NoData));
    assert_eq!(resolver.addresses("good.test"), Err(Error::NoData));
    for name in ["broken.test", "refused.test"] {
        assert!(matches!(resolver.mx(name), Err(Error::Temporary(_))), "{name}");
    }
}

#[test]
fn what_cannot_be_a_name_is_not_found() {
    let resolver = resolver();
    let long = "x".repeat(300);
    for name in ["", ".", "a..b", "\u{e9}.test", long.as_str()] {
        assert_eq!(resolver.mx(name), Err(Error::NotFound), "{name}");
    }
}

#[test]
fn a_server_that_is_not_there_is_temporary_trouble_and_soon() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let resolver = Resolver::from(&Config { servers: vec![gone] }).unwrap();
    let begun = std::time::Instant::now();
    assert!(matches!(resolver.mx("good.test"), Err(Error::Temporary(_))));
    assert!(begun.elapsed() < DEADLINE);
}
