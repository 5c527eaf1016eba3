//! Where the names of a UDP layer are (`spec/shims.md` §6.5): fixed addresses, a name server, or the
//! system's own resolver.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    sync::Arc,
};

use o7s_proto::shim::{Address, host_name};
use o7s_wire::hash::NameHash;

use tokio::sync::Mutex;

use super::{
    Host,
    dns::{self, Update},
    hash,
};
use crate::{
    framework::{Operation, Post},
    shim::Told,
};

/// Port of name servers.
const DNS_PORT: u16 = 53;
/// Updates that may be under way at once.
const LINES: usize = 16;

/// How names are found.
#[derive(Debug)]
pub struct Names {
    own: SocketAddr,
    server: Option<SocketAddr>,
    /// Updates of one name keep their order: each name has its line.
    lines: Arc<[Mutex<()>; LINES]>,
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
        let server = server.map(|ip| match usable(own, (ip, DNS_PORT).into()) {
            Some(Address::Udp(server)) => server,
            _ => (ip, DNS_PORT).into(),
        });
        Self {
            own,
            server,
            lines: Arc::new(std::array::from_fn(|_| Mutex::new(()))),
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
        let (own, server, post) = (self.own, self.server, post.clone());
        tokio::spawn(async move {
            let name = host_name(&hash);
            let addresses = match server {
                None => look_up(own, &name).await,
                Some(server) => ask(own, server, &name).await,
            };
            post.send(Told::Resolved(hash, addresses));
        });
    }

    /// Publishes a name; [`Told::Published`] tells what came of it.
    pub fn publish(&self, operation: Operation, hash: NameHash, post: &Post<Told>) {
        self.update(operation, Update::Add, hash, post);
    }

    /// Undoes [`Names::publish`]; [`Told::Published`] tells that it is done, in any case.
    pub fn withdraw(&self, operation: Operation, hash: &NameHash, post: &Post<Told>) {
        self.update(operation, Update::Remove, hash.clone(), post);
    }

    fn update(&self, operation: Operation, what: Update, hash: NameHash, post: &Post<Told>) {
        let Some(server) = self.server else {
            post.send(Told::Published(operation, hash, Ok(())));
            return;
        };
        let (own, lines, post) = (self.own.ip(), self.lines.clone(), post.clone());
        tokio::spawn(async move {
            let line = hash.as_bytes().first().map_or(0, |byte| usize::from(*byte));
            let _turn = lines[line % LINES].lock().await;
            let mut outcome = dns::update(server, what, &host_name(&hash), own).await;
            if what == Update::Remove
                && let Err(error) = outcome
            {
                // The name is not registered any more, whatever the server says.
                tracing::warn!("A name stays with the name server: {error}.");
                outcome = Ok(());
            }
            post.send(Told::Published(operation, hash, outcome));
        });
    }
}

/// What a name server knows.
async fn ask(own: SocketAddr, server: SocketAddr, name: &str) -> Vec<Address> {
    match dns::addresses(server, name, own.is_ipv6()).await {
        Ok(found) => {
            let addresses = found.into_iter().map(|ip| (ip, own.port()).into());
            addresses
                .filter_map(|address| usable(own, address))
                .collect()
        }
        Err(error) => {
            tracing::warn!("Cannot find a name: {error}.");
            Vec::new()
        }
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
