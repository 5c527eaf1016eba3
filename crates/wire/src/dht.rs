//! Messages of the directory of a unicast layer (`spec/directory-enrollment.md` §2.5, §5).
//!
//! A message is the payload of one data transfer packet to EID [`EID`]; it has no length prefix. Protobuf, as
//! proto2: fields in rising order, nothing packed, a message that lacks a required field does not parse.
//!
//! [`Message::parse`] does all of §5.4 that needs no state. What it gives can be emitted again; a contact
//! that nobody can be (wrong length of the identifier, address 0 or beyond 32 bits) is left out of it.

mod key;
mod schema;

use std::fmt;

use prost::Message as _;

use crate::address::Address;

pub use key::{Distance, Key, MAX_KEY_LEN};

/// Endpoint of the directory at each member (`spec/unicast.md` §2.2).
pub const EID: u64 = 1;

/// Longest message that is parsed, in bytes: some thirty times what a member with default parameters sends.
pub const MAX_LEN: usize = 16_384;

/// Length of a value that is an address, in bytes.
pub const ADDRESS_LEN: usize = 8;

/// Numbers of the messages (§2.6).
mod code {
    pub(super) const STORE: u32 = 0;
    pub(super) const FIND_NODE_REQ: u32 = 1;
    pub(super) const FIND_NODE_RSP: u32 = 2;
    pub(super) const FIND_VALUE_REQ: u32 = 3;
    pub(super) const FIND_VALUE_RSP: u32 = 4;
}

/// A member as the directory knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contact {
    /// Identifier, random, of the length of the layer's hashes.
    pub id: Key,
    /// Address in the layer.
    pub address: Address,
}

/// What is stored under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The address of a member: 8 octets, big endian.
    Address(Address),
    /// Something that is none: another length, or no address that a member can have. Never empty in a STORE.
    Other(Vec<u8>),
}

impl Value {
    /// The value with these octets.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        match <[u8; ADDRESS_LEN]>::try_from(bytes.as_slice()) {
            Ok(octets) => match Address::new(u64::from_be_bytes(octets)) {
                address if address.is_valid() => Self::Address(address),
                _ => Self::Other(bytes),
            },
            Err(_) => Self::Other(bytes),
        }
    }

    /// The octets of the value.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Address(address) => address.get().to_be_bytes().to_vec(),
            Self::Other(bytes) => bytes.clone(),
        }
    }

    /// The address, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Other(_) => None,
        }
    }
}

/// What a request for contacts or values asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Find {
    /// Chosen by the asker, not 0; the answer repeats it.
    pub cookie: u64,
    /// Identifier or key.
    pub key: Key,
}

/// The contacts of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// Of the request.
    pub cookie: u64,
    /// Of the request.
    pub key: Key,
    /// Members that the answering one knows.
    pub contacts: Vec<Contact>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Keep this value; there is no answer.
    Store {
        /// Key.
        key: Key,
        /// Value.
        value: Value,
        /// When it expires: seconds since the Unix epoch.
        expiry: u32,
    },
    /// Asks for contacts.
    FindNodeReq(Find),
    /// Answers with contacts.
    FindNodeRsp(Nodes),
    /// Asks for values.
    FindValueReq(Find),
    /// Answers with contacts and values.
    FindValueRsp {
        /// Contacts.
        nodes: Nodes,
        /// Values, perhaps none.
        values: Vec<Value>,
    },
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The sender.
    pub src: Contact,
    /// What it says.
    pub body: Body,
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Longer than [`MAX_LEN`].
    #[error("the directory message has {0} bytes, more than {MAX_LEN}")]
    TooLong(usize),
    /// Not protobuf, or a field of another type.
    #[error("the directory message is no such protobuf message: {0}")]
    Malformed(String),
    /// A field that must be there is not.
    #[error("the directory message lacks the field {0}")]
    Missing(&'static str),
    /// An identifier or key that is not as long as the layer's hashes.
    #[error("{field} has {len} bytes, not the {expected} of the layer's hash")]
    KeyLength {
        /// Field.
        field: &'static str,
        /// Its length.
        len: usize,
        /// That of the layer.
        expected: usize,
    },
    /// A sender with an address that no member can have.
    #[error("the sender's address {0:#x} is none that a member can have")]
    Address(u64),
    /// A STORE of nothing.
    #[error("the value to store is empty")]
    EmptyValue,
    /// A message that is none of the five.
    #[error("the directory has no message with code {0}")]
    Code(u32),
}

impl Message {
    /// Takes the bytes of a message of a layer whose hashes have `key_len` bytes.
    ///
    /// # Errors
    /// [`ParseError`]: the message must be dropped, and its sender not learned (§5.4).
    pub fn parse(bytes: &[u8], key_len: usize) -> Result<Self, ParseError> {
        if bytes.len() > MAX_LEN {
            return Err(ParseError::TooLong(bytes.len()));
        }
        let message =
            schema::Dht::decode(bytes).map_err(|error| ParseError::Malformed(error.to_string()))?;
        let code = message.code.ok_or(ParseError::Missing("code"))?;
        let src = message.src.ok_or(ParseError::Missing("src"))?;
        let id = required_key(src.id, "src.id", key_len)?;
        let address = src.addr.ok_or(ParseError::Missing("src.addr"))?;
        let src = Contact {
            id,
            address: Address::new(address),
        };
        if !src.address.is_valid() {
            return Err(ParseError::Address(address));
        }
        // A field that the code has no use for must still be whole: proto2 (§1.3).
        let store = message.store.map(|store| store.check(key_len)).transpose();
        let find = message.find.map(|find| find.check(key_len)).transpose();
        let nodes = message.node.map(|nodes| nodes.check(key_len)).transpose();
        let find = || find?.ok_or(ParseError::Missing("find"));
        let nodes = || nodes?.ok_or(ParseError::Missing("node"));
        let body = match code {
            code::STORE => store?.ok_or(ParseError::Missing("store"))?,
            code::FIND_NODE_REQ => Body::FindNodeReq(find()?),
            code::FIND_VALUE_REQ => Body::FindValueReq(find()?),
            code::FIND_NODE_RSP => Body::FindNodeRsp(nodes()?),
            code::FIND_VALUE_RSP => Body::FindValueRsp {
                values: message
                    .val
                    .ok_or(ParseError::Missing("val"))?
                    .values
                    .into_iter()
                    .map(Value::from_bytes)
                    .collect(),
                nodes: nodes()?,
            },
            code => return Err(ParseError::Code(code)),
        };
        Ok(Self { src, body })
    }

    /// The bytes of the message.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        schema::Dht::from(self).encode_to_vec()
    }

    /// Appends the bytes of the message to `out`.
    pub fn emit_to(&self, out: &mut Vec<u8>) {
        schema::Dht::from(self).encode_raw(out);
    }
}

fn required_key(
    bytes: Option<Vec<u8>>,
    field: &'static str,
    expected: usize,
) -> Result<Key, ParseError> {
    let bytes = bytes.ok_or(ParseError::Missing(field))?;
    let wrong = ParseError::KeyLength {
        field,
        len: bytes.len(),
        expected,
    };
    if bytes.len() != expected {
        return Err(wrong);
    }
    Key::from_bytes(&bytes).ok_or(wrong)
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.address)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Other(bytes) => write!(f, "{} bytes that are no address", bytes.len()),
        }
    }
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} cookie {:016x} contacts", self.key, self.cookie)?;
        write_list(f, &self.contacts)
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display]) -> fmt::Result {
    if items.is_empty() {
        return f.write_str(" none");
    }
    items.iter().try_for_each(|item| write!(f, " {item}"))
}

/// One line, as a dissector shows it.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Store { key, value, expiry } => {
                write!(f, "DHT STORE key {key} value {value} expires {expiry}")?;
            }
            Body::FindNodeReq(find) => write!(
                f,
                "DHT FIND_NODE_REQ key {} cookie {:016x}",
                find.key, find.cookie
            )?,
            Body::FindNodeRsp(nodes) => write!(f, "DHT FIND_NODE_RSP {nodes}")?,
            Body::FindValueReq(find) => write!(
                f,
                "DHT FIND_VALUE_REQ key {} cookie {:016x}",
                find.key, find.cookie
            )?,
            Body::FindValueRsp { nodes, values } => {
                write!(f, "DHT FIND_VALUE_RSP {nodes} values")?;
                write_list(f, values)?;
            }
        }
        write!(f, " from {}", self.src)
    }
}

#[cfg(test)]
mod tests;
