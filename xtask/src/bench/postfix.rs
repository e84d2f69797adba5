//! Postfix as Debian packages it, in directories of its own: loopback only, no TLS, no DNS, no
//! chroot, the virtual delivery agent into a Maildir. Held deliveries: every letter is put on hold
//! as it is accepted, which it is with the same sync to disk.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Peer;
use super::mailbox::Mailbox;
use super::what::Stage;
use crate::clients::free_address;
use crate::tally::{Trouble, run};

/// A running Postfix.
pub(super) struct Postfix {
    dir: PathBuf,
    smtp: String,
    mailbox: Mailbox,
}

const MASTER: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

impl Postfix {
    /// Writes its configuration and starts it.
    pub(super) fn start(dir: &Path) -> Result<Self, Trouble> {
        let smtp = free_address()?;
        let mailbox = Mailbox::at(dir.join("mail/bench"));
        let postfix = Self { dir: dir.into(), smtp, mailbox };
        for sub in ["etc", "queue", "data", "mail/bench/new"] {
            std::fs::create_dir_all(dir.join(sub)).map_err(|e| e.to_string())?;
        }
        let (d, port) = (dir.display(), postfix.smtp.rsplit_once(':').map_or("", |(_, p)| p));
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {d}/queue\ndata_directory = {d}/data\n\
             command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\n\
             mail_owner = postfix\nsetgid_group = postdrop\nmyhostname = bench.test\n\
             mydestination =\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
             mynetworks = 127.0.0.0/8\nsmtpd_peername_lookup = no\nsmtp_dns_support_level = disabled\n\
             default_process_limit = 150\nin_flow_delay = 0\nsmtpd_tls_security_level = none\n\
             virtual_mailbox_domains = bench.test\nvirtual_mailbox_base = {d}/mail\n\
             virtual_mailbox_maps = static:bench/\nvirtual_minimum_uid = 1\n\
             virtual_uid_maps = static:65534\nvirtual_gid_maps = static:65534\n\
             alias_maps =\nalias_database =\nmaillog_file = {d}/log\nmaillog_file_prefixes = {d}\n"
        );
        let master = format!("127.0.0.1:{port} inet n - n - - smtpd\n{MASTER}");
        for (name, text) in [("main.cf", main), ("master.cf", master)] {
            std::fs::write(dir.join("etc").join(name), text).map_err(|e| e.to_string())?;
        }
        run(Command::new("chown").args(["-R", "postfix"]).arg(dir.join("data")))?;
        run(Command::new("chown").args(["-R", "65534:65534"]).arg(dir.join("mail")))?;
        postfix.postfix("start")?;
        std::thread::sleep(Duration::from_secs(3));
        Ok(postfix)
    }

    fn postfix(&self, word: &str) -> Result<(), Trouble> {
        run(Command::new("/usr/sbin/postfix").arg("-c").arg(self.dir.join("etc")).arg(word))
    }

    /// Sets parameters.
    fn set(&self, parameters: &[String]) -> Result<(), Trouble> {
        let mut postconf = Command::new("/usr/sbin/postconf");
        run(postconf.arg("-c").arg(self.dir.join("etc")).arg("-e").args(parameters))
    }

    /// The relay host for everything, or a transport for each domain.
    fn route(&self, stage: &Stage) -> Result<Vec<String>, Trouble> {
        let none = Vec::new();
        let routes = if let Stage::Relay(routes) = stage { routes } else { &none };
        let bracketed = |to: &str| {
            let (ip, port) = to.rsplit_once(':').unwrap_or((to, "25"));
            format!("[{ip}]:{port}")
        };
        let (mut host, mut map) = (String::new(), String::new());
        for (domain, to) in routes {
            match domain {
                None => host = bracketed(to),
                Some(domain) => map.push_str(&format!("{domain} smtp:{}\n", bracketed(to))),
            }
        }
        let path = self.dir.join("etc/transport");
        std::fs::write(&path, map).map_err(|e| e.to_string())?;
        run(Command::new("/usr/sbin/postmap").arg("-c").arg(self.dir.join("etc")).arg(&path))?;
        Ok(vec![format!("relayhost={host}"), format!("transport_maps=hash:{}", path.display())])
    }
}

impl Peer for Postfix {
    fn name(&self) -> String {
        "Postfix".into()
    }

    fn smtp(&self) -> Option<&str> {
        Some(&self.smtp)
    }

    fn ready(&mut self, stage: &Stage) -> Result<(), Trouble> {
        let held = if *stage == Stage::Held { "static:HOLD" } else { "" };
        let mut parameters = self.route(stage)?;
        parameters.push(format!("smtpd_client_restrictions={held}"));
        self.set(&parameters)?;
        self.postfix("reload")?;
        std::thread::sleep(Duration::from_secs(2));
        let mut discard = Command::new("/usr/sbin/postsuper");
        discard.arg("-c").arg(self.dir.join("etc")).args(["-d", "ALL"]);
        run(discard.stderr(std::process::Stdio::null()))?;
        self.mailbox.ready(stage).map(drop)
    }

    fn delivered(&self) -> u32 {
        self.mailbox.new_letters()
    }

    fn last_delivered(&self) -> Option<std::time::SystemTime> {
        self.mailbox.changed()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = self.postfix("stop");
    }
}
