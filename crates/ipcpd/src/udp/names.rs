//! Where the names of a UDP layer are (`spec/shims.md` §6.5): fixed addresses, a name server, or the
//! system's own resolver.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr, SocketAddrV6},
};

use o7s::Result;
use o7s_proto::shim::{Address, host_name};
use o7s_wire::hash::NameHash;

use super::{Host, hash};
use crate::{
    framework::{Operation, Post},
    shim::Told,
};

/// How names are found.
#[derive(Debug)]
pub struct Names {
    own: SocketAddr,
    server: Option<IpAddr>,
    hosts: HashMap<NameHash, Vec<Address>>,
}

impl Names {
    /// A layer with this own address.
    #[must_use]
    pub(super) fn new(own: SocketAddr, server: Option<IpAddr>, hosts: Vec<Host>) -> Self {
        let mut by_hash: HashMap<NameHash, Vec<Address>> = HashMap::new();
        for (name, address) in hosts {
            by_hash.entry(hash(&name)).or_default().push(address.into());
        }
        Self {
            own,
            server,
            hosts: by_hash,
        }
    }

    /// Whether names are published with a name server.
    #[must_use]
    pub fn publishes(&self) -> bool {
        self.server.is_some()
    }

    /// Finds the addresses of a name; [`Told::Resolved`] tells them, in any case.
    pub fn resolve(&self, hash: NameHash, post: &Post<Told>) {
        if let Some(addresses) = self.hosts.get(&hash) {
            post.send(Told::Resolved(hash, addresses.clone()));
            return;
        }
        let (own, post) = (self.own, post.clone());
        tokio::spawn(async move {
            let addresses = look_up(own, &host_name(&hash)).await;
            post.send(Told::Resolved(hash, addresses));
        });
    }

    /// Publishes a name; [`Told::Published`] tells what came of it.
    pub fn publish(&self, operation: Operation, hash: NameHash, post: &Post<Told>) {
        let outcome: Result<()> = Ok(());
        post.send(Told::Published(operation, hash, outcome));
    }

    /// Undoes [`Names::publish`]; [`Told::Published`] tells that it is done, in any case.
    pub fn withdraw(&self, operation: Operation, hash: &NameHash, post: &Post<Told>) {
        post.send(Told::Published(operation, hash.clone(), Ok(())));
    }
}

/// What the system's resolver knows: as a rule the hosts file.
async fn look_up(own: SocketAddr, name: &str) -> Vec<Address> {
    let found = tokio::net::lookup_host((name, own.port())).await;
    let found = found.map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let addresses = found.into_iter().filter_map(|address| usable(own, address));
    addresses.collect()
}

/// An address as the socket of the layer can use it.
fn usable(own: SocketAddr, address: SocketAddr) -> Option<Address> {
    match (own, address) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => Some(address.into()),
        (SocketAddr::V6(own), SocketAddr::V6(address)) => {
            let scope = match address.scope_id() {
                0 if address.ip().is_unicast_link_local() => own.scope_id(),
                scope => scope,
            };
            let address = SocketAddrV6::new(*address.ip(), address.port(), 0, scope);
            Some(SocketAddr::from(address).into())
        }
        _ => None,
    }
}
