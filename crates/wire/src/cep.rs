//! The component connection protocol, OCEP: how two components of IPCPs introduce themselves on a
//! new flow (`spec/directory-enrollment.md` §2.1, §3.1).
//!
//! One protobuf message (proto2) is one packet, the first in each direction. A reader of 0.23 has a
//! buffer of 128 octets and goes wrong when a message fills it, so [`LEN_MAX`] is 127.

use std::fmt;

use prost::Message as _;

use crate::address::Address;

/// Longest message in bytes (`spec/directory-enrollment.md` §1.2).
pub const LEN_MAX: usize = 127;

/// Longest component name in bytes (`spec/directory-enrollment.md` §3.4).
pub const COMPONENT_MAX: usize = 128;

/// What a component is and speaks. Two components can be connected if they are equal here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Name of the component.
    pub component: &'static str,
    /// Name of its protocol; may be empty.
    pub protocol: &'static str,
    /// Version of the protocol.
    pub version: i32,
    /// Number of the concrete syntax: 0 GPB, 1 ASN.1, 2 fixed.
    pub syntax: i32,
}

impl Identity {
    /// Enrollment, of unicast and broadcast IPCPs; its address is 0.
    pub const ENROLLMENT: Self = Self {
        component: "Enrollment",
        protocol: "OEP",
        version: 1,
        syntax: 0,
    };
    /// Link-state routing of unicast IPCPs. It says GPB although its messages have a fixed layout.
    pub const MANAGEMENT: Self = Self {
        component: "Management",
        protocol: "LSP",
        version: 1,
        syntax: 0,
    };
    /// Data transfer of unicast IPCPs.
    pub const UNICAST_DATA: Self = Self {
        component: "Data Transfer",
        protocol: "dtp",
        version: 1,
        syntax: 2,
    };
    /// Data transfer of broadcast IPCPs; its address is 0.
    pub const BROADCAST_DATA: Self = Self {
        component: "Data Transfer",
        protocol: "",
        version: 0,
        syntax: 0,
    };

    /// The message of a component of this identity at `address`.
    #[must_use]
    pub fn message(&self, address: Address) -> Message {
        Message {
            component: self.component.into(),
            protocol: self.protocol.into(),
            version: self.version,
            syntax: self.syntax,
            address,
            ..Message::default()
        }
    }
}

/// The format of a fixed syntax. Sent by nobody, accepted from all, and ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FixedSyntax {
    /// Identifiers of the fields.
    pub ids: Vec<u32>,
    /// Their lengths.
    pub lengths: Vec<u32>,
}

/// What one side says of its component (`cep_msg`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Name of the component; octets, not necessarily text.
    pub component: Vec<u8>,
    /// Name of its protocol; may be empty.
    pub protocol: Vec<u8>,
    /// Preferred version.
    pub version: i32,
    /// Supported versions; empty from every known implementation, and ignored.
    pub supported_versions: Vec<i32>,
    /// Preferred concrete syntax: 0 GPB, 1 ASN.1, 2 fixed.
    pub syntax: i32,
    /// Supported syntaxes; empty from every known implementation, and ignored.
    pub supported_syntaxes: Vec<i32>,
    /// Format of a fixed syntax; ignored.
    pub fixed_syntax: Option<FixedSyntax>,
    /// Address in the layer; 0 if the component has none.
    pub address: Address,
}

/// Why bytes are no OCEP message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CepError {
    /// More than [`LEN_MAX`] bytes.
    #[error("an OCEP message has at most {LEN_MAX} bytes, got {0}")]
    TooLong(usize),
    /// No protobuf message of these types.
    #[error("the packet is no OCEP message: {0}")]
    Malformed(String),
    /// A required field is not there.
    #[error("the OCEP message has no field {0}")]
    Missing(&'static str),
}

/// The message would be longer than [`LEN_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the OCEP message would have {0} bytes; a peer takes at most {LEN_MAX}")]
pub struct TooLong(pub usize);

#[derive(Clone, PartialEq, prost::Message)]
struct RawFixedSyntax {
    #[prost(uint32, repeated, packed = "false", tag = "1")]
    fids: Vec<u32>,
    #[prost(uint32, repeated, packed = "false", tag = "2")]
    lens: Vec<u32>,
}

/// Required fields are optional here, since the decoder takes a default for one that is missing.
#[derive(Clone, PartialEq, prost::Message)]
struct Raw {
    #[prost(bytes = "vec", optional, tag = "1")]
    comp_name: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    protocol: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "3")]
    pref_version: Option<i32>,
    #[prost(int32, repeated, packed = "false", tag = "4")]
    supp_version: Vec<i32>,
    #[prost(int32, optional, tag = "5")]
    pref_syntax: Option<i32>,
    #[prost(int32, repeated, packed = "false", tag = "6")]
    supp_syntax: Vec<i32>,
    #[prost(message, optional, tag = "7")]
    syntax_spec: Option<RawFixedSyntax>,
    #[prost(uint64, optional, tag = "8")]
    address: Option<u64>,
}

impl Message {
    /// The answer of an acceptor that has no such component: all empty.
    #[must_use]
    pub fn refusal() -> Self {
        Self::default()
    }

    /// Whether this is the answer of an acceptor that has no such component.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.component.is_empty()
    }

    /// Whether this is a message of a component of `identity`; the address does not matter.
    #[must_use]
    pub fn is_of(&self, identity: &Identity) -> bool {
        self.component == identity.component.as_bytes()
            && self.protocol == identity.protocol.as_bytes()
            && self.version == identity.version
            && self.syntax == identity.syntax
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// [`CepError`].
    pub fn parse(packet: &[u8]) -> Result<Self, CepError> {
        if packet.len() > LEN_MAX {
            return Err(CepError::TooLong(packet.len()));
        }
        let raw = Raw::decode(packet).map_err(|error| CepError::Malformed(error.to_string()))?;
        let missing = CepError::Missing;
        Ok(Self {
            component: raw.comp_name.ok_or(missing("comp_name"))?,
            protocol: raw.protocol.ok_or(missing("protocol"))?,
            version: raw.pref_version.ok_or(missing("pref_version"))?,
            supported_versions: raw.supp_version,
            syntax: raw.pref_syntax.ok_or(missing("pref_syntax"))?,
            supported_syntaxes: raw.supp_syntax,
            fixed_syntax: raw.syntax_spec.map(|spec| FixedSyntax {
                ids: spec.fids,
                lengths: spec.lens,
            }),
            address: raw.address.ok_or(missing("address"))?.into(),
        })
    }

    /// The packet: fields in rising order, as 0.23 writes them.
    ///
    /// # Errors
    /// [`TooLong`]; never for the message of an [`Identity`].
    pub fn emit(&self) -> Result<Vec<u8>, TooLong> {
        let raw = Raw {
            comp_name: Some(self.component.clone()),
            protocol: Some(self.protocol.clone()),
            pref_version: Some(self.version),
            supp_version: self.supported_versions.clone(),
            pref_syntax: Some(self.syntax),
            supp_syntax: self.supported_syntaxes.clone(),
            syntax_spec: self.fixed_syntax.as_ref().map(|syntax| RawFixedSyntax {
                fids: syntax.ids.clone(),
                lens: syntax.lengths.clone(),
            }),
            address: Some(self.address.get()),
        };
        match raw.encoded_len() {
            len if len > LEN_MAX => Err(TooLong(len)),
            _ => Ok(raw.encode_to_vec()),
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_refusal() {
            return f.write_str("OCEP refusal");
        }
        let syntax = match self.syntax {
            0 => "GPB",
            1 => "ASN.1",
            2 => "fixed",
            _ => "unknown",
        };
        write!(
            f,
            "OCEP \"{}\" protocol \"{}\" version {} syntax {} ({syntax}) address {}",
            self.component.escape_ascii(),
            self.protocol.escape_ascii(),
            self.version,
            self.syntax,
            self.address
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, option, prelude::*};

    #[test]
    fn messages_read_like_a_dissector() {
        let message = Identity::UNICAST_DATA.message(Address::new(0x0403_0201));
        assert_eq!(
            message.to_string(),
            "OCEP \"Data Transfer\" protocol \"dtp\" version 1 syntax 2 (fixed) address 01.02.03.04"
        );
        assert_eq!(Message::refusal().to_string(), "OCEP refusal");
    }

    /// Trap T2: the refusal is as a valid answer of a broadcast IPCP but for the name.
    #[test]
    fn a_refusal_is_no_answer_of_a_broadcast_ipcp() {
        let refusal = Message::refusal();
        assert!(refusal.is_refusal());
        assert!(!refusal.is_of(&Identity::BROADCAST_DATA));
        assert_eq!(
            Message {
                component: "Data Transfer".into(),
                ..refusal
            },
            Identity::BROADCAST_DATA.message(Address::INVALID)
        );
    }

    #[test]
    fn what_fills_the_buffer_of_a_reader_is_not_sent() {
        let message = |len| Message {
            component: vec![b'x'; len],
            ..Message::default()
        };
        let empty = message(0).emit().unwrap().len();
        assert_eq!(message(LEN_MAX - empty).emit().unwrap().len(), LEN_MAX);
        assert_eq!(
            message(LEN_MAX - empty + 1).emit(),
            Err(TooLong(LEN_MAX + 1))
        );
    }

    prop_compose! {
        fn message()(
            component in vec(any::<u8>(), 0..20),
            protocol in vec(any::<u8>(), 0..10),
            version: i32,
            supported_versions in vec(any::<i32>(), 0..2),
            syntax: i32,
            supported_syntaxes in vec(any::<i32>(), 0..2),
            fixed in option::of((vec(any::<u32>(), 0..2), vec(any::<u32>(), 0..2))),
            address: u64,
        ) -> Message {
            Message {
                component,
                protocol,
                version,
                supported_versions,
                syntax,
                supported_syntaxes,
                fixed_syntax: fixed.map(|(ids, lengths)| FixedSyntax { ids, lengths }),
                address: address.into(),
            }
        }
    }

    proptest! {
        #[test]
        fn parse_is_the_inverse_of_emit(message in message()) {
            if let Ok(bytes) = message.emit() {
                prop_assert_eq!(Message::parse(&bytes), Ok(message));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
            if let Ok(message) = Message::parse(&bytes) {
                let _ = message.to_string();
                if let Ok(bytes) = message.emit() {
                    prop_assert_eq!(Message::parse(&bytes), Ok(message));
                }
            }
        }
    }
}
