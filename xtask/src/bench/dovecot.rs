//! Dovecot's POP3 server as Debian packages it, in directories of its own: a static password, a
//! Maildir of ten letters; once as shipped (a process for each login), once reusing processes.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Peer, What};
use crate::clients::free_address;
use crate::tally::{Trouble, run};

/// Letters in the mailbox.
const LETTERS: u32 = 10;

/// A running Dovecot.
pub(super) struct Dovecot {
    conf: PathBuf,
    pop3: String,
    reuse: bool,
}

impl Dovecot {
    /// Writes its configuration and ten letters, and starts it.
    pub(super) fn start(dir: &Path, reuse: bool) -> Result<Self, Trouble> {
        let dir = dir.join(if reuse { "dovecot-reuse" } else { "dovecot" });
        let pop3 = free_address()?;
        mailbox(&dir)?;
        let conf = dir.join("conf");
        let (d, port) = (dir.display(), pop3.rsplit_once(':').map_or("", |(_, p)| p));
        let (per_login, per_mail) =
            if reuse { ("service_count = 0", "service_count = 100") } else { ("", "") };
        let text = format!(
            "base_dir = {d}/run\nstate_dir = {d}/run\nlog_path = {d}/log\nprotocols = pop3\n\
             ssl = no\ndisable_plaintext_auth = no\nlisten = 127.0.0.1\nfirst_valid_uid = 1\n\
             mail_location = maildir:{d}/Maildir\nmail_max_userip_connections = 0\n\
             passdb {{\n  driver = static\n  args = password=bench\n}}\n\
             userdb {{\n  driver = static\n  args = uid=65534 gid=65534 home={d}\n}}\n\
             service pop3-login {{\n  {per_login}\n  inet_listener pop3 {{\n    port = {port}\n  }}\n  \
             inet_listener pop3s {{\n    port = 0\n  }}\n}}\nservice pop3 {{\n  {per_mail}\n}}\n"
        );
        std::fs::write(&conf, text).map_err(|e| e.to_string())?;
        run(Command::new("/usr/sbin/dovecot").arg("-c").arg(&conf))?;
        std::thread::sleep(Duration::from_secs(1));
        Ok(Self { conf, pop3, reuse })
    }
}

/// A Maildir with the letters every server is measured on.
fn mailbox(dir: &Path) -> Result<(), Trouble> {
    for sub in ["Maildir/tmp", "Maildir/new", "Maildir/cur", "run"] {
        std::fs::create_dir_all(dir.join(sub)).map_err(|e| e.to_string())?;
    }
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
    for n in 0..LETTERS {
        let path = dir.join(format!("Maildir/new/120099983{n}.{n}.bench"));
        std::fs::write(path, format!("Subject: {n}\n\n{}", line.repeat(63)))
            .map_err(|e| e.to_string())?;
    }
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir, open).map_err(|e| e.to_string())?;
    run(Command::new("chown").args(["-R", "65534:65534"]).arg(dir.join("Maildir")))
}

impl Peer for Dovecot {
    fn name(&self) -> String {
        if self.reuse { "Dovecot, processes reused".into() } else { "Dovecot".into() }
    }

    fn address(&self, what: What) -> Option<&str> {
        (what == What::Pop3).then_some(self.pop3.as_str())
    }

    fn ready(&mut self, _what: What) -> Result<(), Trouble> {
        Ok(())
    }

    fn delivered(&self) -> u32 {
        LETTERS
    }

    fn login(&self) -> (String, String) {
        ("bench".into(), "bench".into())
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let _ = run(Command::new("/usr/sbin/dovecot").arg("-c").arg(&self.conf).arg("stop"));
    }
}
