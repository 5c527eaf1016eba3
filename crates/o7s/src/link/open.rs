//! Opening an end: which services the flow needs, and how its packets go.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU64},
    },
    time::{Duration, Instant},
};

use o7s_crypto::{algorithm::Cipher, kdf::Key, packet::PacketCipher};
use o7s_proto::frcp::{self, Frcp};
use o7s_ring::{BellHandle, Endpoint};
use o7s_wire::frcp::HEADER_LEN;
use rustix::rand::{GetRandomFlags, getrandom};

use super::{
    Incoming, Link, Outgoing, View, engine::Engine, guard::Guard, sink::Sink, source::Source,
    vigil::Vigil,
};
use crate::{
    Error, ErrorKind, Node, QosSpec, Result,
    control::{FlowInfo, FlowSecret},
    doorbell::PeerBell,
    node::end_of,
    service::Alarm,
};

/// Longest message of a flow whose messages are cut into packets, bytes.
const MAX_MESSAGE: usize = 1_048_560;
/// Memory that FRCP may use for each direction of a flow, bytes.
const FRCP_BUFFER: usize = 16 << 20;
/// A flow whose ends share their memory does without signs of life if its timeout is this long or
/// longer, ms: the operating system tells at once when the peer's process dies.
const LONG_TIMEOUT: u32 = o7s_wire::qos::DEFAULT_PEER_TIMEOUT;

impl Link {
    /// Opens an end as the daemon describes it.
    ///
    /// # Errors
    /// A cipher that this library does not know, or a key of the wrong length.
    pub(crate) fn new(
        node: Node,
        daemon: u64,
        info: &FlowInfo,
        qos: QosSpec,
        endpoint: Endpoint,
        bell: Arc<PeerBell>,
    ) -> Result<Self> {
        let now = Instant::now();
        let (sender, receiver, state) = endpoint.split();
        let ring_max = state.max_message();
        let layer_max = match usize::try_from(info.max_packet) {
            Ok(0) | Err(_) => ring_max,
            Ok(max) => max.min(ring_max),
        };
        let runs_frcp = qos.needs_frcp() && !info.direct;
        // Memory that two processes share damages nothing.
        let crc = qos.ber == 0 && !info.direct;
        let secret = info.secret.as_ref();
        let cipher = secret.map(|secret| cipher(secret, info.direct));
        let cipher = cipher.transpose()?;
        let guard = Arc::new(Guard::new(cipher, crc, runs_frcp, info.direct));
        let clear_max = layer_max.saturating_sub(guard.overhead());
        let alarm = Arc::new(Alarm::default());
        let (mut engine, mut opened, mut max_packet) = (None, None, clear_max);
        let (sink, source) = if runs_frcp {
            let config = frcp_config(info, qos, clear_max);
            max_packet = config.max_message;
            let frcp = Frcp::new(config, random()?, now);
            let made = Arc::new(Engine::new(
                frcp,
                guard.clone(),
                (sender, receiver, state.clone()),
                alarm.clone(),
            ));
            engine = Some(made.clone());
            (Sink::frcp(made.clone()), Source::frcp(made))
        } else if guard.is_idle() {
            (Sink::Plain(sender), Source::Plain(receiver))
        } else {
            let done = Arc::new(AtomicU64::new(0));
            opened = Some(done.clone());
            (
                Sink::guarded(sender, guard.clone(), state.write_waiter()),
                Source::guarded(receiver, guard.clone(), done),
            )
        };
        let keeps_watch = !info.direct || qos.timeout < LONG_TIMEOUT;
        let vigil = Vigil::new(qos.timeout, now).filter(|_| keeps_watch);
        state.set_bell(Some(BellHandle {
            bell: bell.bell.clone(),
            slot: info.bell_slot,
        }));
        Ok(Self {
            node,
            daemon,
            end: end_of(info),
            name: info.name.clone(),
            peer_pid: info.peer_pid,
            qos,
            reader: state.read_waiter(),
            writer: state.write_waiter(),
            max_packet,
            alarm,
            peer_name: info.peer_name.clone(),
            guard,
            engine,
            opened,
            vigil,
            frct_flags: AtomicU16::new(if qos.loss == 0 { 7 } else { 2 }),
            is_heard: AtomicBool::new(false),
            vanished: AtomicBool::new(false),
            state,
            bell,
            slot: info.bell_slot,
            tx: Mutex::new(Outgoing { sink, bytes: 0 }),
            rx: Mutex::new(Incoming {
                source,
                offset: 0,
                stash: Vec::new(),
                end_mark: false,
                viewed: View::None,
                bytes: 0,
            }),
            own_down: AtomicBool::new(false),
            left: AtomicBool::new(false),
        })
    }
}

/// The cipher of a flow.
fn cipher(secret: &FlowSecret, direct: bool) -> Result<PacketCipher> {
    let refused = |what: String| {
        Error::new(
            ErrorKind::Crypt,
            format!("cannot use the flow: {what}; use programs and irmd of one release"),
        )
    };
    let nid = u16::try_from(secret.cipher).ok();
    let cipher = nid.and_then(Cipher::from_nid).ok_or_else(|| {
        refused(format!(
            "the irmd chose cipher {}, unknown here",
            secret.cipher
        ))
    })?;
    let key = Key::from_slice(&secret.key)
        .ok_or_else(|| refused(format!("its key has {} bytes, not 32", secret.key.len())))?;
    let cipher = PacketCipher::new(cipher, &key).map_err(|error| refused(error.to_string()))?;
    // Nothing gets lost between two ends that share the segment, not even to a rotation of keys.
    Ok(if direct { cipher.lossless() } else { cipher })
}

fn frcp_config(info: &FlowInfo, qos: QosSpec, max_packet: usize) -> frcp::Config {
    let extensions = info.extensions.unwrap_or_default();
    let one_packet = max_packet.saturating_sub(HEADER_LEN);
    frcp::Config {
        reliable: qos.loss == 0,
        mpl: Duration::from_millis(info.mpl_ms.into()),
        max_packet,
        max_message: if extensions.fragments {
            MAX_MESSAGE
        } else {
            one_packet
        },
        extensions: frcp::Extensions {
            fragments: extensions.fragments,
            selective: extensions.selective,
            window: extensions.window,
        },
        buffer: FRCP_BUFFER,
    }
}

/// A random number that nobody can guess.
fn random() -> Result<u32> {
    let mut bytes = [0; 4];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| Error::system("get a random number", &error.into()))?;
    Ok(u32::from_ne_bytes(bytes))
}
