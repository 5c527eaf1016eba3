//! What a flow's FRCP machine is set up with, and the constants of `spec/frcp.md` §4.

use std::time::Duration;

/// A: how long an acknowledgement may be delayed at most (`spec/frcp.md` §4). Both ends rely on it.
pub const DELTA_T_ACK: Duration = Duration::from_secs(10);

/// R: how long a packet is retransmitted (`spec/frcp.md` §4). Both ends rely on it.
pub const DELTA_T_RTX: Duration = Duration::from_secs(120);

/// Packets of the receive window of 0.23, and of ours without the window extension.
pub const WINDOW: u32 = 256;

/// Packets that a sender may send before it has heard an edge.
pub const START_WINDOW: u32 = 64;

/// Largest window that can be advertised, and how far beyond its next packet a sender believes an
/// edge (`spec/frcp.md` §11 I6).
pub const MAX_WINDOW: u32 = 65_536;

/// What both ends agreed on beyond 0.23. The default is 0.23 itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// Messages longer than a packet are cut into fragments.
    pub fragments: bool,
    /// Control packets carry selective acknowledgements.
    pub selective: bool,
    /// Largest window, in packets, that the two ends tell each other; 0 = 256, as in 0.23. Values
    /// above [`MAX_WINDOW`] count as that.
    pub window: u32,
}

/// How a flow's FRCP machine works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Packets are acknowledged and retransmitted (QoS `loss` = 0). Otherwise messages arrive in order,
    /// with losses.
    pub reliable: bool,
    /// Maximum packet lifetime of the layer (`spec/frcp.md` §5.3).
    pub mpl: Duration,
    /// Longest packet to emit: header and payload, in bytes, before encryption and CRC. Values below
    /// 13 count as 13.
    pub max_packet: usize,
    /// Longest message, in bytes, to send or receive. Without [`Extensions::fragments`] also bounded by
    /// `max_packet` when sending. At most `buffer`.
    pub max_message: usize,
    /// What both ends agreed on beyond 0.23.
    pub extensions: Extensions,
    /// Bound, in bytes, of the memory for data to send, and again for data received. Bookkeeping comes
    /// on top (at most 64 bytes per packet of the window).
    pub buffer: usize,
}

impl Default for Config {
    /// A reliable flow as 0.23 has it, over a layer with an MPL of 100 ms.
    fn default() -> Self {
        Self {
            reliable: true,
            mpl: Duration::from_millis(100),
            max_packet: 1400,
            max_message: 1 << 20,
            extensions: Extensions::default(),
            buffer: 4 << 20,
        }
    }
}

impl Config {
    /// Seconds after which a sender that sent no new data starts afresh (`spec/frcp.md` §5.2).
    #[must_use]
    pub fn sender_inactivity(&self) -> Duration {
        inactivity(3 * self.mpl)
    }

    /// Seconds after which a receiver that heard nothing forgets the sender (`spec/frcp.md` §5.2).
    #[must_use]
    pub fn receiver_inactivity(&self) -> Duration {
        inactivity(2 * self.mpl)
    }
}

fn inactivity(lifetimes: Duration) -> Duration {
    Duration::from_secs((lifetimes + DELTA_T_ACK + DELTA_T_RTX).as_secs() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of `spec/frcp.md` §5.2: MPL in ms, sender and receiver inactivity in s.
    #[test]
    fn inactivity_of_the_layer_types() {
        for (mpl, sender, receiver) in [(100, 131, 131), (5000, 146, 141), (1, 131, 131)] {
            let config = Config {
                mpl: Duration::from_millis(mpl),
                ..Config::default()
            };
            assert_eq!(config.sender_inactivity().as_secs(), sender, "mpl {mpl}");
            assert_eq!(
                config.receiver_inactivity().as_secs(),
                receiver,
                "mpl {mpl}"
            );
        }
    }
}
