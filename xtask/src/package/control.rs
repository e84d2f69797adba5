//! What a Debian package says of itself, and its scripts. They are short: what there is to do is done
//! by `qmailctl`, which knows what is there.

/// The package's name.
pub(crate) const NAME: &str = "qmail-rs";
/// Where it has the binaries, which `qmailctl install` copies into the home.
pub(crate) const BINARIES: &str = "usr/lib/qmail-rs";

/// `DEBIAN/control`; `size` in KiB.
pub(crate) fn control(version: &str, architecture: &str, size: u64, maintainer: &str) -> String {
    format!(
        "Package: {NAME}\n\
         Version: {version}\n\
         Section: mail\n\
         Priority: optional\n\
         Architecture: {architecture}\n\
         Maintainer: {maintainer}\n\
         Installed-Size: {size}\n\
         Depends: passwd\n\
         Suggests: mail-reader\n\
         Provides: mail-transport-agent\n\
         Conflicts: mail-transport-agent\n\
         Replaces: mail-transport-agent\n\
         Description: qmail mail system, rebuilt in Rust\n \
         SMTP in, a durable queue, delivery to Maildirs and to the world, POP3 out;\n \
         all kept up by svscan and supervise and written down by multilog. Small\n \
         programs that do not trust each other, real Maildirs, and every letter on\n \
         disk before it is acknowledged.\n \
         .\n \
         It takes over the home of a qmail that is there, in /var/qmail: settings,\n \
         accounts and .qmail files stay as they are.\n"
    )
}

/// Files of an administrator's to be kept.
pub(crate) const CONFFILES: &str = "/etc/init.d/qmail\n";

/// After unpacking: the home is made or completed. Under services at work this is the live upgrade;
/// should the new version not become ready, the old one goes on and dpkg is told.
pub(crate) const POSTINST: &str = "#!/bin/sh
set -e
case \"$1\" in
configure)
	/usr/lib/qmail-rs/qmail-admin qmailctl install --packaged </dev/null
	;;
abort-upgrade | abort-remove | abort-deconfigure)
	;;
*)
	echo \"postinst called with unknown argument $1\" >&2
	exit 1
	;;
esac
if command -v deb-systemd-helper >/dev/null; then
	deb-systemd-helper unmask qmail.service >/dev/null || true
	if deb-systemd-helper --quiet was-enabled qmail.service; then
		deb-systemd-helper enable qmail.service >/dev/null || true
	else
		deb-systemd-helper update-state qmail.service >/dev/null || true
	fi
fi
update-rc.d qmail defaults >/dev/null
invoke-rc.d qmail start || exit $?
";

/// Before removing: everything ends, and the programs leave the home. An upgrade stops nothing.
pub(crate) const PRERM: &str = "#!/bin/sh
set -e
if [ \"$1\" = remove ]; then
	invoke-rc.d qmail stop || true
	/usr/lib/qmail-rs/qmail-admin qmailctl uninstall --packaged </dev/null
fi
";

/// After removing. Mail, queue, accounts and settings are nobody's to throw away but their owner's.
pub(crate) const POSTRM: &str = "#!/bin/sh
set -e
if [ \"$1\" = purge ]; then
	update-rc.d qmail remove >/dev/null
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper purge qmail.service >/dev/null || true
	fi
	rm -rf /var/qmail/service/*/supervise /var/qmail/service/*/log/supervise \\
		/var/qmail/service/.svscan.lock /var/qmail/log
	if [ -d /var/qmail ]; then
		echo 'Mail, queue, accounts and settings stay in /var/qmail.'
	fi
fi
";

/// What lintian is told, with the reasons.
pub(crate) const OVERRIDES: &str = "\
# Linked statically on purpose (static-pie, which is taken for a library): a mail server that starts
# whatever happens to the system's libraries.
qmail-rs: shared-library-lacks-prerequisites *
";

/// `usr/share/doc/qmail-rs/changelog.Debian`; `date` as in letters.
pub(crate) fn changelog(version: &str, maintainer: &str, date: &str) -> String {
    format!(
        "{NAME} ({version}) unstable; urgency=medium\n\n  \
         * What has changed is in changelog.gz.\n\n -- {maintainer}  {date}\n"
    )
}

/// `usr/share/doc/qmail-rs/copyright`.
pub(crate) const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: qmail-rs

Files: *
Copyright: the qmail-rs developers
License: Expat or Apache-2.0

License: Apache-2.0
 On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.

License: Expat
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_folded_as_debian_has_it() {
        let text = control("1-1", "amd64", 10, "a <a@b.org>");
        assert!(text.contains("\nProvides: mail-transport-agent\n"));
        let (_, description) = text.split_once("Description: ").unwrap();
        assert!(description.lines().skip(1).all(|line| line.starts_with(' ')), "{description}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }
}
