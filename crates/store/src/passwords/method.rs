//! How a secret is compared with a hash, for each method a hash may name.

use std::io;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use sha_crypt::ShaCrypt;
use yescrypt::Yescrypt;

/// Longer secrets fit nothing (they do not pass the login interface either).
const SECRET: usize = base::limits::LOGIN;
/// Memory of a new hash in KiB: with [`PASSES`] what OWASP asks for at the least.
const MEMORY: u32 = 19 << 10;
/// Passes of a new hash.
const PASSES: u32 = 2;
/// The salt an unknown name is compared under.
const NOBODY: &[u8; 16] = b"nobody has this!";

/// A method, by the beginning of its hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Argon2,
    Yescrypt,
    Sha,
    Bcrypt,
}

/// The method a hash names, and what its last field is at least long: a shortened hash would fit
/// too many secrets.
const METHODS: [(&str, Method, usize); 9] = [
    ("$argon2id$", Method::Argon2, 22),
    ("$argon2i$", Method::Argon2, 22),
    ("$argon2d$", Method::Argon2, 22),
    ("$y$", Method::Yescrypt, 43),
    ("$6$", Method::Sha, 86),
    ("$5$", Method::Sha, 43),
    ("$2b$", Method::Bcrypt, 53),
    ("$2y$", Method::Bcrypt, 53),
    ("$2a$", Method::Bcrypt, 53),
];

fn method(hash: &str) -> Option<Method> {
    let last = hash.rsplit('$').next()?.len();
    let found = METHODS.iter().find(|(start, _, least)| hash.starts_with(start) && last >= *least);
    found.map(|(_, method, _)| *method)
}

/// Whether this is a hash that [`verify`] understands.
pub fn is_hash(hash: &[u8]) -> bool {
    std::str::from_utf8(hash).is_ok_and(|hash| method(hash).is_some())
}

fn argon2() -> Result<Argon2<'static>, argon2::Error> {
    let params = Params::new(MEMORY, PASSES, 1, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Sixteen random bytes.
///
/// # Errors
/// The kernel has none.
pub fn salt() -> io::Result<[u8; 16]> {
    let mut salt = [0; 16];
    sys::random::fill(&mut salt)?;
    Ok(salt)
}

/// The `$argon2id$` hash of a secret (19 MiB, two passes, one lane).
///
/// # Errors
/// `InvalidInput` for a secret that is empty or too long to log in with; `OutOfMemory`.
pub fn hash(secret: &[u8], salt: &[u8; 16]) -> io::Result<String> {
    if secret.is_empty() || secret.len() > SECRET || secret.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let wrong = |_| io::Error::from(io::ErrorKind::OutOfMemory);
    let argon2 = argon2().map_err(|_| io::ErrorKind::InvalidInput)?;
    let made: PasswordHash = argon2.hash_password_with_salt(secret, salt).map_err(wrong)?;
    Ok(made.to_string())
}

/// Whether the secret fits the hash. Compared in constant time; no hash (an unknown name), or one
/// of no known method, costs the time of a fresh one and fits nothing. An empty secret never fits.
pub fn verify(secret: &[u8], hash: Option<&[u8]>) -> bool {
    let hash = hash.and_then(|hash| std::str::from_utf8(hash).ok());
    let Some((hash, method)) = hash.and_then(|hash| Some((hash, method(hash)?))) else {
        let spent = self::hash(if secret.is_empty() { b"x" } else { secret }, NOBODY);
        std::hint::black_box(spent.is_ok());
        return false;
    };
    if secret.is_empty() || secret.len() > SECRET {
        return false;
    }
    match method {
        Method::Argon2 => PasswordHash::new(hash)
            .is_ok_and(|hash| Argon2::default().verify_password(secret, &hash).is_ok()),
        Method::Yescrypt => Yescrypt::default().verify_password(secret, hash).is_ok(),
        Method::Sha => ShaCrypt::default().verify_password(secret, hash).is_ok(),
        Method::Bcrypt => bcrypt::verify(secret, hash).unwrap_or(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_hash_fits_its_secret() {
        let made = hash(b"secret", b"0123456789abcdef").unwrap();
        assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
        assert!(verify(b"secret", Some(made.as_bytes())));
        assert!(!verify(b"secre", Some(made.as_bytes())));
        assert_ne!(salt().unwrap(), salt().unwrap());
    }

    /// Hashes made by other programs for the secret `Hello world!` (the published SHA-crypt
    /// vectors) and others.
    #[test]
    fn hashes_of_other_programs_fit() {
        const HASHES: [(&str, &str); 4] = [
            (
                "Hello world!",
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            ),
            ("Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
            ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
            (
                "pleaseletmein",
                "$y$jD5.7$LdJMENpBABJJ3hIHjB1Bi.$HboGM6qPrsK.StKYGt6KErmUYtioHreJd98oIugoNB6",
            ),
        ];
        for (secret, hash) in HASHES {
            assert!(is_hash(hash.as_bytes()), "{hash}");
            assert!(verify(secret.as_bytes(), Some(hash.as_bytes())), "{hash}");
            assert!(!verify(b"wrong", Some(hash.as_bytes())), "{hash}");
        }
    }

    #[test]
    fn nothing_fits_an_empty_secret_a_shortened_hash_or_no_hash() {
        let made = hash(b"secret", b"0123456789abcdef").unwrap();
        assert!(!verify(b"", Some(made.as_bytes())));
        assert!(!verify(b"secret", None));
        for cut in ["$y$jD5.7$LdJMENpBABJJ3hIHjB1Bi.$", "$6$saltstring$", "$2b$", "plain", ""] {
            assert!(!verify(b"x", Some(cut.as_bytes())), "{cut}");
            assert!(!is_hash(cut.as_bytes()));
        }
        assert!(hash(b"", b"0123456789abcdef").is_err());
    }
}
