//! Framing: bytes and file descriptors of a stream socket become envelopes, and back.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use prost::Message as _;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::message::Envelope;

/// Most file descriptors that may travel with one frame.
pub const MAX_FDS: usize = 4;
/// Largest frame that the daemon takes, bytes.
pub const REQUEST_MAX: usize = 256 * 1024;
/// Largest frame that a client takes (long lists), bytes.
pub const REPLY_MAX: usize = 64 * 1024 * 1024;

const PREFIX: usize = 4;
/// Descriptors that may wait for their frames; more is misbehaviour.
const FDS_PENDING: usize = 64;
/// Bytes asked for per `recvmsg`.
const CHUNK: usize = 16 * 1024;

/// How the other side broke the framing. The connection is of no use afterwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame larger than the limit.
    #[error("a frame of {length} bytes exceeds the limit of {limit} bytes")]
    TooLong {
        /// Announced length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Bytes that are no envelope.
    #[error("a frame is no control message: {0}")]
    Malformed(String),
    /// A frame that announces descriptors which did not arrive, or too many.
    #[error("a frame announces {announced} file descriptors, {arrived} arrived")]
    Descriptors {
        /// Announced number.
        announced: usize,
        /// Arrived number.
        arrived: usize,
    },
}

/// The bytes of one frame; its `fds` field must say how many descriptors go along.
#[must_use]
pub fn encode(envelope: &Envelope) -> Vec<u8> {
    let length = envelope.encoded_len();
    let mut frame = Vec::with_capacity(PREFIX + length);
    frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    envelope.encode_raw(&mut frame);
    frame
}

/// Cuts a stream of bytes and descriptors into envelopes.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    bytes: Vec<u8>,
    start: usize,
    fds: VecDeque<OwnedFd>,
    fds_lost: bool,
}

impl Decoder {
    /// A decoder that refuses frames of more than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: Vec::new(),
            start: 0,
            fds: VecDeque::new(),
            fds_lost: false,
        }
    }

    /// Takes what was received.
    pub fn push(&mut self, bytes: &[u8], fds: impl IntoIterator<Item = OwnedFd>) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
        self.fds.extend(fds);
    }

    /// Says that descriptors were lost on the way because this process has none left. The next
    /// envelope with descriptors then comes without them.
    pub fn descriptors_lost(&mut self) {
        self.fds_lost = true;
    }

    /// The next whole envelope with its descriptors.
    ///
    /// # Errors
    /// [`FrameError`]; close the connection then.
    pub fn next_envelope(&mut self) -> Result<Option<(Envelope, Vec<OwnedFd>)>, FrameError> {
        let rest = &self.bytes[self.start..];
        let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > self.limit {
            return Err(FrameError::TooLong {
                length,
                limit: self.limit,
            });
        }
        let excess = |fds: &VecDeque<OwnedFd>| FrameError::Descriptors {
            announced: 0,
            arrived: fds.len(),
        };
        let Some(body) = rest.get(..length) else {
            return if self.fds.len() > FDS_PENDING {
                Err(excess(&self.fds))
            } else {
                Ok(None)
            };
        };
        let envelope =
            Envelope::decode(body).map_err(|error| FrameError::Malformed(error.to_string()))?;
        let announced = envelope.fds as usize;
        if announced > self.fds.len() && self.fds_lost {
            // What arrived of them is of no use without the rest.
            self.fds.clear();
            self.fds_lost = false;
            self.start += PREFIX + length;
            return Ok(Some((envelope, Vec::new())));
        }
        if announced > self.fds.len() || announced > MAX_FDS {
            return Err(FrameError::Descriptors {
                announced,
                arrived: self.fds.len(),
            });
        }
        self.start += PREFIX + length;
        let fds = self.fds.drain(..announced).collect();
        Ok(Some((envelope, fds)))
    }
}

/// One `sendmsg` without waiting: as many bytes as fit now. The descriptors go with the first
/// byte, so pass them with the first call for a frame only.
///
/// # Errors
/// `WouldBlock` if nothing fits; else what the socket says.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many file descriptors",
        ));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut control,
        flags,
    )?)
}

/// One `recvmsg` without waiting, into `decoder`. Returns the number of bytes, 0 at the end of the
/// stream.
///
/// # Errors
/// `WouldBlock` if nothing is there; else what the socket says.
pub fn receive(socket: impl AsFd, decoder: &mut Decoder) -> io::Result<usize> {
    let mut buffer = [0; CHUNK];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PENDING))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut buffer)],
        &mut control,
        flags,
    )?;
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    decoder.push(&buffer[..received.bytes], fds.flatten());
    if received.flags.contains(ReturnFlags::CTRUNC) {
        decoder.descriptors_lost();
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Body, Empty, NameRef};
    use proptest::prelude::*;
    use std::os::unix::net::UnixStream;

    fn envelope(id: u64, name: &str) -> Envelope {
        let body = Body::DestroyName(NameRef {
            name: name.to_owned(),
        });
        Envelope {
            id,
            fds: 0,
            body: Some(body),
        }
    }

    #[test]
    fn descriptors_arrive_with_their_frame() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let plain = Envelope {
            id: 1,
            fds: 0,
            body: Some(Body::Done(Empty {})),
        };
        let with = Envelope {
            fds: 1,
            ..plain.clone()
        };
        send(&ours, &encode(&plain), &[]).unwrap();
        send(&ours, &encode(&with), &[theirs.as_fd()]).unwrap();
        let mut decoder = Decoder::new(REQUEST_MAX);
        let mut counts = Vec::new();
        while counts.len() < 2 {
            receive(&theirs, &mut decoder).unwrap();
            while let Some((_, fds)) = decoder.next_envelope().unwrap() {
                counts.push(fds.len());
            }
        }
        assert_eq!(counts, [0, 1]);
    }

    #[test]
    fn an_oversized_frame_is_refused_before_it_is_stored() {
        let mut decoder = Decoder::new(10);
        decoder.push(&11_u32.to_le_bytes(), []);
        assert_eq!(
            decoder.next_envelope().unwrap_err(),
            FrameError::TooLong {
                length: 11,
                limit: 10
            }
        );
    }

    #[test]
    fn a_frame_without_its_descriptors_is_refused() {
        let mut decoder = Decoder::new(100);
        decoder.push(
            &encode(&Envelope {
                id: 1,
                fds: 1,
                body: None,
            }),
            [],
        );
        assert_eq!(
            decoder.next_envelope().unwrap_err(),
            FrameError::Descriptors {
                announced: 1,
                arrived: 0
            }
        );
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_envelopes(
            names in proptest::collection::vec("[a-z]{0,20}", 1..8),
            cut in 1_usize..40,
        ) {
            let sent: Vec<_> = names.iter().zip(1..).map(|(n, id)| envelope(id, n)).collect();
            let stream: Vec<u8> = sent.iter().flat_map(encode).collect();
            let mut decoder = Decoder::new(REQUEST_MAX);
            let mut got = Vec::new();
            for part in stream.chunks(cut) {
                decoder.push(part, []);
                while let Some((envelope, _)) = decoder.next_envelope().unwrap() {
                    got.push(envelope);
                }
            }
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new(REQUEST_MAX);
            decoder.push(&bytes, []);
            while let Ok(Some(_)) = decoder.next_envelope() {}
        }
    }
}
