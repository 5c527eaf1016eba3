//! The DER that keys are wrapped in. It enters the key derivation, so it is exactly that of
//! `spec/oap-crypto.md` §4.2.

use x509_cert::der::{Decode as _, Header, Reader as _, SliceReader, Tag, asn1::UintRef};

/// OBJECT IDENTIFIER dhKeyAgreement (1.2.840.113549.1.3.1).
pub(super) const DH: [u8; 11] = [
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x03, 0x01,
];

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    match length {
        0..=0x7f => out.push(length as u8),
        0x80..=0xff => out.extend([0x81, length as u8]),
        _ => {
            out.push(0x82);
            // No key here is longer than 64 KiB.
            out.extend((length as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(content);
    out
}

/// INTEGER of a positive number, big-endian without leading zeros.
pub(super) fn integer(number: &[u8]) -> Vec<u8> {
    if number.first().is_none_or(|first| *first >= 0x80) {
        tlv(0x02, &[&[0], number].concat())
    } else {
        tlv(0x02, number)
    }
}

/// SEQUENCE.
pub(super) fn sequence(content: &[u8]) -> Vec<u8> {
    tlv(0x30, content)
}

/// BIT STRING of whole bytes.
pub(super) fn bit_string(content: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], content].concat())
}

/// Prime and generator of SEQUENCE { INTEGER p, INTEGER g, ... }, each without leading zeros.
pub(super) fn dh_parameters(parameters: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut reader = SliceReader::new(parameters).ok()?;
    reader
        .sequence(|inner: &mut SliceReader<'_>| {
            let prime = UintRef::decode(inner)?.as_bytes().to_vec();
            let generator = UintRef::decode(inner)?.as_bytes().to_vec();
            // An optional length of private values may follow.
            while !inner.is_finished() {
                let header = Header::decode(inner)?;
                inner.read_slice(header.length())?;
            }
            Ok::<_, x509_cert::der::Error>((prime, generator))
        })
        .ok()
}

/// The number in an INTEGER that is all of `der`, without leading zeros.
pub(super) fn whole_integer(der: &[u8]) -> Option<&[u8]> {
    UintRef::from_der(der).ok().map(|number| number.as_bytes())
}

/// The content of an OCTET STRING that is all of `der`.
pub(super) fn whole_octets(der: &[u8]) -> Option<&[u8]> {
    content(der, Tag::OctetString)
}

/// The parts of an ML-KEM private key, whichever are there.
pub(super) struct MlKemPrivate<'a> {
    pub(super) seed: Option<&'a [u8]>,
    pub(super) expanded: Option<&'a [u8]>,
}

/// Reads any of the three forms of an ML-KEM private key (`spec/oap-crypto.md` §4.5).
pub(super) fn ml_kem_private(der: &[u8]) -> Option<MlKemPrivate<'_>> {
    let parts = |seed, expanded| Some(MlKemPrivate { seed, expanded });
    if let Some(expanded) = whole_octets(der) {
        return parts(None, Some(expanded));
    }
    // [0] IMPLICIT OCTET STRING
    if let Some(seed) = der.strip_prefix(&[0x80, 64])
        && seed.len() == 64
    {
        return parts(Some(seed), None);
    }
    let inner = content(der, Tag::Sequence)?;
    let mut reader = SliceReader::new(inner).ok()?;
    let mut next = || {
        let header = Header::decode(&mut reader).ok()?;
        let octets = reader.read_slice(header.length()).ok()?;
        (header.tag() == Tag::OctetString).then_some(octets)
    };
    let (seed, expanded) = (next()?, next()?);
    parts(Some(seed), Some(expanded))
}

fn content(der: &[u8], tag: Tag) -> Option<&[u8]> {
    let mut reader = SliceReader::new(der).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    let content = reader.read_slice(header.length()).ok()?;
    (header.tag() == tag && reader.is_finished()).then_some(content)
}
