//! Accounts: a line in `users/assign`, a password beside it, a Maildir.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base::json::{Object, array};
use clap::Subcommand;
use store::control::Control;
use store::home::Home;
use store::passwords;
use store::users::{Route, Routing, resolve};

use crate::Trouble;
use crate::assign::{self, Account};
use crate::domains::{checked, read};
use crate::mailbox;
use crate::permissions::{about, replace};
use crate::print::{self, say};
use crate::progress::Ticker;
use crate::sources;

/// A password's most bytes; the checkpassword interface carries 512 with the name.
const PASSWORD: u64 = 256;
/// How long another one's edit is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two attempts to have the lock.
const AGAIN: Duration = Duration::from_millis(10);

/// What can be done with accounts.
#[derive(Subcommand)]
pub(crate) enum User {
    /// Add an account; it works at once. Without --password-stdin a password is made and printed.
    Add {
        /// name@domain; a name alone is of this host's own domain.
        address: String,
        /// Read the password from standard input, up to the first line end.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Give an account another password; it counts at the next login. Without --password-stdin one
    /// is made and printed.
    Password {
        /// name@domain; a name alone is of this host's own domain.
        address: String,
        /// Read the password from standard input, up to the first line end.
        #[arg(long)]
        password_stdin: bool,
    },
    /// List the accounts, address and home, one a line.
    List {
        /// As one JSON array.
        #[arg(long)]
        json: bool,
    },
}

impl User {
    /// Carries the command out.
    pub(crate) fn run(self, home: &Home) -> Result<(), Trouble> {
        match self {
            Self::List { json } => list(home, json),
            Self::Add { address, password_stdin: true } => add(home, &address, &given()?),
            Self::Password { address, password_stdin: true } => change(home, &address, &given()?),
            Self::Add { address, password_stdin: false } => {
                let password = random_password()?;
                add(home, &address, password.as_bytes())?;
                tell(&address, &password)
            }
            Self::Password { address, password_stdin: false } => {
                let password = random_password()?;
                change(home, &address, password.as_bytes())?;
                tell(&address, &password)
            }
        }
    }
}

/// The first line of standard input.
fn given() -> Result<Vec<u8>, Trouble> {
    let mut secret = Vec::new();
    let all = std::io::stdin().take(PASSWORD + 2).read_to_end(&mut secret);
    all.map_err(|e| format!("standard input: {e}"))?;
    let line = secret.split(|&c| c == b'\n').next().unwrap_or_default();
    Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

/// Prints a password that nobody else knows; on stderr where standard output does not take it.
fn tell(address: &str, password: &str) -> Result<(), Trouble> {
    print::write(format_args!("{address}:{password}")).map_err(|error| {
        format!(
            "unable to write to standard output: {error}; the account is there, its password is \
             {password}"
        )
    })
}

/// Twenty letters and digits nobody can guess (100 bits), none easily taken for another.
pub(crate) fn random_password() -> Result<String, Trouble> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0; 20];
    sys::random::fill(&mut random).map_err(|e| format!("no random numbers: {e}"))?;
    Ok(random.iter().map(|r| char::from(ALPHABET[usize::from(r % 32)])).collect())
}

/// Adds an account: Maildir, password, then the assignment, which makes it exist.
pub(crate) fn add(home: &Home, address: &str, secret: &[u8]) -> Result<(), Trouble> {
    fit(secret)?;
    let address = Address::new(home, address)?;
    let _lock = lock(home)?;
    sources::all(home)?;
    let file = home.path("users/assign");
    let text = read(&file)?;
    let mail = home.path("mail").join(&address.domain).join(&address.name);
    // Looked at before a uid is chosen, which is then gone for ever.
    if assign::is_assigned(&text, &address.local) {
        return Err(format!("{} is assigned already, see {}", address.local, file.display()));
    }
    let ids = mailbox::owner(home, &text, &mail)?;
    let account = Account {
        local: &address.local,
        uid: ids.uid,
        gid: ids.gid,
        home: &mail.to_string_lossy(),
    };
    let text = assign::with_account(&text, &account);
    let domain = home.path("mail").join(&address.domain);
    mailbox::make(&domain, &mail, &home.owner_ids(), &ids)?;
    set_password(home, &address, secret)?;
    replace(&file, 0o644, text.as_bytes())?;
    compile(home)
}

/// Whether these bytes can be a password.
fn fit(secret: &[u8]) -> Result<(), Trouble> {
    if secret.is_empty() || secret.len() as u64 > PASSWORD || secret.contains(&0) {
        return Err(format!("the password must have 1 to {PASSWORD} bytes, none of them NUL"));
    }
    Ok(())
}

/// Gives an account that is there another password.
fn change(home: &Home, address: &str, secret: &[u8]) -> Result<(), Trouble> {
    fit(secret)?;
    let address = Address::new(home, address)?;
    let _lock = lock(home)?;
    sources::all(home)?;
    let file = home.path("users/assign");
    let text = read(&file)?;
    if !assign::exact(&text)
        .into_iter()
        .any(|(local, _)| local.eq_ignore_ascii_case(&address.local))
    {
        return Err(format!("{} is no account, see {}", address.local, file.display()));
    }
    set_password(home, &address, secret)?;
    compile(home)
}

/// Puts the secret's hash into the list of passwords.
fn set_password(home: &Home, address: &Address, secret: &[u8]) -> Result<(), Trouble> {
    let full = format!("{}@{}", address.name, address.domain);
    let salt = passwords::salt().map_err(|e| format!("no random numbers: {e}"))?;
    let hash = passwords::hash(secret, &salt).map_err(|e| format!("the password: {e}"))?;
    passwords::set(home, address.domain.as_bytes(), full.as_bytes(), Some(&hash))
        .map_err(|e| e.to_string())
}

/// An address checked, and the local part by which deliveries know it.
struct Address {
    name: String,
    domain: String,
    local: String,
}

impl Address {
    fn new(home: &Home, address: &str) -> Result<Self, Trouble> {
        let control = Control::new(home);
        let me = control.line_or_me("envnoathost").map_err(|e| e.to_string())?.unwrap_or_default();
        let me = String::from_utf8_lossy(&me).into_owned();
        let (name, domain) = address.rsplit_once('@').unwrap_or((address, &me));
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-+=".contains(&c);
        let fits = (1..=64).contains(&name.len()) && name.bytes().all(plain);
        if !fits || name.starts_with('.') || name.contains("..") {
            return Err(format!("{name} cannot be a mailbox name: letters, digits and . _ - + ="));
        }
        let (name, domain) = (name.to_lowercase(), checked(domain)?);
        let routing = Routing::load(&control).map_err(|e| e.to_string())?;
        match resolve(&routing, format!("{name}@{domain}").as_bytes()) {
            Route::Local(rewritten) => {
                let rewritten = String::from_utf8_lossy(&rewritten).into_owned();
                let local = rewritten.rsplit_once('@').map_or(rewritten.as_str(), |(l, _)| l);
                Ok(Self { name, domain, local: local.to_lowercase() })
            }
            Route::Remote(_) => {
                Err(format!("{domain} is not delivered here: qmailctl domain add {domain} first"))
            }
        }
    }
}

/// Held from before a file of `users/` or `control/` is read until it is written, so that two
/// administrators do not lose each other's lines. Whoever may open the file could hold it for ever:
/// nobody but the owner may.
pub(crate) fn lock(home: &Home) -> Result<File, Trouble> {
    let path = home.path("users/lock");
    let opened =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = about(&path, opened)?;
    about(&path, file.set_permissions(Permissions::from_mode(0o600)))?;
    let (since, _progress) = (Instant::now(), Ticker::of("waiting for another qmailctl", None));
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return about(&path, Err(error)),
            Err(TryLockError::WouldBlock) if since.elapsed() < PATIENCE => sys::clock::sleep(AGAIN),
            Err(TryLockError::WouldBlock) => {
                return Err(format!("{}: held by another qmailctl, try again", path.display()));
            }
        }
    }
}

/// Compiles `users/assign`, so that the account exists for every program at once.
fn compile(home: &Home) -> Result<(), Trouble> {
    let program = home.path("bin/qmail-newu");
    let status = Command::new(&program).env("QMAILHOME", home.root()).status();
    match about(&program, status)?.success() {
        true => Ok(()),
        false => Err("qmail-newu did not accept users/assign".into()),
    }
}

/// Lists the accounts, one address a line, with their homes.
fn list(home: &Home, json: bool) -> Result<(), Trouble> {
    sources::accounts(home)?;
    let text = read(&home.path("users/assign"))?;
    let all = assign::exact(&text).map(|(local, dir)| (address(home, local, dir), dir));
    if json {
        let one = |(address, dir)| Object::new().text("address", address).text("home", dir).end();
        say!("{}", array(all.map(one)));
        return Ok(());
    }
    for (address, dir) in all {
        say!("{address}\t{dir}");
    }
    Ok(())
}

/// The address of an account whose home is below `mail`; of another its local part.
pub(crate) fn address(home: &Home, local: &str, dir: &str) -> String {
    let mail = home.path("mail");
    let below = Path::new(dir).strip_prefix(mail).ok();
    let parts = below.and_then(|b| Some((b.parent()?.to_str()?, b.file_name()?.to_str()?)));
    parts.map_or_else(|| local.to_owned(), |(domain, name)| format!("{name}@{domain}"))
}
