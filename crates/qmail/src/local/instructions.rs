//! What the lines of a `.qmail` file mean (dot-qmail(5)).

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instruction<'a> {
    /// The first line is blank: most likely a mistake.
    Blank,
    /// The line of this number ends in a CR, from an editor of another system: most likely a
    /// mistake.
    CarriageReturn(usize),
    /// The line of this number forwards to an empty address, where letters vanish: most likely a
    /// mistake.
    Nobody(usize),
    /// Nothing to do.
    Comment,
    /// Give the letter to a program, by way of `/bin/sh -c`.
    Program(&'a [u8]),
    /// Deliver into this directory.
    Maildir(&'a [u8]),
    /// Append to this file.
    Mbox(&'a [u8]),
    /// From here on forward only (`+list`).
    ForwardOnly,
    /// Send it to this address.
    Forward(&'a [u8]),
}

/// The instructions of a file, in order.
pub(super) fn instructions(text: &[u8]) -> impl Iterator<Item = Instruction<'_>> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    (1..).zip(text.split(|&c| c == b'\n')).map(|(number, line)| instruction(number, line))
}

/// One line without its LF; the first has the number 1.
fn instruction(number: usize, line: &[u8]) -> Instruction<'_> {
    let keep = line.iter().rposition(|c| !b" \t".contains(c)).map_or(0, |at| at + 1);
    let line = line.get(..keep).unwrap_or(line);
    // No path, command or address goes on behind a NUL.
    let line = line.split(|&c| c == 0).next().unwrap_or(line);
    match line {
        [] if number == 1 => Instruction::Blank,
        [] | [b'#', ..] => Instruction::Comment,
        [.., b'\r'] => Instruction::CarriageReturn(number),
        [b'|', command @ ..] => Instruction::Program(command),
        [b'.' | b'/', .., b'/'] | b"/" => Instruction::Maildir(line),
        [b'.' | b'/', ..] => Instruction::Mbox(line),
        b"+list" => Instruction::ForwardOnly,
        [b'+', ..] => Instruction::Comment,
        [b'&'] => Instruction::Nobody(number),
        [b'&', address @ ..] => Instruction::Forward(address),
        _ => Instruction::Forward(line),
    }
}

#[cfg(test)]
mod tests {
    use super::Instruction::{Blank, Comment, Forward, ForwardOnly, Maildir, Mbox, Program};
    use super::*;

    #[test]
    fn every_line_has_its_meaning() {
        let text =
            b"# c\n\n|cmd a b \t\n./Maildir/\n./Mailbox\n/m/x/ \n+list\n+x\n&a b@c\nme@d\n joe";
        let got: Vec<_> = instructions(text).collect();
        let want = [
            Comment,
            Comment,
            Program(b"cmd a b"),
            Maildir(b"./Maildir/"),
            Mbox(b"./Mailbox"),
            Maildir(b"/m/x/"),
            ForwardOnly,
            Comment,
            Forward(b"a b@c"),
            Forward(b"me@d"),
            Forward(b" joe"),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn a_blank_first_line_is_told_from_a_later_one() {
        assert!(instructions(b" \t\n\nx\n").eq([Blank, Comment, Forward(b"x")]));
        assert!(instructions(b"x").eq([Forward(b"x")]));
        assert!(
            instructions(b"# c\r\n./Maildir/\r\n").eq([Comment, Instruction::CarriageReturn(2)])
        );
        assert!(instructions(b"./M\0/\n").eq([Mbox(b"./M")]));
        assert!(instructions(b"& \n&x").eq([Instruction::Nobody(1), Forward(b"x")]));
    }
}
