//! The message with which components introduce themselves (`spec/directory-enrollment.md` §2.1).

use o7s::{Error, ErrorKind, Result};
use prost::Message as _;

use crate::layout::ConnInfo;

/// Longest name in bytes.
const NAME_MAX: usize = 128;

/// `cep_msg`. Names are bytes here: C programs compare them octet by octet.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Cep {
    #[prost(bytes = "vec", required, tag = "1")]
    comp_name: Vec<u8>,
    #[prost(bytes = "vec", required, tag = "2")]
    protocol: Vec<u8>,
    #[prost(int32, required, tag = "3")]
    pref_version: i32,
    #[prost(int32, required, tag = "5")]
    pref_syntax: i32,
    #[prost(uint64, required, tag = "8")]
    address: u64,
}

/// The message that says what `info` says.
#[must_use]
pub fn encode(info: &ConnInfo) -> Vec<u8> {
    let bytes = |array: &[std::ffi::c_char]| {
        let text = array.iter().take(NAME_MAX).take_while(|c| **c != 0);
        text.map(|c| *c as u8).collect()
    };
    Cep {
        comp_name: bytes(&info.comp_name),
        protocol: bytes(&info.protocol),
        pref_version: info.pref_version as i32,
        pref_syntax: info.pref_syntax as i32,
        address: info.addr,
    }
    .encode_to_vec()
}

/// What a message says.
///
/// # Errors
/// [`ErrorKind::Permission`], the number of which is the -1 of the interface: no such message.
pub fn decode(packet: &[u8]) -> Result<ConnInfo> {
    let refused = |why: String| {
        Error::new(
            ErrorKind::Permission,
            format!("the other end does not say who it is: {why}"),
        )
    };
    // A field that is missing must not pass as empty: the five are there in every message.
    let message = Cep::decode(packet).map_err(|error| refused(error.to_string()))?;
    if message.encoded_len() > packet.len() {
        return Err(refused("a field is missing".into()));
    }
    // SAFETY: it consists of numbers, for which zeros are values.
    let mut info: ConnInfo = unsafe { std::mem::zeroed() };
    let texts = [
        (&message.comp_name, &mut info.comp_name),
        (&message.protocol, &mut info.protocol),
    ];
    for (text, array) in texts {
        if text.len() > NAME_MAX {
            return Err(refused(format!("a name of {} bytes", text.len())));
        }
        for (to, from) in array.iter_mut().zip(text) {
            *to = *from as std::ffi::c_char;
        }
    }
    info.pref_version = message.pref_version as u32;
    info.pref_syntax = message.pref_syntax as u32;
    info.addr = message.address;
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::{put_text, text_in};

    #[test]
    fn there_and_back() {
        // SAFETY: it consists of numbers, for which zeros are values.
        let mut info: ConnInfo = unsafe { std::mem::zeroed() };
        // The answer of an acceptor without such a component (`spec/directory-enrollment.md` §3.4).
        assert_eq!(encode(&info), [10, 0, 18, 0, 24, 0, 40, 0, 64, 0]);
        put_text(&mut info.comp_name, "Data Transfer");
        put_text(&mut info.protocol, &"d".repeat(200));
        (info.pref_version, info.pref_syntax, info.addr) = (1, 2, u64::MAX);
        let back = decode(&encode(&info)).unwrap();
        assert_eq!(text_in(&back.comp_name, "").unwrap(), "Data Transfer");
        assert_eq!(text_in(&back.protocol, "").unwrap().len(), 128);
        assert_eq!((back.pref_version, back.pref_syntax), (1, 2));
        assert_eq!(back.addr, u64::MAX);
    }

    #[test]
    fn what_is_no_message() {
        for packet in [&[][..], b"hello", &[10, 0], &[10, 0, 18, 0, 24, 0, 40, 0]] {
            assert_eq!(decode(packet).unwrap_err().errno(), 1, "{packet:?}");
        }
        let long = Cep {
            comp_name: vec![b'c'; 129],
            ..Cep::default()
        };
        assert!(decode(&long.encode_to_vec()).is_err());
    }
}
