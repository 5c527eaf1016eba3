//! Identifiers that members draw, in the packets of a unicast layer: found, and put in the place of others.
//!
//! Parsing and emitting a packet of 0.23 gives the same bytes (tests of `o7s-wire`); so a packet whose
//! identifiers are replaced is the packet that its sender would have sent to a peer with those identifiers.

use o7s_wire::{
    cep,
    dht::{Body, Contact, Key, Message as Directory, Value},
    dt::{Address, Eid, Packet, Repr, Sizes},
    enroll::{Ack, Answer, EnrollmentId, Layer, Request, Response},
    fa::Message as Allocation,
    hash::DirHash,
    linkstate::Lsu,
};

/// Bytes of a SHA3-256 hash.
const KEY_LEN: usize = 32;

/// What an N-1 flow carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Connecting,
    Enrollment,
    Management,
    Data,
}

/// A packet, in whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    Cep(cep::Message),
    EnrollRequest(Request),
    EnrollResponse(Response),
    EnrollAck(Ack),
    Update(Lsu),
    Directory(Repr, Directory),
    FlowRequest(Repr, Vec<u8>),
    FlowReply(Repr, Vec<u8>),
    Congestion(Repr, Vec<u8>),
    User(Repr, Vec<u8>),
}

/// An identifier that somebody draws.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Id {
    /// An address, an EID or a cookie.
    Number(u64),
    /// An identifier of an enrollment or of a member in the directory.
    Octets(Vec<u8>),
}

/// Whatever looks at identifiers, or replaces them.
pub(crate) struct Visitor<'a>(pub(crate) &'a mut dyn FnMut(Id) -> Id);

impl Visitor<'_> {
    fn number(&mut self, number: u64) -> u64 {
        match (self.0)(Id::Number(number)) {
            Id::Number(number) => number,
            Id::Octets(_) => panic!("a number became octets"),
        }
    }

    fn octets(&mut self, octets: &[u8]) -> Vec<u8> {
        match (self.0)(Id::Octets(octets.to_vec())) {
            Id::Octets(octets) => octets,
            Id::Number(_) => panic!("octets became a number"),
        }
    }

    fn address(&mut self, address: Address) -> Address {
        if address.is_valid() {
            Address::new(self.number(address.get()))
        } else {
            address
        }
    }

    fn eid(&mut self, eid: Eid) -> Eid {
        if eid.is_component() {
            eid
        } else {
            Eid(self.number(eid.0))
        }
    }

    fn enrollment(&mut self, id: EnrollmentId) -> EnrollmentId {
        EnrollmentId(self.octets(&id.0).try_into().expect("eight bytes"))
    }

    fn key(&mut self, key: Key) -> Key {
        Key::from_bytes(&self.octets(key.as_bytes())).expect("a key")
    }

    fn contact(&mut self, contact: Contact) -> Contact {
        Contact {
            id: self.key(contact.id),
            address: self.address(contact.address),
        }
    }

    fn value(&mut self, value: Value) -> Value {
        match value {
            Value::Address(address) => Value::Address(self.address(address)),
            other => other,
        }
    }

    fn header(&mut self, header: Repr) -> Repr {
        Repr {
            destination: self.address(header.destination),
            eid: self.eid(header.eid),
            ..header
        }
    }

    fn allocation(&mut self, bytes: &[u8]) -> Vec<u8> {
        let message = match allocation(bytes) {
            Allocation::Request {
                source,
                source_eid,
                qos,
                hash,
                data,
            } => Allocation::Request {
                source: self.address(source),
                source_eid: self.eid(source_eid),
                qos,
                hash,
                data,
            },
            Allocation::Reply {
                eid,
                source_eid,
                response,
                data,
            } => Allocation::Reply {
                eid: self.eid(eid),
                source_eid: self.eid(source_eid),
                response,
                data,
            },
            Allocation::Update { eid, ece } => Allocation::Update {
                eid: self.eid(eid),
                ece,
            },
        };
        message.to_bytes().expect("as long as before")
    }

    fn directory(&mut self, message: Directory) -> Directory {
        let src = self.contact(message.src);
        let body = match message.body {
            Body::Store { key, value, expiry } => Body::Store {
                key: self.key(key),
                value: self.value(value),
                expiry,
            },
            Body::FindNodeReq(mut find) => {
                find.cookie = self.number(find.cookie);
                find.key = self.key(find.key);
                Body::FindNodeReq(find)
            }
            Body::FindValueReq(mut find) => {
                find.cookie = self.number(find.cookie);
                find.key = self.key(find.key);
                Body::FindValueReq(find)
            }
            Body::FindNodeRsp(nodes) => Body::FindNodeRsp(self.nodes(nodes)),
            Body::FindValueRsp { nodes, values } => Body::FindValueRsp {
                nodes: self.nodes(nodes),
                values: values.into_iter().map(|it| self.value(it)).collect(),
            },
        };
        Directory { src, body }
    }

    fn nodes(&mut self, mut nodes: o7s_wire::dht::Nodes) -> o7s_wire::dht::Nodes {
        nodes.cookie = self.number(nodes.cookie);
        nodes.key = self.key(nodes.key);
        nodes.contacts = nodes
            .contacts
            .into_iter()
            .map(|contact| self.contact(contact))
            .collect();
        nodes
    }

    /// The packet with other identifiers.
    pub(crate) fn visit(&mut self, said: Said) -> Said {
        match said {
            Said::Cep(mut message) => {
                message.address = self.address(message.address);
                Said::Cep(message)
            }
            Said::EnrollRequest(Request { id }) => Said::EnrollRequest(Request {
                id: self.enrollment(id),
            }),
            Said::EnrollResponse(mut response) => {
                response.id = self.enrollment(response.id);
                if let Answer::Accepted(config) = &mut response.answer
                    && let Layer::Unicast(unicast) = &mut config.layer
                {
                    unicast.dht.peer = self.address(unicast.dht.peer);
                }
                Said::EnrollResponse(response)
            }
            Said::EnrollAck(ack) => Said::EnrollAck(Ack {
                id: self.enrollment(ack.id),
                ..ack
            }),
            Said::Update(update) => Said::Update(Lsu {
                destination: self.address(update.destination),
                source: self.address(update.source),
                ..update
            }),
            Said::Directory(header, message) => {
                Said::Directory(self.header(header), self.directory(message))
            }
            Said::FlowRequest(header, bytes) => {
                Said::FlowRequest(self.header(header), self.allocation(&bytes))
            }
            Said::FlowReply(header, bytes) => {
                Said::FlowReply(self.header(header), self.allocation(&bytes))
            }
            Said::Congestion(header, bytes) => {
                Said::Congestion(self.header(header), self.allocation(&bytes))
            }
            Said::User(header, bytes) => Said::User(self.header(header), bytes),
        }
    }
}

/// A message of the flow allocator.
pub(crate) fn allocation(bytes: &[u8]) -> Allocation<'_> {
    Allocation::parse(bytes, DirHash::Sha3_256).expect("of the flow allocator")
}

impl Said {
    /// Reads a packet that is not empty.
    pub(crate) fn parse(place: Place, bytes: &[u8]) -> Self {
        match place {
            Place::Connecting => Self::Cep(cep::Message::parse(bytes).expect("a connection")),
            Place::Enrollment => {
                if let Ok(response) = Response::parse(bytes) {
                    Self::EnrollResponse(response)
                } else if let Ok(ack) = Ack::parse(bytes) {
                    Self::EnrollAck(ack)
                } else {
                    Self::EnrollRequest(Request::parse(bytes).expect("a request"))
                }
            }
            Place::Management => Self::Update(Lsu::parse(bytes).expect("an update")),
            Place::Data => {
                let packet = Packet::new_checked(bytes, Sizes::DEFAULT).expect("a header");
                let (header, payload) = (packet.repr(), packet.payload());
                match header.eid {
                    Eid::DIRECTORY => {
                        let message = Directory::parse(payload, KEY_LEN).expect("a message");
                        Self::Directory(header, message)
                    }
                    Eid::FLOW_ALLOCATOR => match allocation(payload) {
                        Allocation::Request { .. } => Self::FlowRequest(header, payload.to_vec()),
                        Allocation::Reply { .. } => Self::FlowReply(header, payload.to_vec()),
                        Allocation::Update { .. } => Self::Congestion(header, payload.to_vec()),
                    },
                    _ => Self::User(header, payload.to_vec()),
                }
            }
        }
    }

    /// Its bytes.
    pub(crate) fn emit(&self) -> Vec<u8> {
        match self {
            Self::Cep(message) => message.emit().expect("not too long"),
            Self::EnrollRequest(request) => request.emit(),
            Self::EnrollResponse(response) => response.emit(),
            Self::EnrollAck(ack) => ack.emit(),
            Self::Update(update) => update.emit().to_vec(),
            Self::Directory(header, message) => header.to_packet(Sizes::DEFAULT, &message.emit()),
            Self::FlowRequest(header, bytes)
            | Self::FlowReply(header, bytes)
            | Self::Congestion(header, bytes)
            | Self::User(header, bytes) => header.to_packet(Sizes::DEFAULT, bytes),
        }
    }

    /// Whether two packets are about the same, so that one stands for the other in a conversation.
    pub(crate) fn is_about(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cep(one), Self::Cep(two)) => one.component == two.component,
            (Self::EnrollRequest(_), Self::EnrollRequest(_))
            | (Self::EnrollResponse(_), Self::EnrollResponse(_))
            | (Self::EnrollAck(_), Self::EnrollAck(_)) => true,
            (Self::Update(one), Self::Update(two)) => one == two,
            (Self::Directory(to, one), Self::Directory(other_to, two)) => {
                to.destination == other_to.destination && topic(one) == topic(two)
            }
            (Self::FlowRequest(one, _), Self::FlowRequest(two, _))
            | (Self::FlowReply(one, _), Self::FlowReply(two, _))
            | (Self::Congestion(one, _), Self::Congestion(two, _)) => {
                one.destination == two.destination
            }
            (Self::User(one, data), Self::User(two, other)) => {
                (one.destination, one.eid, data) == (two.destination, two.eid, other)
            }
            _ => false,
        }
    }

    /// Whether a member asks for itself in the directory.
    pub(crate) fn is_join(&self) -> bool {
        matches!(self, Self::Directory(_, message) if topic(message) == (1, None))
    }

    /// Its identifiers, in order.
    pub(crate) fn identifiers(&self) -> Vec<Id> {
        let mut found = Vec::new();
        let mut note = |id: Id| {
            found.push(id.clone());
            id
        };
        Visitor(&mut note).visit(self.clone());
        found
    }
}

/// Kind of a message of the directory, and its key; none: the identifier of whoever sends it.
fn topic(message: &Directory) -> (u8, Option<&Key>) {
    let (kind, key) = match &message.body {
        Body::Store { key, .. } => (0, key),
        Body::FindNodeReq(find) => (1, &find.key),
        Body::FindNodeRsp(nodes) => (2, &nodes.key),
        Body::FindValueReq(find) => (3, &find.key),
        Body::FindValueRsp { nodes, .. } => (4, &nodes.key),
    };
    (kind, Some(key).filter(|key| **key != message.src.id))
}
