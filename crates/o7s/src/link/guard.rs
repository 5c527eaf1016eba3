//! What happens to a packet between the flow and the layer: encryption and CRC
//! (`spec/oap-crypto.md` §6.3, §7; `spec/frcp.md` §1.1).

use std::sync::atomic::{AtomicU64, Ordering};

use o7s_crypto::packet::{self, PacketCipher};
use o7s_wire::frcp;

use crate::{Error, ErrorKind, Result};

/// The protection of one end of a flow. Both directions use it, from several threads.
pub(crate) struct Guard {
    cipher: Option<PacketCipher>,
    crc: bool,
    /// Packets carry an FRCP header.
    frcp: bool,
    /// Nobody but the peer can have made the packets: one that does not open breaks the flow.
    strict: bool,
    discarded: AtomicU64,
}

impl Guard {
    pub(crate) fn new(cipher: Option<PacketCipher>, crc: bool, frcp: bool, strict: bool) -> Self {
        Self {
            cipher,
            crc,
            frcp,
            strict,
            discarded: AtomicU64::new(0),
        }
    }

    /// Whether the peer has sent what it cannot have encrypted with the key of the flow.
    pub(crate) fn is_violated(&self) -> bool {
        self.strict && self.discarded() > 0
    }

    /// Whether packets go as they are.
    pub(crate) fn is_idle(&self) -> bool {
        self.cipher.is_none() && !self.crc
    }

    /// Whether opening decrypts.
    pub(crate) fn decrypts(&self) -> bool {
        self.cipher.is_some()
    }

    /// Bytes by which a packet grows.
    pub(crate) fn overhead(&self) -> usize {
        let cipher = self.cipher.as_ref().map_or(0, PacketCipher::overhead);
        cipher + if self.crc { packet::CRC_LEN } else { 0 }
    }

    /// Packets that arrived damaged or forged and were dropped.
    pub(crate) fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }

    /// Replaces `out` by the protected form of `plain`.
    ///
    /// # Errors
    /// The cryptographic library failed, for want of memory or random numbers.
    pub(crate) fn protect(&self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        match &self.cipher {
            Some(cipher) => cipher
                .seal(plain, out)
                .map_err(|error| Error::new(ErrorKind::Crypt, format!("cannot write: {error}")))?,
            None => out.extend_from_slice(plain),
        }
        if self.crc {
            packet::append_crc(out);
        }
        Ok(())
    }

    /// Undoes [`Guard::protect`]: the plain packet, which lies in `packet` or `plain`, or none if it
    /// is to be dropped.
    pub(crate) fn open<'a>(&self, packet: &'a [u8], plain: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let opened = self.try_open(packet, plain);
        if opened.is_none() {
            self.discarded.fetch_add(1, Ordering::Relaxed);
        }
        opened
    }

    fn try_open<'a>(&self, packet: &'a [u8], plain: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let mut body = packet;
        if self.crc {
            match packet::check_crc(packet) {
                Some(length) => body = packet.get(..length)?,
                None if self.has_no_crc(packet) => {}
                None => return None,
            }
        }
        match &self.cipher {
            Some(cipher) => cipher.open(body, plain).ok().map(|()| &**plain),
            None => Some(body),
        }
    }

    /// Whether a packet whose CRC does not match may be one that 0.23 sends without: a control
    /// packet of FRCP (trap T9). What a cipher authenticates needs no CRC.
    fn has_no_crc(&self, packet: &[u8]) -> bool {
        match &self.cipher {
            Some(cipher) => self.frcp && cipher.is_authenticated(),
            None => {
                self.frcp
                    && packet.len() == frcp::HEADER_LEN
                    && packet
                        .first()
                        .is_some_and(|flags| flags & frcp::Flags::DATA.bits() == 0)
            }
        }
    }
}
