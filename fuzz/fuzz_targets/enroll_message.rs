//! Arbitrary messages of component connections, enrollment and link state: no panic, and what parses means
//! the same when it is emitted and parsed again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use o7s_wire::{
    cep::Message,
    enroll::{self, Ack, Request, Response},
    linkstate::Lsu,
};

fuzz_target!(|input: &[u8]| {
    if let Ok(message) = Message::parse(input) {
        let _ = message.to_string();
        // Negative numbers may have come in a shorter form than the one that is emitted.
        if let Ok(packet) = message.emit() {
            assert_eq!(Message::parse(&packet), Ok(message));
        }
    }
    if let Ok(request) = Request::parse(input) {
        assert_eq!(Request::parse(&request.emit()), Ok(request));
    }
    if let Ok(response) = Response::parse(input) {
        let _ = response.to_string();
        let packet = response.emit();
        assert!(packet.len() <= enroll::LEN_MAX);
        assert_eq!(Response::parse(&packet), Ok(response));
    }
    if let Ok(ack) = Ack::parse(input) {
        assert_eq!(Ack::parse(&ack.emit()), Ok(ack));
    }
    if let Ok(update) = Lsu::parse(input) {
        let _ = update.to_string();
        assert_eq!(update.emit(), input);
    }
});
