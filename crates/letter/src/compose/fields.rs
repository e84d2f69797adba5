//! The fields that mean something to us, and what is done with each.

/// A field that means something to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    To,
    Cc,
    Bcc,
    ApparentlyTo,
    ResentTo,
    ResentCc,
    ResentBcc,
    From,
    Sender,
    ReplyTo,
    ReturnReceiptTo,
    ErrorsTo,
    ResentSender,
    ResentFrom,
    ResentReplyTo,
    ReturnPath,
    ContentLength,
    Date,
    MessageId,
    ResentDate,
    ResentMessageId,
    FollowupTo,
}

/// Their names, in any case.
pub(super) const NAMES: [(&[u8], Known); 22] = [
    (b"To", Known::To),
    (b"Cc", Known::Cc),
    (b"Bcc", Known::Bcc),
    (b"Apparently-To", Known::ApparentlyTo),
    (b"Resent-To", Known::ResentTo),
    (b"Resent-Cc", Known::ResentCc),
    (b"Resent-Bcc", Known::ResentBcc),
    (b"From", Known::From),
    (b"Sender", Known::Sender),
    (b"Reply-To", Known::ReplyTo),
    (b"Return-Receipt-To", Known::ReturnReceiptTo),
    (b"Errors-To", Known::ErrorsTo),
    (b"Resent-Sender", Known::ResentSender),
    (b"Resent-From", Known::ResentFrom),
    (b"Resent-Reply-To", Known::ResentReplyTo),
    (b"Return-Path", Known::ReturnPath),
    (b"Content-Length", Known::ContentLength),
    (b"Date", Known::Date),
    (b"Message-ID", Known::MessageId),
    (b"Resent-Date", Known::ResentDate),
    (b"Resent-Message-ID", Known::ResentMessageId),
    (b"Mail-Followup-To", Known::FollowupTo),
];

/// What is done with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    Copy,
    Drop,
    /// Its addresses are completed.
    Complete,
    /// They are completed and are recipients, of a resent letter or of a first sending.
    Recipients {
        resent: bool,
        public: bool,
        keep: bool,
    },
    /// Its right-most address is the envelope sender; it goes.
    ReturnPath,
}

impl Known {
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, known)| *known)
    }

    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// What its presence tells of a letter sent on.
    pub(super) const fn is_resent(self) -> bool {
        matches!(
            self,
            Self::ResentSender
                | Self::ResentFrom
                | Self::ResentReplyTo
                | Self::ResentTo
                | Self::ResentCc
                | Self::ResentBcc
                | Self::ResentDate
                | Self::ResentMessageId
        )
    }

    pub(super) const fn treatment(self) -> Treatment {
        match self {
            Self::To | Self::Cc => {
                Treatment::Recipients { resent: false, public: true, keep: true }
            }
            Self::ApparentlyTo => {
                Treatment::Recipients { resent: false, public: false, keep: true }
            }
            Self::Bcc => Treatment::Recipients { resent: false, public: false, keep: false },
            Self::ResentTo | Self::ResentCc => {
                Treatment::Recipients { resent: true, public: false, keep: true }
            }
            Self::ResentBcc => Treatment::Recipients { resent: true, public: false, keep: false },
            Self::From
            | Self::Sender
            | Self::ReplyTo
            | Self::ReturnReceiptTo
            | Self::ErrorsTo
            | Self::ResentSender
            | Self::ResentFrom
            | Self::ResentReplyTo => Treatment::Complete,
            Self::ReturnPath => Treatment::ReturnPath,
            Self::ContentLength => Treatment::Drop,
            Self::Date
            | Self::MessageId
            | Self::ResentDate
            | Self::ResentMessageId
            | Self::FollowupTo => Treatment::Copy,
        }
    }
}

/// What the letters of `$QMAILINJECT` say about fields that came with the letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// `f`: drop an incoming `From`.
    pub from: bool,
    /// `i`: drop an incoming `Message-ID`.
    pub message_id: bool,
    /// `s`: do not take the sender from an incoming `Return-Path`.
    pub return_path: bool,
}

impl Drops {
    /// Whether a field goes unread.
    pub(super) const fn takes_away(self, known: Known) -> bool {
        match known {
            Known::From => self.from,
            Known::MessageId => self.message_id,
            Known::ReturnPath => self.return_path,
            _ => false,
        }
    }
}
