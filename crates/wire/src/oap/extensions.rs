//! Extensions of FRCP that two of our nodes agree on during flow allocation, carried in front of
//! the application's bytes in the OAP data field.
//!
//! A node of the C implementation 0.23 carries the data field without looking at it and its
//! library hands it to nobody, so an offer does no harm there; such a client never gets an answer,
//! because a server answers only an offer. The block:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | [`MAGIC`] |
//! | 4 | 1 | version, 1 |
//! | 5 | 2 | bytes of the items |
//! | 7 | | items: type (1), length (1), value |
//!
//! | type | value |
//! | --- | --- |
//! | 1 | flags (1): 0x01 fragments, 0x02 selective acknowledgements |
//! | 2 | receive window in packets (4) |
//!
//! Unknown items, longer values and the items of other versions are skipped. What follows the
//! block is the application's. Application bytes that begin with the magic themselves are written
//! behind an empty block, so that they are never mistaken for one.

/// First bytes of a data field with extensions.
pub const MAGIC: [u8; 4] = *b"O7S+";

const VERSION: u8 = 1;
const ITEM_FLAGS: u8 = 1;
const ITEM_WINDOW: u8 = 2;
const FLAG_FRAGMENTS: u8 = 0x01;
const FLAG_SELECTIVE: u8 = 0x02;

/// What one of our nodes offers, or both agreed on, for the flow's FRCP. The default is plain 0.23.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Extensions {
    /// Messages larger than a packet are sent as fragments.
    pub fragments: bool,
    /// Control packets carry selective acknowledgements.
    pub selective: bool,
    /// Receive window in packets; 0 = that of 0.23.
    pub window: u32,
}

impl Extensions {
    /// What two sides that offer `self` and `other` can both do.
    #[must_use]
    pub fn agree(self, other: Self) -> Self {
        Self {
            fragments: self.fragments && other.fragments,
            selective: self.selective && other.selective,
            window: self.window.min(other.window),
        }
    }
}

/// Why a data field that begins with the magic is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// The block ends before its header or its items do.
    #[error("the extension block is cut: {need} bytes needed, {got} there")]
    Cut {
        /// Bytes the block says it has.
        need: usize,
        /// Bytes that are there.
        got: usize,
    },
    /// An item is longer than the block, or shorter than its value.
    #[error("item {item} of the extension block has {len} bytes, which does not fit")]
    Item {
        /// Type of the item.
        item: u8,
        /// Its length.
        len: usize,
    },
}

/// A data field, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Data<'a> {
    /// The extensions, when the field has a block of this version that is not empty.
    pub extensions: Option<Extensions>,
    /// The application's bytes.
    pub application: &'a [u8],
}

impl<'a> Data<'a> {
    /// Parses a data field.
    ///
    /// # Errors
    /// [`ExtensionError`] when it begins with the magic and the block is malformed.
    pub fn parse(data: &'a [u8]) -> Result<Self, ExtensionError> {
        let Some(block) = data.strip_prefix(&MAGIC) else {
            return Ok(Self {
                extensions: None,
                application: data,
            });
        };
        let header = MAGIC.len() + 3;
        let [version, high, low, rest @ ..] = block else {
            return Err(ExtensionError::Cut {
                need: header,
                got: data.len(),
            });
        };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (items, application) = rest.split_at_checked(len).ok_or(ExtensionError::Cut {
            need: header + len,
            got: data.len(),
        })?;
        let extensions = if *version == VERSION && !items.is_empty() {
            Some(parse_items(items)?)
        } else {
            None
        };
        Ok(Self {
            extensions,
            application,
        })
    }

    /// Writes a data field.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.application.len() + 16);
        match self.extensions {
            Some(extensions) => {
                let flags = if extensions.fragments {
                    FLAG_FRAGMENTS
                } else {
                    0
                } | if extensions.selective {
                    FLAG_SELECTIVE
                } else {
                    0
                };
                out.extend_from_slice(&MAGIC);
                out.extend_from_slice(&[VERSION, 0, 9, ITEM_FLAGS, 1, flags, ITEM_WINDOW, 4]);
                out.extend_from_slice(&extensions.window.to_be_bytes());
            }
            None if self.application.starts_with(&MAGIC) => {
                out.extend_from_slice(&MAGIC);
                out.extend_from_slice(&[VERSION, 0, 0]);
            }
            None => {}
        }
        out.extend_from_slice(self.application);
        out
    }
}

fn parse_items(mut items: &[u8]) -> Result<Extensions, ExtensionError> {
    let mut extensions = Extensions::default();
    while let [item, rest @ ..] = items {
        let (len, rest) = rest.split_first().ok_or(ExtensionError::Item {
            item: *item,
            len: 0,
        })?;
        let len = usize::from(*len);
        let misfit = ExtensionError::Item { item: *item, len };
        let (value, rest) = rest.split_at_checked(len).ok_or(misfit)?;
        match *item {
            ITEM_FLAGS => {
                let flags = *value.first().ok_or(misfit)?;
                extensions.fragments = flags & FLAG_FRAGMENTS != 0;
                extensions.selective = flags & FLAG_SELECTIVE != 0;
            }
            ITEM_WINDOW => {
                let window = value.first_chunk::<4>().ok_or(misfit)?;
                extensions.window = u32::from_be_bytes(*window);
            }
            _ => {}
        }
        items = rest;
    }
    Ok(extensions)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_block_has_these_bytes() {
        let data = Data {
            extensions: Some(Extensions {
                fragments: true,
                selective: false,
                window: 0x0102_0304,
            }),
            application: b"app",
        };
        let bytes = data.emit();
        assert_eq!(
            bytes,
            b"O7S+\x01\x00\x09\x01\x01\x01\x02\x04\x01\x02\x03\x04app"
        );
        assert_eq!(Data::parse(&bytes), Ok(data));
    }

    #[test]
    fn unknown_items_and_versions_are_skipped() {
        let parsed = Data::parse(b"O7S+\x01\x00\x09\x63\x02xx\x01\x03\x02yzapp").unwrap();
        let extensions = parsed.extensions.unwrap();
        assert!(extensions.selective && !extensions.fragments);
        assert_eq!(parsed.application, b"app");

        let parsed = Data::parse(b"O7S+\x02\x00\x02\xff\xffapp").unwrap();
        assert_eq!(parsed.extensions, None);
        assert_eq!(parsed.application, b"app");
    }

    #[test]
    fn malformed_blocks_are_refused() {
        assert_eq!(
            Data::parse(b"O7S+\x01\x00"),
            Err(ExtensionError::Cut { need: 7, got: 6 })
        );
        assert_eq!(
            Data::parse(b"O7S+\x01\x00\x05abc"),
            Err(ExtensionError::Cut { need: 12, got: 10 })
        );
        for (block, item, len) in [
            (&b"O7S+\x01\x00\x01\x01"[..], 1, 0),
            (b"O7S+\x01\x00\x02\x01\x00", 1, 0),
            (b"O7S+\x01\x00\x03\x02\x04\x00", 2, 4),
            (b"O7S+\x01\x00\x05\x02\x03\x00\x00\x00", 2, 3),
            (b"O7S+\x01\x00\x02\x07\x01", 7, 1),
        ] {
            assert_eq!(Data::parse(block), Err(ExtensionError::Item { item, len }));
        }
    }

    #[test]
    fn both_sides_must_be_able() {
        let all = Extensions {
            fragments: true,
            selective: true,
            window: 4096,
        };
        let some = Extensions {
            fragments: false,
            selective: true,
            window: 512,
        };
        assert_eq!(all.agree(some), some);
        assert_eq!(some.agree(all), some);
        assert_eq!(all.agree(Extensions::default()), Extensions::default());
    }

    proptest! {
        #[test]
        fn what_is_emitted_parses(
            extensions in prop::option::of((any::<bool>(), any::<bool>(), any::<u32>())),
            magic in any::<bool>(),
            tail in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut application = if magic { MAGIC.to_vec() } else { Vec::new() };
            application.extend(tail);
            let data = Data {
                extensions: extensions.map(|(fragments, selective, window)| Extensions {
                    fragments,
                    selective,
                    window,
                }),
                application: &application,
            };
            let bytes = data.emit();
            prop_assert_eq!(Data::parse(&bytes), Ok(data));
        }

        #[test]
        fn arbitrary_data_never_panics(tail in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Data::parse(&tail);
            let mut block = MAGIC.to_vec();
            block.extend(tail);
            let _ = Data::parse(&block);
        }
    }
}
