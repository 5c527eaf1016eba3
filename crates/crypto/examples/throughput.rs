//! Speed of packet protection and key exchange on one core: `cargo run --release -p o7s-crypto
//! --example throughput [seconds per figure]`.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use o7s_crypto::{
    algorithm::{Cipher, Kex},
    error::CryptoError,
    kdf::Key,
    kex::{PrivateKey, PublicKey},
    packet::PacketCipher,
};

/// Slices of the measuring time; the best counts, so that other work on the machine shows little.
const SLICES: u32 = 20;

/// Runs `work` for about `time`; the mean duration of a run in nanoseconds, in the best slice.
fn mean<E>(time: Duration, mut work: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let once = Instant::now();
    work()?;
    let batch = if once.elapsed() < Duration::from_micros(50) {
        16
    } else {
        1
    };
    let mut best = f64::INFINITY;
    for _ in 0..SLICES {
        let start = Instant::now();
        let mut runs = 0_u32;
        while runs == 0 || start.elapsed() < time / SLICES {
            for _ in 0..batch {
                work()?;
            }
            runs += batch;
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(runs));
    }
    Ok(best)
}

fn packets(time: Duration) -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "{:<18} {:>7}  {:>22}  {:>22}",
        "cipher", "bytes", "seal", "open"
    );
    for cipher in Cipher::ALL.into_iter().rev() {
        for length in [64_usize, 1400, 65_536] {
            let key = Key::new([7; 32]);
            let (ours, theirs) = (
                PacketCipher::new(cipher, &key)?,
                PacketCipher::new(cipher, &key)?,
            );
            let payload = vec![0x55; length];
            let mut packet = Vec::new();
            let seal = mean(time, || {
                packet.clear();
                ours.seal(black_box(&payload), &mut packet)
            })?;
            // What is measured over and over is one packet of the first key: the age of the key
            // counts it each time, and nothing else changes.
            let fresh = PacketCipher::new(cipher, &key)?;
            packet.clear();
            fresh.seal(&payload, &mut packet)?;
            let mut plain = Vec::new();
            let open = mean(time, || theirs.open(black_box(&packet), &mut plain))?;
            assert_eq!(plain, payload);
            let show = |nanos: f64| {
                format!(
                    "{:>7.3} M/s {:>6.2} GB/s",
                    1e3 / nanos,
                    length as f64 / nanos
                )
            };
            println!(
                "{:<18} {length:>7}  {}  {}",
                cipher.name(),
                show(seal),
                show(open)
            );
        }
    }
    Ok(())
}

fn exchanges(time: Duration) -> Result<(), CryptoError> {
    println!(
        "\n{:<18} {:>12} {:>22} {:>14}   microseconds",
        "key exchange", "new key", "agree or encapsulate", "decapsulate"
    );
    for kex in Kex::ALL {
        let own = PrivateKey::generate(kex)?;
        let peer = PublicKey::from_wire(kex.is_hybrid(), own.public())?;
        let made = mean(time, || {
            PrivateKey::generate(kex).map(|key| drop(black_box(key)))
        })?;
        let (second, third) = if kex.is_kem() {
            let (ciphertext, _) = peer.encapsulate()?;
            (
                mean(time, || {
                    peer.encapsulate().map(|both| drop(black_box(both)))
                })?,
                Some(mean(time, || {
                    own.decapsulate(&ciphertext)
                        .map(|secret| drop(black_box(secret)))
                })?),
            )
        } else {
            let agree = || own.agree(&peer).map(|secret| drop(black_box(secret)));
            (mean(time, agree)?, None)
        };
        let third = third.map_or_else(String::new, |nanos| format!("{:.1}", nanos / 1e3));
        println!(
            "{:<18} {:>12.1} {:>22.1} {third:>14}",
            kex.name(),
            made / 1e3,
            second / 1e3
        );
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 0.3,
    };
    let time = Duration::try_from_secs_f64(seconds)?;
    packets(time)?;
    exchanges(time)?;
    Ok(())
}
