//! Quality of service: the specification a flow is allocated with, and its named presets.
//!
//! One table for all users: the values travel unchanged in every flow allocation message
//! (`spec/api.md` A2, B3; `spec/irm-tools.md` §12.1).

/// "Don't care" value of the 32-bit fields of the presets.
pub const UNBOUNDED: u32 = u32::MAX;

/// Default time in ms without any packet after which a peer is declared dead.
pub const DEFAULT_PEER_TIMEOUT: u32 = 120_000;

/// Quality of service of a flow, as requested by the allocator.
///
/// Both ends derive the same behaviour from it (`spec/frcp.md` §1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QosSpec {
    /// Longest one-way delay, ms.
    pub delay: u32,
    /// Least bandwidth, bit/s.
    pub bandwidth: u64,
    /// Class of nines.
    pub availability: u8,
    /// Packet loss; 0 turns retransmission on (if `in_order` is set), other values only choose.
    pub loss: u32,
    /// Bit errors; 0 turns the CRC on.
    pub ber: u32,
    /// Not 0 turns FRCP on: ordering and flow control.
    pub in_order: u8,
    /// Longest interruption, ms.
    pub max_gap: u32,
    /// Silence after which the peer is declared dead, ms; 0 = never.
    pub timeout: u32,
    /// Requested encryption strength, bits; 0 = none asked. Not in the wire's QoS fields
    /// (`spec/api.md` B3).
    pub cypher_s: u16,
}

impl QosSpec {
    /// Nothing but moving packets: no FRCP, no CRC. The QoS of a flow that asked for none.
    pub const RAW: Self = Self {
        delay: UNBOUNDED,
        bandwidth: 0,
        availability: 0,
        loss: 1,
        ber: 1,
        in_order: 0,
        max_gap: UNBOUNDED,
        timeout: DEFAULT_PEER_TIMEOUT,
        cypher_s: 0,
    };
    /// Raw with a CRC on each packet.
    pub const RAW_NO_ERRORS: Self = Self {
        ber: 0,
        ..Self::RAW
    };
    /// Ordered, flow controlled, lossy.
    pub const BEST_EFFORT: Self = Self {
        ber: 0,
        in_order: 1,
        ..Self::RAW
    };
    /// Video.
    pub const VIDEO: Self = Self {
        delay: 100,
        bandwidth: u64::MAX,
        availability: 3,
        ber: 0,
        in_order: 1,
        max_gap: 100,
        ..Self::RAW
    };
    /// Voice.
    pub const VOICE: Self = Self {
        delay: 50,
        bandwidth: 100_000,
        availability: 5,
        ber: 0,
        in_order: 1,
        max_gap: 50,
        ..Self::RAW
    };
    /// Reliable: ordered, retransmitted, checked.
    pub const DATA: Self = Self {
        delay: 1000,
        loss: 0,
        ber: 0,
        in_order: 1,
        max_gap: 2000,
        ..Self::RAW
    };
    /// What an IPCP's end of a flow has, and what `flow_join` requests: no FRCP, CRC or keepalive.
    pub const NP1: Self = Self {
        loss: UNBOUNDED,
        ber: UNBOUNDED,
        timeout: 0,
        ..Self::RAW
    };

    /// Names of the presets (`spec/irm-tools.md` §12.1); [`QosSpec::by_name`] knows them.
    pub const NAMES: [&str; 5] = ["raw", "best", "video", "voice", "data"];

    /// The preset with this name of `oping -q` and `irm ipcp connect qos`, without CRC: the library
    /// of 0.23 takes it out of every request that a tool makes (`spec/frcp.md` §1.2), since its ends
    /// cannot keep it up (trap T9).
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let preset = match name {
            "raw" => Self::RAW,
            "best" => Self::BEST_EFFORT,
            "video" => Self::VIDEO,
            "voice" => Self::VOICE,
            "data" => Self::DATA,
            _ => return None,
        };
        Some(Self { ber: 1, ..preset })
    }

    /// Whether the flow runs FRCP.
    #[must_use]
    pub fn needs_frcp(&self) -> bool {
        self.in_order != 0
    }
}

impl Default for QosSpec {
    fn default() -> Self {
        Self::RAW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_those_of_the_specification() {
        assert!(
            QosSpec::NAMES
                .iter()
                .all(|name| QosSpec::by_name(name).is_some())
        );
        assert_eq!(QosSpec::by_name("raw"), Some(QosSpec::RAW));
        assert!(!QosSpec::RAW.needs_frcp());
        let data = QosSpec::by_name("data").unwrap();
        assert_eq!(
            (data.loss, data.in_order, data.max_gap, data.delay),
            (0, 1, 2000, 1000)
        );
        assert_eq!(QosSpec::by_name("voice").unwrap().bandwidth, 100_000);
        let best = QosSpec {
            ber: 1,
            ..QosSpec::BEST_EFFORT
        };
        assert_eq!(QosSpec::by_name("best"), Some(best));
        assert_eq!(QosSpec::by_name("Data"), None);
    }
}
