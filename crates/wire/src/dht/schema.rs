//! The protobuf messages of the directory (`spec/directory-enrollment.md` §2.5).
//!
//! All fields are optional here: a required one that is missing must be noticed, not read as 0.

use crate::address::Address;

use super::{Body, Contact, Find, Key, Message, Nodes, ParseError, Value, code, required_key};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Dht {
    #[prost(uint32, optional, tag = "1")]
    pub(super) code: Option<u32>,
    #[prost(message, optional, tag = "2")]
    pub(super) src: Option<DhtContact>,
    #[prost(message, optional, tag = "3")]
    pub(super) store: Option<Store>,
    #[prost(message, optional, tag = "4")]
    pub(super) find: Option<FindReq>,
    #[prost(message, optional, tag = "5")]
    pub(super) node: Option<FindNodeRsp>,
    #[prost(message, optional, tag = "6")]
    pub(super) val: Option<FindValueRsp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DhtContact {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) id: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) addr: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Store {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) val: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "3")]
    pub(super) exp: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FindReq {
    #[prost(uint64, optional, tag = "1")]
    pub(super) cookie: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) key: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FindNodeRsp {
    #[prost(uint64, optional, tag = "1")]
    pub(super) cookie: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) key: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "3")]
    pub(super) contacts: Vec<DhtContact>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FindValueRsp {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) values: Vec<Vec<u8>>,
}

impl Store {
    pub(super) fn check(self, key_len: usize) -> Result<Body, ParseError> {
        let key = required_key(self.key, "store.key", key_len)?;
        let bytes = self.val.ok_or(ParseError::Missing("store.val"))?;
        let expiry = self.exp.ok_or(ParseError::Missing("store.exp"))?;
        if bytes.is_empty() {
            return Err(ParseError::EmptyValue);
        }
        let value = Value::from_bytes(bytes);
        Ok(Body::Store { key, value, expiry })
    }
}

impl FindReq {
    pub(super) fn check(self, key_len: usize) -> Result<Find, ParseError> {
        Ok(Find {
            cookie: self.cookie.ok_or(ParseError::Missing("find.cookie"))?,
            key: required_key(self.key, "find.key", key_len)?,
        })
    }
}

impl FindNodeRsp {
    pub(super) fn check(self, key_len: usize) -> Result<Nodes, ParseError> {
        let mut contacts = Vec::with_capacity(self.contacts.len());
        for contact in self.contacts {
            let id = contact.id.ok_or(ParseError::Missing("contacts.id"))?;
            let addr = contact.addr.ok_or(ParseError::Missing("contacts.addr"))?;
            let address = Address::new(addr);
            match Key::from_bytes(&id) {
                Some(id) if id.as_bytes().len() == key_len && address.is_valid() => {
                    contacts.push(Contact { id, address });
                }
                _ => {}
            }
        }
        Ok(Nodes {
            cookie: self.cookie.ok_or(ParseError::Missing("node.cookie"))?,
            key: required_key(self.key, "node.key", key_len)?,
            contacts,
        })
    }
}

impl From<Contact> for DhtContact {
    fn from(contact: Contact) -> Self {
        Self {
            id: Some(contact.id.as_bytes().to_vec()),
            addr: Some(contact.address.get()),
        }
    }
}

impl From<Find> for FindReq {
    fn from(find: Find) -> Self {
        Self {
            cookie: Some(find.cookie),
            key: Some(find.key.as_bytes().to_vec()),
        }
    }
}

impl From<&Nodes> for FindNodeRsp {
    fn from(nodes: &Nodes) -> Self {
        Self {
            cookie: Some(nodes.cookie),
            key: Some(nodes.key.as_bytes().to_vec()),
            contacts: nodes
                .contacts
                .iter()
                .map(|&contact| contact.into())
                .collect(),
        }
    }
}

impl From<&Message> for Dht {
    fn from(message: &Message) -> Self {
        let mut dht = Self {
            src: Some(message.src.into()),
            ..Self::default()
        };
        dht.code = Some(match &message.body {
            Body::Store { key, value, expiry } => {
                dht.store = Some(Store {
                    key: Some(key.as_bytes().to_vec()),
                    val: Some(value.to_bytes()),
                    exp: Some(*expiry),
                });
                code::STORE
            }
            Body::FindNodeReq(find) => {
                dht.find = Some((*find).into());
                code::FIND_NODE_REQ
            }
            Body::FindNodeRsp(nodes) => {
                dht.node = Some(nodes.into());
                code::FIND_NODE_RSP
            }
            Body::FindValueReq(find) => {
                dht.find = Some((*find).into());
                code::FIND_VALUE_REQ
            }
            Body::FindValueRsp { nodes, values } => {
                dht.node = Some(nodes.into());
                dht.val = Some(FindValueRsp {
                    values: values.iter().map(Value::to_bytes).collect(),
                });
                code::FIND_VALUE_RSP
            }
        });
        dht
    }
}
