//! What the boundary of the C library costs: the same calls from C and from Rust.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use o7s::{Flow, Node, QosSpec, RuntimeDir};

use crate::{NAME, Outcome, transport::pin};

// As in `c/calls.c`.
const ROUNDS: usize = 10;
const BATCHES: u32 = 2000;
const BATCH: u32 = 100;

/// Measures both, one after the other, on one CPU.
pub(crate) fn run(dir: &RuntimeDir) -> Outcome {
    pin(0)?;
    println!("a call, 64 bytes, nothing waits, ns, best of {ROUNDS}");
    let Some(library) = library()? else {
        println!("  skipped: the C library is not built; 'make capi' builds it\n");
        return Ok(());
    };
    let program = compile(&library, dir)?;
    let node = Node::current();
    node.irm().bind_program(&program, NAME, false, &[])?;
    let output = Command::new(&program)
        .arg(NAME)
        .env(o7s::runtime::ENV, dir.path())
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let words = String::from_utf8(output.stdout)?;
    let of_c: Vec<f64> = words
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let program = program.to_string_lossy().into_owned();
    node.irm().unbind_program(&program, Some(NAME))?;
    let of_rust = calls(&node)?;
    for (index, name) in ["write", "read"].iter().enumerate() {
        let (c, rust) = (of_c.get(index).copied().unwrap_or(f64::NAN), of_rust[index]);
        println!(
            "  {name:<6} C {c:>6.1}   Rust {rust:>6.1}   boundary {:>5.1}",
            c - rust
        );
    }
    println!();
    Ok(())
}

/// The directory of the library that was built beside this program, if it was.
fn library() -> Result<Option<PathBuf>, std::io::Error> {
    let own = std::env::current_exe()?;
    let profile = own.parent().and_then(Path::file_name).unwrap_or_default();
    let target = own.parent().and_then(Path::parent);
    let dir = target.map(|target| target.join("capi").join(profile));
    Ok(dir.filter(|dir| dir.join("libouroboros-dev.so.0.23.0").exists()))
}

fn compile(library: &Path, dir: &RuntimeDir) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let program = dir.path().join("calls");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new("cc")
        .args(["-std=c99", "-O2", "-pthread", "-I"])
        .arg(here.join("../include"))
        .arg(here.join("c/calls.c"))
        .arg(library.join("libouroboros-dev.so.0.23.0"))
        .arg(format!("-Wl,-rpath,{}", library.display()))
        .arg("-o")
        .arg(&program)
        .status()?;
    // The program looks for the library by its soname.
    let soname = library.join("libouroboros-dev.so.0.23");
    if !soname.exists() {
        std::os::unix::fs::symlink("libouroboros-dev.so.0.23.0", soname)?;
    }
    if !status.success() {
        return Err(format!("cc failed: {status}").into());
    }
    Ok(program)
}

/// Time of a write and of a read in Rust, ns.
fn calls(node: &Node) -> Result<[f64; 2], Box<dyn std::error::Error>> {
    let pid = std::process::id().try_into()?;
    node.announce()?;
    node.irm().bind_process(pid, NAME)?;
    let acceptor = std::thread::spawn({
        let node = node.clone();
        move || node.accept(None)
    });
    let client = node.alloc(NAME, QosSpec::RAW, None)?;
    let server: Flow = acceptor.join().map_err(|_| "the acceptor failed")??;
    let (message, mut buffer) = ([0; 64], [0; 65]);
    let mut best = [f64::MAX; 2];
    for _ in 0..ROUNDS {
        let mut times = [Duration::ZERO; 2];
        for _ in 0..BATCHES {
            let start = Instant::now();
            for _ in 0..BATCH {
                client.write(&message)?;
            }
            times[0] += start.elapsed();
            let start = Instant::now();
            for _ in 0..BATCH {
                server.read(&mut buffer)?;
            }
            times[1] += start.elapsed();
        }
        for (best, time) in best.iter_mut().zip(times) {
            *best = best.min(time.as_nanos() as f64 / f64::from(BATCHES * BATCH));
        }
    }
    node.irm().unbind_process(pid, Some(NAME))?;
    Ok(best)
}
