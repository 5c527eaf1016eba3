//! Arbitrary files `enc.conf`: no panic, the strict check reads the same configuration, and each
//! error can be shown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use o7s_crypto::enc_conf;

fuzz_target!(|file: &[u8]| {
    let parsed = enc_conf::parse(file);
    match enc_conf::check(file) {
        Ok((config, warnings)) => {
            assert_eq!(parsed, Ok(config));
            for warning in warnings {
                assert!(!warning.to_string().is_empty());
            }
        }
        Err(error) => {
            assert!(error.to_string().starts_with("line "));
            assert_eq!(parsed, Err(error));
        }
    }
});
