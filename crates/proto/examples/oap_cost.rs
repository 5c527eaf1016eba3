//! What a flow allocation costs in OAP: request, response and completion, and their parts, with and
//! without certificates.
//!
//! `cargo run --release -p o7s-proto --example oap_cost`

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use o7s_crypto::{
    algorithm::Kex,
    cert::{Certificate, Credentials, TrustStore},
    enc_conf,
    kex::{PrivateKey, PublicKey},
};
use o7s_proto::oap::{
    Client, ClientConfig, Encryption, ReplayWindow, Server, ServerConfig, SystemEntropy,
};
use o7s_wire::oap::Id;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm,
    date_time_ymd,
};

/// 2026-12-01, in nanoseconds since the Unix epoch.
const NOW: u64 = 1_796_083_200_000_000_000;

/// The shortest of some runs, per call.
fn measure<T>(mut call: impl FnMut() -> T) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..30 {
        let calls = 20;
        let start = Instant::now();
        for _ in 0..calls {
            black_box(call());
        }
        best = best.min(start.elapsed() / calls);
    }
    best
}

fn row(name: &str, time: Duration) {
    println!("{name:<44} {:>8.1} µs", time.as_secs_f64() * 1e6);
}

fn credentials(
    algorithm: &'static SignatureAlgorithm,
) -> (TrustStore, Credentials, Vec<u8>, Vec<u8>) {
    let params = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        params
    };
    let mut authority = params("authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate_for(algorithm).expect("key");
    let root = authority.self_signed(&authority_key).expect("root");
    let key = KeyPair::generate_for(algorithm).expect("key");
    let issuer = Issuer::from_params(&authority, &authority_key);
    let leaf = params("oping").signed_by(&key, &issuer).expect("leaf");
    let mut trust = TrustStore::new();
    trust.add(Certificate::from_der(root.der()).expect("root"));
    let (certificate, key) = (leaf.pem().into_bytes(), key.serialize_pem().into_bytes());
    let credentials = Credentials::from_pem(&certificate, &key).expect("credentials");
    (trust, credentials, certificate, key)
}

fn exchange(title: &str, client: &ClientConfig<'_>, server: &ServerConfig<'_>) {
    println!("\n{title}");
    let start = || Client::start(client, NOW, &mut SystemEntropy).expect("request");
    let respond = |request: &[u8]| {
        // A new window: the time of the check is in a row of its own.
        Server::new(ReplayWindow::with_capacity(1))
            .respond(server, request, NOW, &mut SystemEntropy)
            .expect("response")
    };
    let (_, request) = start();
    row("  request", measure(start));
    row("  response", measure(|| respond(&request)));
    let whole = measure(|| {
        let (waiting, request) = start();
        let (response, _) = respond(&request);
        waiting
            .complete(client.trust, &response, NOW)
            .expect("flow")
    });
    row("  request, response and completion", whole);
    let (response, _) = respond(&request);
    println!("  bytes: {} and {}", request.len(), response.len());
}

fn main() {
    let nobody = TrustStore::new();
    let x25519 = enc_conf::parse(b"kex=X25519").expect("enc.conf");
    let x25519 = Encryption::On(x25519.expect("encryption"));
    let clear = ClientConfig::new("oping", &nobody);
    let client = ClientConfig {
        encryption: x25519,
        ..clear
    };
    let server = ServerConfig::new(&nobody);
    exchange("clear flow", &clear, &server);
    exchange("X25519", &client, &server);
    for (name, algorithm) in [
        ("ECDSA P-256", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("Ed25519", &rcgen::PKCS_ED25519),
        ("RSA 2048", &rcgen::PKCS_RSA_SHA256),
    ] {
        let (trust, credentials, certificate, key) = credentials(algorithm);
        let client = ClientConfig {
            trust: &trust,
            ..client
        };
        let server = ServerConfig {
            credentials: Some(&credentials),
            ..ServerConfig::new(&trust)
        };
        exchange(&format!("X25519, server with {name}"), &client, &server);
        let client = ClientConfig {
            credentials: Some(&credentials),
            ..client
        };
        exchange(&format!("X25519, both with {name}"), &client, &server);
        println!("  parts");
        row(
            "    load certificate and key from PEM",
            measure(|| Credentials::from_pem(&certificate, &key)),
        );
        let leaf = credentials.certificate();
        row(
            "    parse a certificate",
            measure(|| Certificate::from_der(leaf.der())),
        );
        row(
            "    verify its chain (one signature)",
            measure(|| trust.verify(leaf, NOW)),
        );
        let signature = credentials.key().sign(None, &[7; 600]).expect("signature");
        row(
            "    sign 600 bytes",
            measure(|| credentials.key().sign(None, &[7; 600])),
        );
        let public = leaf.key().expect("key");
        row(
            "    verify 600 bytes",
            measure(|| public.verify(None, &[7; 600], &signature)),
        );
    }

    println!("\nkey exchange");
    for kex in [Kex::X25519, Kex::Prime256v1, Kex::X25519MlKem768] {
        if !kex.is_available() {
            continue;
        }
        row(
            &format!("  {kex}: generate"),
            measure(|| PrivateKey::generate(kex)),
        );
        let own = PrivateKey::generate(kex).expect("key");
        let other = PrivateKey::generate(kex).expect("key");
        let parse = || PublicKey::from_wire(kex.is_hybrid(), other.public()).expect("key");
        row(&format!("  {kex}: parse public key"), measure(parse));
        let public = parse();
        if kex.is_kem() {
            row(
                &format!("  {kex}: encapsulate"),
                measure(|| public.encapsulate()),
            );
        } else {
            row(&format!("  {kex}: agree"), measure(|| own.agree(&public)));
        }
    }

    println!("\nenc.conf");
    row(
        "  parse four settings",
        measure(|| enc_conf::parse(b"kex=X25519\ncipher=aes-256-gcm\nkdf=sha256\ndigest=sha256\n")),
    );
    let mut window = ReplayWindow::default();
    let mut number = 0_u128;
    row(
        "  replay check of a new request",
        measure(|| {
            number += 1;
            window.check(Id(number.to_be_bytes()), NOW, NOW)
        }),
    );
}
