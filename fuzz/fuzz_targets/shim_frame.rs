//! Arbitrary frames and datagrams of the layers on Ethernet and UDP: no panic, and what parses is emitted
//! again as the same header, payload and message.

#![no_main]

use libfuzzer_sys::fuzz_target;
use o7s_wire::{
    eth::{TAG_LEN, dix, llc},
    shim::{DIX, LLC, Layout, Message, UDP},
    udp,
};

/// A message means the same after it was emitted; without the fields that it does not use it is the same.
fn message(layout: &Layout, payload: &[u8], hash_len: usize) {
    let Ok(message) = Message::parse(layout, payload, hash_len) else {
        return;
    };
    let mut again = Vec::new();
    message
        .emit(layout, &mut again)
        .expect("it came from this layout");
    assert_eq!(again.len(), message.emitted_len(layout));
    assert!(again.len() <= payload.len());
    assert_eq!(Message::parse(layout, &again, hash_len), Ok(message));
    assert!(!message.to_string().is_empty());
}

fuzz_target!(|input: &[u8]| {
    let Some((&setup, bytes)) = input.split_first() else {
        return;
    };
    let hash_len = [16, 28, 32, 48, 64][usize::from(setup >> 2) % 5];
    match setup & 3 {
        0 => {
            if let Ok(frame) = dix::Frame::new_checked(bytes, dix::DEFAULT_ETHERTYPE) {
                let header = dix::Repr::of(&frame).emit(frame.payload().len() as u16);
                same(bytes, &header, frame.payload_at(), frame.payload());
                assert!(!frame.to_string().is_empty());
                message(&DIX, frame.payload(), hash_len);
            }
        }
        1 => {
            if let Ok(frame) = llc::Frame::new_checked(bytes) {
                let header = llc::Repr::of(&frame).emit(frame.payload().len() as u16);
                same(bytes, &header, frame.payload_at(), frame.payload());
                assert!(!frame.to_string().is_empty());
                message(&LLC, frame.payload(), hash_len);
            }
        }
        2 => {
            if let Ok(datagram) = udp::Datagram::new_checked(bytes) {
                let header = udp::Repr {
                    eid: datagram.eid(),
                }
                .emit();
                assert_eq!([&header[..], datagram.payload()].concat(), bytes);
                assert!(!datagram.to_string().is_empty());
                message(&UDP, datagram.payload(), hash_len);
            }
        }
        _ => {
            for layout in [&DIX, &LLC, &UDP] {
                message(layout, bytes, hash_len);
            }
        }
    }
});

/// The header is that of the frame, but for a tag, and the payload lies where it is said to.
fn same(bytes: &[u8], header: &[u8], payload_at: usize, payload: &[u8]) {
    let tag = payload_at - header.len();
    assert!(tag == 0 || tag == TAG_LEN);
    assert_eq!(header[..12], bytes[..12]);
    assert_eq!(header[12..], bytes[12 + tag..payload_at]);
    assert_eq!(payload, &bytes[payload_at..payload_at + payload.len()]);
}
