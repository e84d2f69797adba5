//! How an attempt ended: the one letter that crosses every process boundary.

/// Done, later, or never (`K`, `Z`, `D`; qmail-log(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// `K`: it is done.
    Done,
    /// `Z`: it did not work now; try again later.
    Later,
    /// `D`: it will never work.
    Never,
}

impl Outcome {
    /// The letter on the wire.
    pub const fn letter(self) -> u8 {
        match self {
            Self::Done => b'K',
            Self::Later => b'Z',
            Self::Never => b'D',
        }
    }

    /// The outcome a letter stands for, if it stands for one.
    pub const fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'K' => Some(Self::Done),
            b'Z' => Some(Self::Later),
            b'D' => Some(Self::Never),
            _ => None,
        }
    }

    /// What the exit code of a program on a `.qmail` line means (dot-qmail(5); there
    /// 99 is said otherwise).
    pub const fn of_program(code: u8) -> Self {
        match code {
            0 => Self::Done,
            100 | 64 | 65 | 70 | 76 | 77 | 78 | 112 => Self::Never,
            _ => Self::Later,
        }
    }
}
