//! Names of services, layers and IPCPs, with the limits that every peer shares.
//!
//! A name is 1 to 255 bytes of UTF-8 without a NUL byte (`spec/irm-tools.md` §1). The bytes go into
//! the directory hash as they are, without terminator.

use std::{borrow::Borrow, fmt};

/// Longest name in bytes.
pub const NAME_MAX: usize = 255;

/// A valid service, layer or IPCP name: 1 to 255 bytes of UTF-8, no NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// Why some bytes are not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No byte at all.
    #[error("a name must not be empty; give one of 1 to {NAME_MAX} bytes")]
    Empty,
    /// More than [`NAME_MAX`] bytes.
    #[error("the name is {0} bytes long; the limit is {NAME_MAX} bytes of UTF-8")]
    TooLong(usize),
    /// A NUL byte, which C programs cannot represent.
    #[error("the name has a NUL byte at position {0}; names cannot contain NUL")]
    Nul(usize),
    /// Not UTF-8.
    #[error("the name is not UTF-8 (first bad byte at position {0}); encode it as UTF-8")]
    NotUtf8(usize),
}

impl Name {
    /// Checks `bytes` and makes a name of them.
    ///
    /// # Errors
    /// [`NameError`] says which rule is broken.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > NAME_MAX {
            return Err(NameError::TooLong(bytes.len()));
        }
        if let Some(at) = bytes.iter().position(|b| *b == 0) {
            return Err(NameError::Nul(at));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self(text.into())),
            Err(error) => Err(NameError::NotUtf8(error.valid_up_to())),
        }
    }

    /// Checks `text` and makes a name of it.
    ///
    /// # Errors
    /// [`NameError`] says which rule is broken.
    pub fn new(text: &str) -> Result<Self, NameError> {
        Self::from_bytes(text.as_bytes())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_are_exact() {
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert!(Name::new(&"n".repeat(255)).is_ok());
        assert_eq!(Name::new(&"n".repeat(256)), Err(NameError::TooLong(256)));
        assert_eq!(Name::new("a\0b"), Err(NameError::Nul(1)));
        assert_eq!(Name::from_bytes(b"ab\xff"), Err(NameError::NotUtf8(2)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(name) = Name::from_bytes(&bytes) {
                prop_assert_eq!(name.as_str().as_bytes(), &bytes[..]);
            }
        }
    }
}
