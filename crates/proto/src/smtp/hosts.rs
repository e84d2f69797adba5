//! Which domains a list of hosts covers: the keys under which `rcpthosts`, `morercpthosts.cdb`
//! and their like are asked.

use alloc::vec::Vec;

/// The keys that stand for an address, in the order they are tried: its domain (what follows the
/// last `@`) in lower case, then each suffix of it that begins at a dot, so that an entry
/// `.example.org` covers what lies below example.org but not itself.
///
/// `None` if the address has no `@`: such an address is always this host's own. An empty domain
/// has no keys, and so is covered by no list.
pub fn keys(address: &[u8]) -> Option<Vec<Vec<u8>>> {
    let at = address.iter().rposition(|&c| c == b'@')?;
    let domain = address.get(at.checked_add(1)?..)?.to_ascii_lowercase();
    let starts = domain.iter().enumerate().filter(|&(at, &c)| at == 0 || c == b'.');
    Some(starts.filter_map(|(at, _)| domain.get(at..).map(<[u8]>::to_vec)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_asked_for_with_all_its_parents() {
        let keys = keys(b"a@b@Mail.Example.ORG").unwrap();
        let want: [&[u8]; 3] = [b"mail.example.org", b".example.org", b".org"];
        assert!(keys.iter().map(Vec::as_slice).eq(want));
    }

    #[test]
    fn odd_addresses_have_odd_keys() {
        assert_eq!(keys(b"postmaster"), None);
        assert_eq!(keys(b""), None);
        assert_eq!(keys(b"a@").unwrap().len(), 0);
        assert_eq!(keys(b"a@.x").unwrap(), [b".x"]);
    }
}
