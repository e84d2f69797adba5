//! How stock reads a control file (qmail-control(5)): whatever is in it, something comes
//! of it.

/// The first line, without blanks at its end.
pub(super) fn first(text: &[u8]) -> &[u8] {
    trim(text.split(|&c| c == b'\n').next().unwrap_or_default())
}

/// The lines of a list that count.
pub(super) fn list(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    numbered(text).map(|(_, line)| line)
}

/// The same, each with its number from 1 up.
pub(super) fn numbered(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = (1..).zip(text.split(|&c| c == b'\n').map(trim));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"))
}

/// The file whose lines may end in a password: `host:relay|name|password`.
pub(super) const WITH_SECRETS: &str = "smtproutes";

/// Such a line's part before the password, and the password.
pub(super) fn secret(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut bars = line.iter().enumerate().filter(|&(_, &c)| c == b'|').map(|(at, _)| at);
    let (open, secret) = line.split_at_checked(bars.nth(1)?.saturating_add(1))?;
    (!secret.is_empty()).then_some((open, secret))
}

/// The digits a line begins with.
pub(super) fn digits(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|c| !c.is_ascii_digit()).unwrap_or(line.len());
    line.get(..end).unwrap_or_default()
}

/// Without spaces and tabs at the end.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    let keep = line.iter().rposition(|c| !b" \t".contains(c)).map_or(0, |at| at.saturating_add(1));
    line.get(..keep).unwrap_or(line)
}
