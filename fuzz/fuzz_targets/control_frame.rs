//! Arbitrary bytes on the control socket, cut anywhere: no panic, and what decodes encodes again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use o7s::{
    QosSpec,
    control::{Body, Decoder, REQUEST_MAX, encode},
};

fuzz_target!(|input: &[u8]| {
    // The length of the parts that a read gives, and the stream.
    let Some((cut, bytes)) = input.split_first() else {
        return;
    };
    let mut decoder = Decoder::new(REQUEST_MAX);
    for part in bytes.chunks(usize::from(*cut).max(1)) {
        decoder.push(part, []);
        while let Ok(Some((envelope, _))) = decoder.next_envelope() {
            if let Some(Body::FlowAlloc(request)) = &envelope.body {
                let _ = QosSpec::try_from(request.qos);
            }
            let mut again = Decoder::new(usize::MAX);
            again.push(&encode(&envelope), []);
            if envelope.fds == 0 {
                let (decoded, _) = again.next_envelope().unwrap().unwrap();
                assert_eq!(decoded, envelope);
            }
        }
    }
});
