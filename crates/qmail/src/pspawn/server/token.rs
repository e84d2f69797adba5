//! Numbers for the kernel to give back.

/// What a number that the kernel gives back to us stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Signals,
    Listener,
    Peer(u64),
    Check(u64),
    Nest(u64),
}

impl Token {
    pub(super) const fn number(self) -> u64 {
        let (number, kind) = match self {
            Self::Signals => (0, 0),
            Self::Listener => (1, 0),
            Self::Peer(number) => (number, 1),
            Self::Check(number) => (number, 2),
            Self::Nest(number) => (number, 3),
        };
        number << 2 | kind
    }

    pub(super) const fn of(number: u64) -> Self {
        match (number & 3, number >> 2) {
            (0, 0) => Self::Signals,
            (0, _) => Self::Listener,
            (1, number) => Self::Peer(number),
            (2, number) => Self::Check(number),
            (_, number) => Self::Nest(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_comes_back_as_itself() {
        let (one, most) = (1, u64::MAX >> 2);
        for token in [Token::Signals, Token::Listener, Token::Peer(one), Token::Peer(most)] {
            assert_eq!(Token::of(token.number()), token);
        }
        for token in [Token::Check(one), Token::Check(most), Token::Nest(one), Token::Nest(most)] {
            assert_eq!(Token::of(token.number()), token);
        }
    }
}
