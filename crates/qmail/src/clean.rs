//! ask queued to forget what qmail-send has finished
//!
//! *Runs as* qmailq. *Hears* qmail-send on descriptor 0. *Opens* nothing. *Speaks to* queued, and
//! to qmail-send on descriptor 1: one byte for each request (qmail-clean(8)).

use std::ffi::OsString;

use store::client::QueueClient;
use store::home::Home;

/// The longest request, its NUL included.
const LONGEST: usize = 100;
/// Bytes of requests that are read, and obeyed, together.
const PIECE: usize = 4 << 10;

/// Exit 0 at the end of requests; 100 if they cannot be answered (as stock), 111 if not read.
pub(crate) fn main(_args: &[OsString]) -> i32 {
    let Ok(home) = Home::find() else { return 111 };
    let (from, to) = (sys::fd::take(0), sys::fd::take(1));
    // It has no log to tell what is missing; qmail-send tells the same.
    let _missing = crate::fences::clean().close_or_tell();
    let mut cleaner = Cleaner { home, client: None };
    let mut requests = Requests::default();
    let mut piece = [0; PIECE];
    loop {
        match sys::fd::read(&from, &mut piece) {
            Ok(0) => return 0,
            Ok(n) => {
                let said = piece.get(..n).unwrap_or_default();
                let orders: Vec<_> = said.iter().filter_map(|&byte| requests.take(byte)).collect();
                if sys::fd::write_all(&to, &cleaner.obey(&orders)).is_err() {
                    return 100;
                }
            }
            Err(_) => return 111,
        }
    }
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// `foop/N`: forget letter N.
    Forget(u64),
    /// `todo/N`: nothing is left over from preprocessing here.
    Todo,
    /// Anything else.
    Malformed,
}

/// Cuts requests at their NULs.
#[derive(Debug, Default)]
struct Requests {
    line: Vec<u8>,
    too_long: bool,
}

impl Requests {
    fn take(&mut self, byte: u8) -> Option<Order> {
        if byte != 0 {
            self.too_long |= self.line.len() >= LONGEST;
            if !self.too_long {
                self.line.push(byte);
            }
            return None;
        }
        let too_long = std::mem::take(&mut self.too_long);
        let order = if too_long { Order::Malformed } else { parse(&self.line) };
        self.line.clear();
        Some(order)
    }
}

fn parse(line: &[u8]) -> Order {
    let fits = line.len() < LONGEST;
    let Some((verb, number)) = line.split_at_checked(5).filter(|_| fits) else {
        return Order::Malformed;
    };
    let digits = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
    let number = str::from_utf8(number).ok().filter(|_| digits).and_then(|n| n.parse().ok());
    match (verb, number) {
        (b"foop/", Some(id)) => Order::Forget(id),
        (b"todo/", Some(_)) => Order::Todo,
        _ => Order::Malformed,
    }
}

/// The connection to queued, made when it is needed.
struct Cleaner {
    home: Home,
    client: Option<QueueClient>,
}

impl Cleaner {
    /// The answers to some orders, in their order.
    fn obey(&mut self, orders: &[Order]) -> Vec<u8> {
        let forget = |order: &Order| match order {
            Order::Forget(id) => Some(*id),
            Order::Todo | Order::Malformed => None,
        };
        let ids: Vec<u64> = orders.iter().filter_map(forget).collect();
        let mut told = Vec::with_capacity(ids.len());
        self.forget(&ids, &mut told);
        // queued may have been started anew since the last request.
        let left = ids.get(told.len()..).unwrap_or_default();
        self.forget(left, &mut told);
        answers(orders, &told)
    }

    /// Asks queued to forget letters, all at once; whether it did, as far as it said.
    fn forget(&mut self, ids: &[u64], told: &mut Vec<bool>) {
        if ids.is_empty() {
            return;
        }
        let client = self.client.take().map_or_else(|| QueueClient::connect(&self.home), Ok);
        let Ok(mut client) = client else { return };
        let heard = client.finish_all(ids, |done| told.push(done));
        self.client = heard.is_ok().then_some(client);
    }
}

/// One byte for each order; what queued said nothing of has failed.
fn answers(orders: &[Order], told: &[bool]) -> Vec<u8> {
    let mut told = told.iter();
    let answer = |order: &Order| match order {
        Order::Malformed => b'x',
        Order::Todo => b'+',
        Order::Forget(_) => told.next().map_or(b'!', |&done| if done { b'+' } else { b'!' }),
    };
    orders.iter().map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(bytes: &[u8]) -> Vec<Order> {
        let mut requests = Requests::default();
        bytes.iter().filter_map(|&byte| requests.take(byte)).collect()
    }

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(
            orders(b"foop/12\0todo/7\0foop/\0foop/1x\0food/1\0\0foop/3"),
            [
                Order::Forget(12),
                Order::Todo,
                Order::Malformed,
                Order::Malformed,
                Order::Malformed,
                Order::Malformed
            ]
        );
    }

    #[test]
    fn every_request_is_answered_in_its_place() {
        let orders = orders(b"foop/1\0x\0todo/1\0foop/2\0foop/3\0");
        assert_eq!(answers(&orders, &[true, false]), b"+x+!!");
    }

    #[test]
    fn an_endless_request_is_one_malformed_request() {
        let mut bytes = vec![b'1'; 1000];
        bytes.extend(b"\0foop/5\0");
        assert_eq!(orders(&bytes), [Order::Malformed, Order::Forget(5)]);
    }
}
