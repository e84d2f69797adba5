//! The resolver: where the mail of a domain goes. The one wrapper around hickory.
//!
//! Its runtime lives in the calling thread and is started with the resolver, so only a process that
//! asks pays for it. Answers are not validated here and nothing is trusted that DNSSEC would have
//! to prove.
#![forbid(unsafe_code)]

mod servers;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};

pub use servers::{BadServer, parse_servers};

/// Mail exchangers of one domain that are looked at; the rest of a longer list is dropped.
pub const MAX_EXCHANGERS: usize = 100;
/// Addresses of one name that are looked at, of each family.
pub const MAX_ADDRESSES: usize = 32;
/// How long one question may take in all.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How to ask.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Who is asked; if empty, whom `/etc/resolv.conf` names.
    pub servers: Vec<std::net::SocketAddr>,
}

/// One place that takes mail for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchanger {
    /// Lower is better.
    pub preference: u16,
    /// Its name, without the final dot; empty in a null MX.
    pub host: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no such name.
    NotFound,
    /// The name exists and has no record of this kind.
    NoData,
    /// Nobody could say; ask again later. The text is for the log.
    Temporary(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("no such name"),
            Self::NoData => f.write_str("no such record"),
            Self::Temporary(text) => write!(f, "temporary DNS trouble: {text}"),
        }
    }
}

impl std::error::Error for Error {}

/// Asks the DNS.
pub struct Resolver {
    inner: TokioResolver,
    runtime: tokio::runtime::Runtime,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver, its runtime started.
    ///
    /// # Errors
    /// [`Error::Temporary`] if `/etc/resolv.conf` cannot be used or the runtime does not start.
    pub fn from(config: &Config) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(temporary)?;
        let inner = {
            let _inside = runtime.enter();
            bare(config)?
        };
        Ok(Self { inner, runtime })
    }

    /// The mail exchangers of `domain`, best first, in the order given among equals. A null MX
    /// (RFC 7505) is one exchanger with an empty name.
    ///
    /// # Errors
    /// [`Error`]; a name that cannot be one is [`Error::NotFound`].
    pub fn mx(&self, domain: &str) -> Result<Vec<Exchanger>, Error> {
        let mut found: Vec<Exchanger> = self
            .ask(domain, RecordType::MX)?
            .into_iter()
            .filter_map(|data| match data {
                RData::MX(mx) => {
                    Some(Exchanger { preference: mx.preference, host: plain(&mx.exchange) })
                }
                _ => None,
            })
            .take(MAX_EXCHANGERS)
            .collect();
        found.sort_by_key(|exchanger| exchanger.preference);
        if found.is_empty() { Err(Error::NoData) } else { Ok(found) }
    }

    /// The addresses of `host`, IPv4 first; `/etc/hosts` and `localhost` are known. A CNAME is
    /// followed.
    ///
    /// # Errors
    /// [`Error`], only if neither family has an address: [`Error::Temporary`] if one of them could
    /// not be asked for.
    pub fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Error> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let v4 = self.family(host, RecordType::A);
        let v6 = self.family(host, RecordType::AAAA);
        match (v4, v6) {
            (Ok(mut v4), Ok(v6)) => {
                v4.extend(v6);
                Ok(v4)
            }
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
            (Err(a), Err(b)) => Err(worse(a, b)),
        }
    }

    /// The addresses of one family.
    fn family(&self, host: &str, kind: RecordType) -> Result<Vec<IpAddr>, Error> {
        let data = self.ask(host, kind)?;
        let found: Vec<_> = data.iter().filter_map(RData::ip_addr).take(MAX_ADDRESSES).collect();
        if found.is_empty() { Err(Error::NoData) } else { Ok(found) }
    }

    /// Everything of one kind that the answer holds, whatever name it stands under (the name asked
    /// for, or where its CNAMEs lead).
    fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, Error> {
        let name = absolute(name).ok_or(Error::NotFound)?;
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(DEADLINE, self.inner.lookup(name, kind)).await
        });
        match answer {
            Err(_elapsed) => Err(temporary("no answer in time")),
            Ok(Err(err)) => Err(judge(&err)),
            Ok(Ok(found)) => Ok(found
                .answers()
                .iter()
                .filter(|record| record.record_type() == kind)
                .map(|record| record.data.clone())
                .collect()),
        }
    }
}

/// The library's own resolver, set up as ours is, for a caller that hands it to another library;
/// the runtime is the caller's, and this runs inside it.
///
/// # Errors
/// [`Error::Temporary`] if `/etc/resolv.conf` cannot be used.
pub fn bare(config: &Config) -> Result<TokioResolver, Error> {
    let mut builder = builder(config)?;
    tune(builder.options_mut());
    builder.build().map_err(temporary)
}

/// Whom to ask.
fn builder(config: &Config) -> Result<ResolverBuilder<TokioRuntimeProvider>, Error> {
    if config.servers.is_empty() {
        return TokioResolver::builder_tokio().map_err(temporary);
    }
    let list = config.servers.iter().map(|server| servers::named(*server)).collect();
    let list = ResolverConfig::from_parts(None, Vec::new(), list);
    Ok(TokioResolver::builder_with_config(list, TokioRuntimeProvider::default()))
}

/// Short tries, no cache to speak of: one process asks a handful of questions and is gone.
fn tune(options: &mut ResolverOpts) {
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = options.timeout.clamp(Duration::from_secs(1), Duration::from_secs(3));
    options.attempts = options.attempts.clamp(2, 3);
    options.edns0 = true;
    options.cache_size = 64;
    options.case_randomization = false;
}

/// The name as it stands: no search list is ever applied to mail.
fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name.trim_end_matches('.')).ok()?;
    name.set_fqdn(true);
    (!name.is_root()).then_some(name)
}

/// A name without its final dot.
fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

/// Which kind of trouble it is: only the answer "no such name" says so, and a server that refuses
/// or fails has not answered.
fn judge(err: &NetError) -> Error {
    if err.is_nx_domain() {
        return Error::NotFound;
    }
    match err {
        NetError::Dns(hickory_resolver::net::DnsError::NoRecordsFound(none))
            if none.response_code == ResponseCode::NoError =>
        {
            Error::NoData
        }
        _ => temporary(err),
    }
}

fn temporary(why: impl fmt::Display) -> Error {
    Error::Temporary(why.to_string())
}

/// Of two failures the one to report: what may change beats what exists, beats what does not.
fn worse(a: Error, b: Error) -> Error {
    match (a, b) {
        (Error::Temporary(text), _) | (_, Error::Temporary(text)) => Error::Temporary(text),
        (Error::NoData, _) | (_, Error::NoData) => Error::NoData,
        (Error::NotFound, Error::NotFound) => Error::NotFound,
    }
}

#[cfg(test)]
mod tests;
