//! What the library says of a letter, in the words of RFC 8601.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mail_auth::common::crypto::Algorithm;
use mail_auth::dkim::{DkimError, Signature};
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcOutput, DmarcResult, DnsError, Error,
    MessageAuthenticator, SpfOutput, SpfResult,
};
use tokio::time::{Instant, timeout_at};

use crate::print::{Dkim, Dmarc, Identity, Spf, Verdicts, is_domain};

/// Signatures of one letter that are looked at; the rest is passed over.
const SIGNATURES: usize = 10;

/// How the letter came.
#[derive(Clone, Debug)]
pub(crate) struct Circumstances {
    /// The client.
    pub ip: IpAddr,
    /// The name it gave, empty if none is known.
    pub helo: String,
    /// The envelope sender, empty in a bounce.
    pub sender: String,
    /// Our own name.
    pub host: String,
    /// Whom to ask; if empty, whom `/etc/resolv.conf` names.
    pub servers: Vec<SocketAddr>,
    /// How long all questions may take; what is not answered then is `temperror`.
    pub limit: Duration,
}

/// Why there is no verdict at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoVerdict {
    /// The letter has no header.
    Headless,
    /// This machine does not let us ask.
    Trouble(String),
}

/// Judges a letter whose lines end in CR LF.
///
/// # Errors
/// [`NoVerdict`]; a DNS that does not answer is a verdict.
pub(crate) fn judge(letter: &[u8], came: &Circumstances) -> Result<Verdicts, NoVerdict> {
    let trouble = |why: &dyn std::fmt::Display| NoVerdict::Trouble(why.to_string());
    let mut message = AuthenticatedMessage::parse(letter).ok_or(NoVerdict::Headless)?;
    let refused = refuse(&mut message);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| trouble(&e))?.block_on(async {
        let config = dns::Config { servers: came.servers.clone() };
        let asker = MessageAuthenticator(dns::bare(&config).map_err(|e| trouble(&e))?);
        let until = Instant::now() + came.limit;
        let (spf, identity) = spf(&asker, came, until).await;
        let asked = timeout_at(until, asker.verify_dkim(&message)).await;
        let dkim = asked.unwrap_or_else(|_late| vec![DkimOutput::temp_err(late())]);
        let params = DmarcParameters::new(&message, &dkim, spf.domain(), &spf);
        let asked = timeout_at(until, asker.verify_dmarc(params)).await;
        let dmarc = asked.unwrap_or_else(|_late| {
            DmarcOutput::default().with_dkim_result(DmarcResult::TempError(late()))
        });
        Ok(Verdicts {
            spf: Spf { word: spf_word(spf.result()), identity },
            dkim: dkim.iter().map(dkim_verdict).chain(refused).collect(),
            dmarc: Dmarc { word: dmarc_word(&dmarc), domain: dmarc.domain().to_owned() },
        })
    })
}

/// Takes away the signatures that prove nothing or are too many, and says what they are called.
fn refuse(message: &mut AuthenticatedMessage<'_>) -> Vec<Dkim> {
    message.dkim_headers.truncate(SIGNATURES);
    message.errors.truncate(SIGNATURES);
    let mut refused = Vec::new();
    message.dkim_headers.retain(|header| {
        let proves = proves(&header.header);
        if !proves {
            refused.push(named("policy", Some(&header.header)));
        }
        proves
    });
    refused
}

/// A signature by SHA-1 (RFC 8301 §3.1) or without the author's field (RFC 6376 §5.4) does not.
fn proves(signature: &Signature) -> bool {
    signature.a != Algorithm::RsaSha1
        && signature.h.iter().any(|field| field.eq_ignore_ascii_case("from"))
}

/// Asks about the sender's domain, or about the client's name where the sender is no address
/// (RFC 7208 §2.4). What is no domain is not asked about.
async fn spf(
    asker: &MessageAuthenticator,
    came: &Circumstances,
    until: Instant,
) -> (SpfOutput, Identity) {
    let Circumstances { ip, helo, sender, host, .. } = came;
    let (identity, domain, params) = match sender.rsplit_once('@') {
        Some((_, domain)) => {
            let params = SpfParameters::verify_mail_from(*ip, helo, host, sender);
            (Identity::MailFrom(sender.clone()), domain, params)
        }
        None if helo.is_empty() => {
            (Identity::Nobody, "", SpfParameters::verify_ehlo(*ip, helo, host))
        }
        None => {
            let params = SpfParameters::verify_ehlo(*ip, helo, host);
            (Identity::Helo(helo.clone()), helo.as_str(), params)
        }
    };
    let unasked = || SpfOutput::new(domain.to_owned());
    if !is_domain(domain) {
        return (unasked(), identity);
    }
    let asked = timeout_at(until, asker.verify_spf(params)).await;
    (asked.unwrap_or_else(|_late| unasked().with_result(SpfResult::TempError)), identity)
}

/// What is said of a question that was not answered in time.
fn late() -> Error {
    Error::Dns(DnsError::Resolver("no answer in time".to_owned()))
}

fn spf_word(result: SpfResult) -> &'static str {
    match result {
        SpfResult::Pass => "pass",
        SpfResult::Fail => "fail",
        SpfResult::SoftFail => "softfail",
        SpfResult::Neutral => "neutral",
        SpfResult::TempError => "temperror",
        SpfResult::PermError => "permerror",
        SpfResult::None => "none",
    }
}

fn dkim_verdict(output: &DkimOutput<'_>) -> Dkim {
    named(dkim_word(output.result()), output.signature())
}

fn named(word: &'static str, signature: Option<&Signature>) -> Dkim {
    let (domain, selector) = signature.map(|it| (it.d.clone(), it.s.clone())).unwrap_or_default();
    Dkim { word, domain, selector }
}

/// The library calls a changed body neutral; for RFC 8601 §2.7.1 the signature failed.
fn dkim_word(result: &DkimResult) -> &'static str {
    match result {
        DkimResult::Pass => "pass",
        DkimResult::Neutral(Error::Dkim(DkimError::FailedBodyHashMatch)) | DkimResult::Fail(_) => {
            "fail"
        }
        DkimResult::Neutral(_) => "neutral",
        DkimResult::PermError(_) => "permerror",
        DkimResult::TempError(_) => "temperror",
        DkimResult::None => "none",
    }
}

fn dmarc_word(output: &DmarcOutput) -> &'static str {
    match output.result() {
        DmarcResult::Pass => "pass",
        DmarcResult::Fail(_) => "fail",
        DmarcResult::TempError(_) => "temperror",
        DmarcResult::PermError(_) => "permerror",
        DmarcResult::None => "none",
    }
}
