//! Dovecot's POP3 server as Debian packages it, in directories of its own: a static password and
//! one Maildir; once as shipped (a process for each login), once reusing processes.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Peer;
use super::mailbox::Mailbox;
use super::what::Stage;
use crate::clients::free_address;
use crate::tally::{Trouble, run};

/// A running Dovecot.
pub(super) struct Dovecot {
    conf: PathBuf,
    mailbox: Mailbox,
    pop3: String,
    reuse: bool,
}

impl Dovecot {
    /// Writes its configuration and starts it.
    pub(super) fn start(dir: &Path, reuse: bool) -> Result<Self, Trouble> {
        let dir = dir.join(if reuse { "dovecot-reuse" } else { "dovecot" });
        let pop3 = free_address()?;
        std::fs::create_dir_all(dir.join("run")).map_err(|e| e.to_string())?;
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&dir, open).map_err(|e| e.to_string())?;
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
        Ok(Self { conf, mailbox: Mailbox::at(dir.join("Maildir")), pop3, reuse })
    }
}

impl Peer for Dovecot {
    fn name(&self) -> String {
        if self.reuse { "Dovecot, processes reused".into() } else { "Dovecot as shipped".into() }
    }

    fn pop3(&self) -> Option<&str> {
        Some(&self.pop3)
    }

    fn ready(&mut self, stage: &Stage) -> Result<(), Trouble> {
        self.mailbox.ready(stage).map(drop)
    }

    fn delivered(&self) -> u32 {
        0
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        let _ = run(Command::new("/usr/sbin/dovecot").arg("-c").arg(&self.conf).arg("stop"));
    }
}
