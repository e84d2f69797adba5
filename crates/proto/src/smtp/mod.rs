//! SMTP (RFC 5321) as stock `qmail-smtpd` and `qmail-remote` speak it.
