//! `users/assign`, edited: the accounts as lines of text, a final line with a single dot.

/// One account's two lines: its own address, and its extensions (`name-anything`).
pub(crate) struct Account<'a> {
    pub(crate) local: &'a str,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: &'a str,
}

impl Account<'_> {
    fn lines(&self) -> [String; 2] {
        let Self { local, uid, gid, home } = self;
        [
            format!("={local}:{local}:{uid}:{gid}:{home}:::"),
            format!("+{local}-:{local}:{uid}:{gid}:{home}:-::"),
        ]
    }
}

/// Whether a local part is assigned.
pub(crate) fn is_assigned(text: &str, local: &str) -> bool {
    let exact = format!("={local}:");
    let mut lines = text.lines().take_while(|line| *line != ".");
    lines.any(|line| line.to_lowercase().starts_with(&exact))
}

/// Whether any line gives this uid.
pub(crate) fn has_uid(text: &str, uid: u32) -> bool {
    text.lines().any(|line| line.split(':').nth(2).and_then(|of| of.parse().ok()) == Some(uid))
}

/// The text with an account added before the final dot.
pub(crate) fn with_account(text: &str, account: &Account<'_>) -> String {
    let added = account.lines();
    let lines = text.lines().take_while(|line| *line != ".");
    let all = lines.chain(added.iter().map(String::as_str)).chain(["."]);
    all.flat_map(|line| [line, "\n"]).collect()
}

/// The exact addresses assigned, as `(local part, home)`.
pub(crate) fn exact(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().take_while(|line| *line != ".").filter_map(|line| {
        let mut fields = line.strip_prefix('=')?.split(':');
        Some((fields.next()?, fields.nth(3)?))
    })
}

/// Each home once, with the uid and gid of the first line that has it; a line that is none is passed
/// over.
pub(crate) fn homes(text: &str) -> Vec<(&str, u32, u32)> {
    let mut known = std::collections::HashSet::new();
    let lines = text.lines().take_while(|line| *line != ".");
    let all = lines.filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        fields.next().filter(|home| home.starts_with('/')).map(|home| (home, uid, gid))
    });
    all.filter(|(home, ..)| known.insert(*home)).collect()
}

/// The smallest uid from `first` up that no line uses.
pub(crate) fn free_uid(text: &str, first: u32) -> u32 {
    let uids = text.lines().filter_map(|line| line.split(':').nth(2)?.parse::<u32>().ok());
    uids.filter(|uid| *uid >= first).max().map_or(first, |uid| uid.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: Account<'_> = Account { local: "bob", uid: 48_000, gid: 9, home: "/q/mail/bob" };

    #[test]
    fn an_account_goes_before_the_dot_and_only_once() {
        let text = with_account("=joe:joe:1:1:/h:::\n.\nnoise\n", &BOB);
        assert_eq!(
            text,
            "=joe:joe:1:1:/h:::\n=bob:bob:48000:9:/q/mail/bob:::\n+bob-:bob:48000:9:/q/mail/bob:-::\n.\n"
        );
        assert!(is_assigned(&text, "bob") && !is_assigned(&text, "bo"));
        assert!(has_uid(&text, 48_000) && has_uid(&text, 1) && !has_uid(&text, 9));
        assert!(exact(&text).eq([("joe", "/h"), ("bob", "/q/mail/bob")]));
        assert_eq!(homes(&text), [("/h", 1, 1), ("/q/mail/bob", 48_000, 9)]);
        assert_eq!((free_uid(&text, 48_000), free_uid("", 48_000)), (48_001, 48_000));
    }
}
