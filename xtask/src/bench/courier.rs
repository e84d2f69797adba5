//! Courier's POP3 server. Debian does not let its package stand beside Dovecot's, so the two
//! programs are taken out of it; what they stand on is installed. Settings: one user in userdb.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Peer;
use super::mailbox::{Mailbox, NOBODY};
use super::what::Stage;
use crate::clients::free_address;
use crate::tally::{Trouble, run};

/// Where Courier's authentication library looks.
const USERDB: &str = "/etc/courier/userdb";
const AUTHRC: &str = "/etc/courier/authdaemonrc";

/// A running Courier.
pub(super) struct Courier {
    mailbox: Mailbox,
    pop3: String,
    children: Vec<Child>,
}

impl Courier {
    /// Unpacks, configures and starts it.
    pub(super) fn start(dir: &Path) -> Result<Self, Trouble> {
        std::fs::create_dir_all(dir.join("home")).map_err(|e| e.to_string())?;
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir, open).map_err(|e| e.to_string())?;
        unpack(dir)?;
        configure(dir)?;
        let pop3 = free_address()?;
        let (_, port) = pop3.rsplit_once(':').unwrap_or(("", "110"));
        let programs = dir.join("usr/lib/courier/courier");
        let mut authdaemond = Command::new("/usr/lib/courier/courier-authlib/authdaemond");
        let mut listener = Command::new("/usr/sbin/couriertcpd");
        listener.args(["-address=127.0.0.1", "-maxprocs=200", "-maxperip=200"]);
        listener.args(["-nodnslookup", "-noidentlookup", port]);
        listener.arg(programs.join("courierpop3login")).arg(programs.join("courierpop3d"));
        listener.arg("Maildir").env("MAILDIRPATH", "Maildir").env("POP3AUTH", "");
        listener.env("LD_LIBRARY_PATH", "/usr/lib/courier-authlib");
        let mut children = Vec::new();
        for command in [&mut authdaemond, &mut listener] {
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            children.push(child.map_err(|e| format!("{:?}: {e}", command.get_program()))?);
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(Self { mailbox: Mailbox::at(dir.join("home/Maildir")), pop3, children })
    }
}

/// Takes the package apart without installing it.
fn unpack(dir: &Path) -> Result<(), Trouble> {
    let fetched = Command::new("apt-get")
        .args(["-qq", "-o", "APT::Sandbox::User=root", "download", "courier-pop"])
        .current_dir(dir)
        .status();
    if !fetched.is_ok_and(|s| s.success()) {
        return Err("apt-get download courier-pop does not succeed".into());
    }
    let entries = std::fs::read_dir(dir).map_err(|e| e.to_string())?;
    let package =
        entries.flatten().map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "deb"));
    run(Command::new("dpkg").arg("-x").arg(package.ok_or("no package came")?).arg(dir))
}

/// One user with a password in MD5, as its own tools make it.
fn configure(dir: &Path) -> Result<(), Trouble> {
    let hash = Command::new("openssl").args(["passwd", "-1", "bench"]).output();
    let hash = hash.map_err(|e| format!("openssl: {e}"))?.stdout;
    let (hash, home) = (String::from_utf8_lossy(&hash), dir.join("home"));
    let line = format!(
        "bench\tuid=65534|gid=65534|home={h}|shell=/bin/sh|systempw={}|mail={h}/Maildir\n",
        hash.trim(),
        h = home.display()
    );
    std::fs::write(USERDB, line).map_err(|e| format!("{USERDB}: {e}"))?;
    let closed = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(USERDB, closed).map_err(|e| e.to_string())?;
    run(&mut Command::new("/usr/sbin/makeuserdb"))?;
    let text = std::fs::read_to_string(AUTHRC).map_err(|e| format!("{AUTHRC}: {e}"))?;
    let text = text.replace("authmodulelist=\"authpam\"", "authmodulelist=\"authuserdb\"");
    std::fs::write(AUTHRC, text).map_err(|e| format!("{AUTHRC}: {e}"))?;
    std::fs::create_dir_all("/run/courier/authdaemon").map_err(|e| e.to_string())?;
    chown(&home, Some(NOBODY.0), Some(NOBODY.1)).map_err(|e| e.to_string())
}

impl Peer for Courier {
    fn name(&self) -> String {
        "Courier".into()
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

impl Drop for Courier {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Its own children end with it when told to.
            let _ = sys::signal::kill(child.id(), sys::signal::Signal::Term);
            let _ = child.wait();
        }
    }
}
