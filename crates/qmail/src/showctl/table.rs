//! Every control file, and what is said of it (qmail-showctl(8)).

/// How a file is shown, and what it should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// Its first line.
    Line,
    /// The number that begins its first line; else this one.
    Number(&'static str),
    /// Its lines.
    List,
    /// `morercpthosts`: its lines, which mean nothing without `rcpthosts`.
    More,
    /// `morercpthosts.cdb`.
    Compiled,
}

/// What is said if it is not there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Absent {
    /// What is said of `me`, else of its own name.
    Me,
    /// This: the value of a line, or all that is said.
    Text(&'static str),
}

/// A control file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) show: Show,
    pub(super) before: &'static str,
    pub(super) after: &'static str,
    pub(super) absent: Absent,
}

/// Files whose lines are `key:value`.
pub(super) const MAPS: [&str; 6] =
    ["virtualdomains", "smtproutes", "qmtproutes", "concurrencydestination", "pauses", "priority"];

/// Those of them that say where mail goes.
pub(super) const ROUTES: [&str; 2] = ["smtproutes", "qmtproutes"];

/// The file of that name.
pub(super) fn entry(name: &[u8]) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.name.as_bytes() == name)
}

/// Stock's in stock's order, then ours.
#[rustfmt::skip]
pub(super) const TABLE: &[Entry] = &[
    Entry { name: "badmailfrom", show: Show::List, before: "", after: " not accepted in MAIL FROM.", absent: Absent::Text("Any MAIL FROM is allowed.") },
    Entry { name: "bouncefrom", show: Show::Line, before: "Bounce user name is ", after: ".", absent: Absent::Text("MAILER-DAEMON") },
    Entry { name: "bouncehost", show: Show::Line, before: "Bounce host name is ", after: ".", absent: Absent::Me },
    Entry { name: "concurrencylocal", show: Show::Number("10"), before: "Local concurrency is ", after: ".", absent: Absent::Text("") },
    Entry { name: "concurrencyremote", show: Show::Number("250"), before: "Remote concurrency is ", after: ".", absent: Absent::Text("") },
    Entry { name: "databytes", show: Show::Number("0"), before: "SMTP DATA limit is ", after: " bytes.", absent: Absent::Text("") },
    Entry { name: "defaultdomain", show: Show::Line, before: "Default domain name is ", after: ".", absent: Absent::Me },
    Entry { name: "defaulthost", show: Show::Line, before: "Default host name is ", after: ".", absent: Absent::Me },
    Entry { name: "doublebouncehost", show: Show::Line, before: "2B recipient host: ", after: ".", absent: Absent::Me },
    Entry { name: "doublebounceto", show: Show::Line, before: "2B recipient user: ", after: ".", absent: Absent::Text("postmaster") },
    Entry { name: "envnoathost", show: Show::Line, before: "Presumed domain name is ", after: ".", absent: Absent::Me },
    Entry { name: "helohost", show: Show::Line, before: "SMTP client HELO host name is ", after: ".", absent: Absent::Me },
    Entry { name: "idhost", show: Show::Line, before: "Message-ID host name is ", after: ".", absent: Absent::Me },
    Entry { name: "localiphost", show: Show::Line, before: "Local IP address becomes ", after: ".", absent: Absent::Me },
    Entry { name: "locals", show: Show::List, before: "Messages for ", after: " are delivered locally.", absent: Absent::Text("Messages for me are delivered locally.") },
    Entry { name: "me", show: Show::Line, before: "My name is ", after: ".", absent: Absent::Text("undefined! Uh-oh") },
    Entry { name: "percenthack", show: Show::List, before: "The percent hack is allowed for user%host@", after: ".", absent: Absent::Text("The percent hack is not allowed.") },
    Entry { name: "plusdomain", show: Show::Line, before: "Plus domain name is ", after: ".", absent: Absent::Me },
    Entry { name: "qmqpservers", show: Show::List, before: "QMQP server: ", after: ".", absent: Absent::Text("No QMQP servers.") },
    Entry { name: "queuelifetime", show: Show::Number("604800"), before: "Message lifetime in the queue is ", after: " seconds.", absent: Absent::Text("") },
    Entry { name: "rcpthosts", show: Show::List, before: "SMTP clients may send messages to recipients at ", after: ".", absent: Absent::Text("SMTP clients may send messages to local recipients only.") },
    Entry { name: "morercpthosts", show: Show::More, before: "SMTP clients may send messages to recipients at ", after: ".", absent: Absent::Text("No effect.") },
    Entry { name: "morercpthosts.cdb", show: Show::Compiled, before: "", after: "", absent: Absent::Text("") },
    Entry { name: "smtpgreeting", show: Show::Line, before: "SMTP greeting: 220 ", after: ".", absent: Absent::Me },
    Entry { name: "smtproutes", show: Show::List, before: "SMTP route: ", after: "", absent: Absent::Text("No artificial SMTP routes.") },
    Entry { name: "timeoutconnect", show: Show::Number("60"), before: "SMTP client connection timeout is ", after: " seconds.", absent: Absent::Text("") },
    Entry { name: "timeoutremote", show: Show::Number("1200"), before: "SMTP client data timeout is ", after: " seconds.", absent: Absent::Text("") },
    Entry { name: "timeoutsmtpd", show: Show::Number("1200"), before: "SMTP server data timeout is ", after: " seconds.", absent: Absent::Text("") },
    Entry { name: "virtualdomains", show: Show::List, before: "Virtual domain: ", after: "", absent: Absent::Text("No virtual domains.") },
    Entry { name: "authcleartext", show: Show::List, before: "Relay that hears passwords in clear: ", after: ".", absent: Absent::Text("No relay hears passwords in clear.") },
    Entry { name: "bouncemaxbytes", show: Show::Number("0"), before: "Bounces have at most ", after: " bytes of the original.", absent: Absent::Text("") },
    Entry { name: "checkpassword", show: Show::Line, before: "Logins are judged by ", after: ".", absent: Absent::Text("users/passwords") },
    Entry { name: "concurrencyaddress", show: Show::Number("0"), before: "Concurrency of one address is ", after: " (0: no limit).", absent: Absent::Text("") },
    Entry { name: "concurrencydestination", show: Show::List, before: "Destination concurrency: ", after: "", absent: Absent::Text("Every destination has 20 deliveries at once.") },
    Entry { name: "concurrencyincoming", show: Show::Number("20"), before: "Incoming concurrency is ", after: " (run scripts).", absent: Absent::Text("") },
    Entry { name: "concurrencynetwork", show: Show::Number("0"), before: "Concurrency of one network is ", after: " (0: no limit).", absent: Absent::Text("") },
    Entry { name: "defaultdelivery", show: Show::List, before: "Default delivery: ", after: "", absent: Absent::Text("None; see the run script of qmail-send.") },
    Entry { name: "dnsservers", show: Show::List, before: "DNS server: ", after: ".", absent: Absent::Text("DNS servers are those of /etc/resolv.conf.") },
    Entry { name: "outgoingip", show: Show::List, before: "Outgoing address: ", after: "", absent: Absent::Text("Outgoing addresses are what the system chooses.") },
    Entry { name: "pauses", show: Show::List, before: "Paused destination: ", after: "", absent: Absent::Text("No destination is paused.") },
    Entry { name: "priority", show: Show::List, before: "Priority: ", after: "", absent: Absent::Text("Senders are told apart by themselves.") },
    Entry { name: "qmtproutes", show: Show::List, before: "QMTP route: ", after: "", absent: Absent::Text("No artificial QMTP routes.") },
    Entry { name: "timeoutlocal", show: Show::Number("86400"), before: "Local delivery timeout is ", after: " seconds.", absent: Absent::Text("") },
];
