//! Layers on a real network: what eth-dix, eth-llc, udp4 and udp6 have in common.
//!
//! The protocol is `o7s_proto::shim`. Its machine runs in the data thread ([`path`]): messages and
//! packets come from the same socket ([`port`]) and keep their order, and nothing is shared. What is
//! left for management is to hand on what the daemon wants and to find addresses of names (UDP).

pub mod flows;
mod packets;
pub mod path;
pub mod port;
mod refusals;
mod requests;
mod status;

use o7s::{
    Error, ErrorKind, Result,
    control::{FlowEnd, FlowResponse, IpcpConfig, IpcpFlowAlloc, IpcpStatus, IpcpType},
};
use o7s_proto::shim::{Address, Config, RequestKey, Shim};
use o7s_wire::hash::NameHash;

use crate::{
    data::{self, End, Handle},
    eth::{self, link::Link},
    framework::{Answer, Directory, FlowAllocator, Ipcp, Operation, Outcome, Output, Post, Turn},
    random::random,
    udp::{self, names::Names},
};
use path::{Command, Network};
use port::Port;

/// Side of the IPCP's end of a flow that arrives.
const ARRIVED: u32 = 0;

/// What the data thread, and tasks that find addresses, tell management.
#[derive(Debug)]
pub enum Told {
    /// For the daemon.
    Daemon(Output),
    /// The address of a name is wanted.
    Resolve(NameHash),
    /// Here it is, or there is none.
    Resolved(NameHash, Vec<Address>),
    /// A name was published, or could not be.
    Published(Operation, NameHash, Result<()>),
    /// The data thread cannot hear the network.
    Deaf(Error),
}

/// An IPCP of type eth-dix, eth-llc, udp4 or udp6.
#[derive(Debug)]
pub struct NetworkIpcp {
    ipcp_type: IpcpType,
    post: Post<Told>,
    layer: Option<Layer>,
}

/// A layer that has started.
#[derive(Debug)]
struct Layer {
    data: Handle<Command>,
    /// How names are found (UDP).
    names: Option<Names>,
}

impl NetworkIpcp {
    /// An IPCP of one of these types.
    #[must_use]
    pub fn new(ipcp_type: IpcpType, post: Post<Told>) -> Self {
        Self {
            ipcp_type,
            post,
            layer: None,
        }
    }

    fn start(
        &self,
        config: Config,
        port: Port,
        link: Option<Link>,
        mpl_ms: u32,
    ) -> Result<Handle<Command>> {
        let now = std::time::Instant::now();
        let mut shim = Shim::new(config, random()?, now);
        if link.as_ref().is_some_and(|link| !link.interface().up) {
            shim.set_link(false);
        }
        let network = Network::new(shim, port, link, mpl_ms, self.post.clone());
        data::start(network, self.post.events())
    }
}

impl Ipcp for NetworkIpcp {
    type Event = Told;

    fn ipcp_type(&self) -> IpcpType {
        self.ipcp_type
    }

    fn bootstrap(&mut self, _: Operation, config: &IpcpConfig, _: &mut Turn) -> Result<Answer> {
        let layer = match self.ipcp_type {
            IpcpType::Udp4 | IpcpType::Udp6 => {
                let opened = udp::open(self.ipcp_type, config)?;
                Layer {
                    data: self.start(opened.config, opened.port, None, udp::MPL_MS)?,
                    names: Some(opened.names),
                }
            }
            _ => {
                let opened = eth::open(self.ipcp_type, config)?;
                let link = Some(opened.link);
                Layer {
                    data: self.start(opened.config, opened.port, link, eth::MPL_MS)?,
                    names: None,
                }
            }
        };
        self.layer = Some(layer);
        Ok(Answer::Now(()))
    }

    fn status(&mut self, operation: Operation, _: &mut Turn) -> Result<Answer<IpcpStatus>> {
        let Some(layer) = &self.layer else {
            return Ok(Answer::Now(IpcpStatus::default()));
        };
        layer.data.send(Command::Status(operation));
        Ok(Answer::Later)
    }

    fn directory(&mut self) -> Option<&mut dyn Directory> {
        Some(self)
    }

    fn flows(&mut self) -> Option<&mut dyn FlowAllocator> {
        Some(self)
    }

    fn event(&mut self, event: Told, turn: &mut Turn) -> Result<()> {
        let Some(layer) = &mut self.layer else {
            return Ok(());
        };
        match event {
            // Flows over it would wait for ever, and the daemon would go on asking.
            Told::Deaf(error) => return Err(error),
            Told::Daemon(output) => turn.push(output),
            Told::Resolve(hash) => match &layer.names {
                Some(names) => names.resolve(hash, &self.post),
                None => layer.data.send(Command::Resolved(hash, Vec::new())),
            },
            Told::Resolved(hash, addresses) => {
                layer.data.send(Command::Resolved(hash, addresses));
            }
            Told::Published(operation, hash, outcome) => {
                if outcome.is_err() {
                    // What nobody can find is not registered.
                    layer.data.send(Command::Withdraw(hash));
                }
                turn.done(operation, outcome.map(|()| Outcome::Done));
            }
        }
        Ok(())
    }
}

impl NetworkIpcp {
    fn layer(&self) -> Result<&Layer> {
        self.layer.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::IpcpState,
                "the IPCP is in no layer yet; bootstrap it first",
            )
        })
    }

    fn send(&self, command: Command) -> Result<()> {
        self.layer()?.data.send(command);
        Ok(())
    }
}

impl Directory for NetworkIpcp {
    fn register(&mut self, operation: Operation, hash: NameHash, _: &mut Turn) -> Result<Answer> {
        let layer = self.layer()?;
        let publishes = layer.names.as_ref().is_some_and(Names::publishes);
        // With a name server the answer is that of the server.
        let answer = (!publishes).then_some(operation);
        layer.data.send(Command::Register(answer, hash.clone()));
        if publishes && let Some(names) = &layer.names {
            names.publish(operation, hash, &self.post);
        }
        Ok(Answer::Later)
    }

    fn unregister(
        &mut self,
        operation: Operation,
        hash: &NameHash,
        _: &mut Turn,
    ) -> Result<Answer> {
        let layer = self.layer()?;
        layer.data.send(Command::Withdraw(hash.clone()));
        if let Some(names) = layer.names.as_ref().filter(|names| names.publishes()) {
            names.withdraw(operation, hash, &self.post);
            return Ok(Answer::Later);
        }
        Ok(Answer::Now(()))
    }

    fn query(&mut self, operation: Operation, hash: &NameHash, _: &mut Turn) -> Result<Answer> {
        self.send(Command::Query(operation, hash.clone()))?;
        Ok(Answer::Later)
    }
}

impl FlowAllocator for NetworkIpcp {
    fn alloc(&mut self, request: IpcpFlowAlloc, end: Option<End>, _: &mut Turn) -> Result<()> {
        let end = end.ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!(
                    "the request of flow {} came without this IPCP's end of it",
                    request.flow_id
                ),
            )
        })?;
        self.send(Command::Alloc(request, end))
    }

    fn request_answered(&mut self, number: u64, answer: Result<u64>, _: &mut Turn) {
        if let Some(layer) = &self.layer {
            layer.data.send(Command::Taken(RequestKey(number), answer));
        }
    }

    fn respond(&mut self, response: FlowResponse, end: Option<End>, _: &mut Turn) -> Result<()> {
        self.send(Command::Respond(response, end))
    }

    fn dealloc(&mut self, end: FlowEnd, _: &mut Turn) -> Result<()> {
        let layer = self.layer()?;
        if end.side == ARRIVED {
            // Perhaps it is still a request.
            layer.data.send(Command::GiveUp(end.flow_id));
        }
        layer.data.dealloc(end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::Event;

    /// A regular file cannot be watched, as a socket cannot when the system has no memory for it.
    #[test]
    fn a_data_thread_that_cannot_hear_ends_the_ipcp() {
        let (post, mut told) = Post::new();
        let mut ipcp = NetworkIpcp::new(IpcpType::Udp4, post.clone());
        let file = tempfile::tempfile().unwrap();
        let port = Port::datagrams(file.into());
        let data = ipcp.start(Config::udp4(), port, None, 1).unwrap();
        let event = told.blocking_recv().unwrap();
        ipcp.layer = Some(Layer { data, names: None });
        let Event::Own(told @ Told::Deaf(_)) = event else {
            panic!("{event:?}");
        };
        let mut turn = Turn::new(std::time::Instant::now());
        let ended = ipcp.event(told, &mut turn).unwrap_err();
        assert!(ended.message().contains("listen to the network"), "{ended}");
    }
}
