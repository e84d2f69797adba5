//! `cargo xtask deb`: a Debian package, staged file by file and packed by dpkg-deb; and
//! `cargo xtask package`: what it does in a fresh Debian of its own.

pub(crate) mod control;
mod fresh;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::tally::{Trouble, run};
use crate::{build, host, install};
pub(crate) use fresh::{Package, all};

/// Links outside the home, which `qmailctl install` would make else.
const LINKS: [(&str, &str); 5] = [
    ("usr/sbin/sendmail", "/var/qmail/bin/sendmail"),
    ("usr/lib/sendmail", "../sbin/sendmail"),
    ("usr/bin/qmailctl", "/var/qmail/bin/qmailctl"),
    ("usr/bin/mailq", "/var/qmail/bin/mailq"),
    ("usr/bin/newaliases", "/var/qmail/bin/newaliases"),
];
/// Who answers for a package that nobody else does.
const MAINTAINER: &str = "qmail-rs developers <postmaster@qmail-rs.invalid>";

/// What stands at the end of a binary of the next build, so that it is another.
const NEXT: &[u8] = b"\nnext\n";

/// Build a Debian package.
#[derive(Args)]
pub(crate) struct Deb {
    /// The package's version; else the workspace's, first revision.
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Who maintains the package: Name <address>.
    #[arg(long, value_name = "WHO", default_value = MAINTAINER)]
    maintainer: String,
    /// Where the package goes; else beside what is built.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

impl Deb {
    /// Builds the programs and packs them; says where the package is.
    pub(crate) fn run(self) -> Result<(), Trouble> {
        let stage = install::stage(&build::release()?)?;
        let version =
            self.version.unwrap_or_else(|| concat!(env!("CARGO_PKG_VERSION"), "-1").into());
        let to = self.to.unwrap_or_else(|| build::target_dir().join("deb"));
        let package = build_package(&stage, &version, &self.maintainer, &to)?;
        println!("{}", package.display());
        Ok(())
    }
}

/// Packs what is staged; the package's path.
pub(crate) fn build_package(
    stage: &Path,
    version: &str,
    maintainer: &str,
    to: &Path,
) -> Result<PathBuf, Trouble> {
    if !host::has("dpkg-deb") {
        return Err("dpkg-deb is not here: packages are made on Debian".into());
    }
    let architecture = said(Command::new("dpkg").arg("--print-architecture"))?;
    let root = to.join("root");
    let _ = fs::remove_dir_all(&root);
    let tree = Tree { root };
    tree.programs(stage)?;
    tree.manual(stage)?;
    tree.completions(stage)?;
    tree.documents(version, maintainer)?;
    tree.boot()?;
    for (at, to) in LINKS {
        tree.link(at, to)?;
    }
    tree.scripts(&control::control(version, &architecture, tree.kib()?, maintainer))?;
    let package = to.join(format!("{}_{version}_{architecture}.deb", control::NAME));
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--build", "--root-owner-group"]).arg(&tree.root).arg(&package);
    run(pack.stdout(std::process::Stdio::null()))?;
    Ok(package)
}

/// What a command prints, without its line end.
fn said(command: &mut Command) -> Result<String, Trouble> {
    let out = command.output().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    Ok(String::from_utf8_lossy(&out.stdout).trim_end().to_owned())
}

/// A package's files on their way into it.
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn programs(&self, stage: &Path) -> Result<(), Trouble> {
        for binary in build::BINARIES {
            let bytes = read(&stage.join(binary))?;
            let at = format!("{}/{binary}", control::BINARIES);
            self.file(&at, 0o755, &bytes)?;
            strip(&self.root.join(at))?;
        }
        Ok(())
    }

    fn manual(&self, stage: &Path) -> Result<(), Trouble> {
        let dir = stage.join("man");
        for page in fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))? {
            let page = page.map_err(|e| e.to_string())?.path();
            let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some((_, section)) = name.rsplit_once('.') else { continue };
            self.zipped(&format!("usr/share/man/man{section}/{name}"), &read(&page)?)?;
        }
        Ok(())
    }

    /// What teaches shells the commands, where they look by themselves.
    fn completions(&self, stage: &Path) -> Result<(), Trouble> {
        for (shell, at) in [
            ("bash", "usr/share/bash-completion/completions/qmailctl"),
            ("fish", "usr/share/fish/vendor_completions.d/qmailctl.fish"),
            ("zsh", "usr/share/zsh/vendor-completions/_qmailctl"),
        ] {
            let mut ask = Command::new(stage.join("qmail-admin"));
            let script = said(ask.args(["qmailctl", "completions", shell]))?;
            if script.is_empty() {
                return Err(format!("qmailctl completions {shell} prints nothing"));
            }
            self.file(at, 0o644, format!("{script}\n").as_bytes())?;
        }
        Ok(())
    }

    fn documents(&self, version: &str, maintainer: &str) -> Result<(), Trouble> {
        let doc = format!("usr/share/doc/{}", control::NAME);
        let expat = read(&crate::root().join("LICENSE-MIT"))?;
        let folded = String::from_utf8_lossy(&expat).lines().map(fold).collect::<String>();
        let copyright = format!("{}{folded}", control::COPYRIGHT);
        self.file(&format!("{doc}/copyright"), 0o644, copyright.as_bytes())?;
        self.zipped(&format!("{doc}/changelog"), &read(&crate::root().join("CHANGELOG.md"))?)?;
        let date = said(Command::new("date").args(["-R", "-u"]))?;
        let changelog = control::changelog(version, maintainer, &date);
        self.zipped(&format!("{doc}/changelog.Debian"), changelog.as_bytes())?;
        for name in ["README.md", "SECURITY.md"] {
            self.file(&format!("{doc}/{name}"), 0o644, &read(&crate::root().join(name))?)?;
        }
        let overrides = format!("usr/share/lintian/overrides/{}", control::NAME);
        self.file(&overrides, 0o644, control::OVERRIDES.as_bytes())
    }

    fn boot(&self) -> Result<(), Trouble> {
        let dir = crate::root().join("crates/qmail-admin/boot");
        let unit = read(&dir.join("qmail.service"))?;
        self.file("usr/lib/systemd/system/qmail.service", 0o644, &unit)?;
        self.file("etc/init.d/qmail", 0o755, &read(&dir.join("qmail.init"))?)
    }

    fn scripts(&self, control: &str) -> Result<(), Trouble> {
        let sums = said(
            Command::new("sh")
                .current_dir(&self.root)
                .args(["-c", "find usr -type f | LC_ALL=C sort | xargs md5sum"]),
        )?;
        self.file("DEBIAN/md5sums", 0o644, format!("{sums}\n").as_bytes())?;
        for (name, mode, text) in [
            ("control", 0o644, control),
            ("conffiles", 0o644, control::CONFFILES),
            ("postinst", 0o755, control::POSTINST),
            ("prerm", 0o755, control::PRERM),
            ("postrm", 0o755, control::POSTRM),
        ] {
            self.file(&format!("DEBIAN/{name}"), mode, text.as_bytes())?;
        }
        Ok(())
    }

    /// What the files take on disk.
    fn kib(&self) -> Result<u64, Trouble> {
        let text = said(Command::new("du").args(["-sk"]).arg(&self.root))?;
        let number = text.split_whitespace().next().and_then(|number| number.parse().ok());
        number.ok_or_else(|| format!("du said {text:?}"))
    }

    fn place(&self, at: &str) -> Result<PathBuf, Trouble> {
        let path = self.root.join(at);
        let dir = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(path)
    }

    fn file(&self, at: &str, mode: u32, bytes: &[u8]) -> Result<(), Trouble> {
        let path = self.place(at)?;
        fs::write(&path, bytes)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .map_err(|e| format!("{}: {e}", path.display()))
    }

    fn zipped(&self, at: &str, bytes: &[u8]) -> Result<(), Trouble> {
        self.file(at, 0o644, bytes)?;
        run(Command::new("gzip").args(["-9n", "-f"]).arg(self.root.join(at)))
    }

    fn link(&self, at: &str, to: &str) -> Result<(), Trouble> {
        let path = self.place(at)?;
        symlink(to, &path).map_err(|e| format!("{}: {e}", path.display()))
    }
}

/// Debian's packages have no debugging in them. What stands behind a program's end, as in a build
/// that only tests want, stays.
fn strip(program: &Path) -> Result<(), Trouble> {
    let bytes = read(program)?;
    let marked = bytes.ends_with(NEXT);
    if host::has("strip") {
        run(Command::new("strip").arg(program))?;
    }
    if marked {
        let stripped = [&read(program)?[..], NEXT].concat();
        fs::write(program, stripped).map_err(|e| format!("{}: {e}", program.display()))?;
    }
    Ok(())
}

/// A line of a licence as Debian's format has it.
fn fold(line: &str) -> String {
    if line.is_empty() { " .\n".into() } else { format!(" {line}\n") }
}

fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}
