//! What cryptography costs on one core, without any exchange: protection of packets, key exchange,
//! signatures.

use std::{
    fs,
    hint::black_box,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use o7s_crypto::{
    algorithm::{Cipher, Hash, Kex},
    cert::{Certificate, TrustStore},
    kdf::Key,
    kex::{PrivateKey, PublicKey},
    packet::{PacketCipher, append_crc, check_crc},
    sign::SigningKey,
};

use crate::{
    Outcome,
    identity::{authority_path, server_paths},
    stats::{bandwidth, micros, rate},
    transport::pin,
};

const SIZES: [usize; 3] = [64, 1400, 65_536];
const CIPHERS: [Cipher; 2] = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];
const EXCHANGES: [Kex; 4] = [
    Kex::X25519,
    Kex::Prime256v1,
    Kex::Secp521r1,
    Kex::X25519MlKem768,
];
/// Slices of a measurement; the best counts, so that other work on the machine shows little.
const SLICES: usize = 10;
const SLICE: Duration = Duration::from_millis(15);

/// Runs of a piece of work, and how long they took.
type Measured = Result<(u64, Duration), Box<dyn std::error::Error>>;

pub(crate) fn run(security: &Path) -> Outcome {
    pin(0)?;
    protection()?;
    exchange()?;
    signatures(security)
}

/// Repeats `work`; the best slice.
fn repeat<T, E>(mut work: impl FnMut() -> Result<T, E>) -> Measured
where
    Box<dyn std::error::Error>: From<E>,
{
    let once = Instant::now();
    black_box(work()?);
    // A look at the clock is not to be part of what is measured.
    let batch = if once.elapsed() < Duration::from_micros(50) {
        32
    } else {
        1
    };
    let mut best = (0, Duration::MAX);
    for _ in 0..SLICES {
        let (start, mut runs) = (Instant::now(), 0);
        while start.elapsed() < SLICE {
            for _ in 0..batch {
                black_box(work()?);
            }
            runs += batch;
        }
        let time = start.elapsed();
        let faster = runs as f64 * best.1.as_secs_f64() > best.0 as f64 * time.as_secs_f64();
        if faster {
            best = (runs, time);
        }
    }
    Ok(best)
}

/// The duration of one run; the longest there is if there was none.
fn per_run((runs, time): (u64, Duration)) -> Duration {
    let nanos = time.as_nanos().checked_div(u128::from(runs));
    let nanos = nanos.and_then(|nanos| u64::try_from(nanos).ok());
    nanos.map_or(Duration::MAX, Duration::from_nanos)
}

fn protection() -> Outcome {
    println!("protection of packets on one core, messages per second");
    println!("{:>12} {:>18} {:>24} {:>24}", "bytes", "", "seal", "open");
    for size in SIZES {
        let payload = vec![7; size];
        for cipher in CIPHERS {
            let key = Key::new([7; 32]);
            let (ours, theirs) = (
                PacketCipher::new(cipher, &key)?,
                PacketCipher::new(cipher, &key)?,
            );
            let mut packet = Vec::new();
            // The same packet over and over: it opens as long as its key is known.
            PacketCipher::new(cipher, &key)?.seal(&payload, &mut packet)?;
            let mut plain = Vec::new();
            let open = repeat(|| theirs.open(black_box(&packet), &mut plain))?;
            let seal = repeat(|| {
                packet.clear();
                ours.seal(black_box(&payload), &mut packet)
            })?;
            print_protection(size, cipher.name(), seal, open);
        }
        let mut packet = Vec::new();
        let seal = repeat::<_, std::convert::Infallible>(|| {
            packet.clear();
            packet.extend_from_slice(black_box(&payload));
            append_crc(&mut packet);
            Ok(())
        })?;
        let open = repeat(|| check_crc(black_box(&packet)).ok_or("the CRC does not match"))?;
        print_protection(size, "CRC-32", seal, open);
    }
    println!();
    Ok(())
}

fn print_protection(size: usize, what: &str, seal: (u64, Duration), open: (u64, Duration)) {
    let show = |(runs, time): (u64, Duration)| {
        format!(
            "{}, {}",
            rate(runs, time),
            bandwidth(runs * size as u64, time)
        )
    };
    println!(
        "{size:>12} {what:>18} {:>24} {:>24}",
        show(seal),
        show(open)
    );
}

fn exchange() -> Outcome {
    println!("key exchange on one core");
    println!(
        "{:>18} {:>14} {:>22} {:>14}",
        "", "new key", "agree or encapsulate", "decapsulate"
    );
    for kex in EXCHANGES {
        let own = PrivateKey::generate(kex)?;
        let peer = PublicKey::from_wire(kex.is_hybrid(), own.public())?;
        let made = repeat(|| PrivateKey::generate(kex))?;
        let (second, third) = if kex.is_kem() {
            let (ciphertext, _) = peer.encapsulate()?;
            let second = repeat(|| peer.encapsulate())?;
            (second, Some(repeat(|| own.decapsulate(&ciphertext))?))
        } else {
            (repeat(|| own.agree(&peer))?, None)
        };
        println!(
            "{:>18} {:>14} {:>22} {:>14}",
            kex.name(),
            micros(per_run(made)),
            micros(per_run(second)),
            third.map_or_else(String::new, |time| micros(per_run(time)))
        );
    }
    println!();
    Ok(())
}

fn signatures(security: &Path) -> Outcome {
    let (certificate, key) = server_paths(security);
    let (certificate, key) = (fs::read(certificate)?, fs::read(key)?);
    let signing = SigningKey::from_pem(&key)?;
    let digest = Some(Hash::Sha256);
    let message = [7; 256];
    let sign = repeat(|| signing.sign(digest, black_box(&message)))?;
    let signature = signing.sign(digest, &message)?;
    let parsed = Certificate::from_pem(&certificate)?;
    let verifying = parsed.key()?;
    let verify = repeat(|| verifying.verify(digest, black_box(&message), &signature))?;
    println!(
        "signatures and certificates on one core, {}",
        signing.kind()
    );
    let row = |what: &str, measured| println!("{what:>32} {:>14}", micros(per_run(measured)));
    row("sign", sign);
    row("verify", verify);
    row("read a private key", repeat(|| SigningKey::from_pem(&key))?);
    row(
        "read a certificate",
        repeat(|| Certificate::from_pem(&certificate))?,
    );
    let authority = Certificate::from_pem(&fs::read(authority_path(security))?)?;
    let mut store = TrustStore::new();
    store.add(authority);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let now = u64::try_from(now)?;
    row("check its chain", repeat(|| store.verify(&parsed, now))?);
    println!();
    Ok(())
}
