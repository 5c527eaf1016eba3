//! An installation in a directory of its own, and the compiler.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

/// Warnings are errors, in the compilers of programs as in ours.
const WARNINGS: [&str; 3] = ["-Wall", "-Wextra", "-Werror"];

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The test programs.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/c")
        .join(name)
}

/// A place for what this test makes.
pub(crate) fn out() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// `make` in the repository, for the profile of this test.
pub(crate) fn make(arguments: &[&str]) {
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let target = out().parent().expect("a target directory");
    let mut command = Command::new("make");
    command
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target)
        .arg(format!("PROFILE={profile}"))
        .args(arguments)
        // The outer make and cargo have settings for themselves.
        .env_remove("MAKEFLAGS")
        .env_remove("DESTDIR");
    run(&mut command);
}

/// Where everything is installed, once per run.
pub(crate) fn stage() -> &'static Path {
    static STAGE: OnceLock<PathBuf> = OnceLock::new();
    STAGE.get_or_init(|| {
        let stage = out().join("stage");
        make(&["install-capi", &format!("PREFIX={}", stage.display())]);
        stage
    })
}

/// What `pkg-config` says of both libraries.
pub(crate) fn pkg_config(question: &str) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command
        .env("PKG_CONFIG_PATH", stage().join("lib/pkgconfig"))
        .args([question, "ouroboros-dev", "ouroboros-irm"]);
    let output = run(&mut command);
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Compiles a file with both libraries, and returns the program.
pub(crate) fn compile(compiler: &str, flags: &[&str], source: &Path) -> PathBuf {
    let stem = source.file_stem().expect("a file name").to_string_lossy();
    let standard = flags.first().copied().unwrap_or_default();
    let program = out().join(format!("{stem}{standard}"));
    let mut command = Command::new(compiler);
    command
        .args(flags)
        .args(WARNINGS)
        .args(["-g", "-pthread"])
        .args(pkg_config("--cflags"))
        .arg(source)
        .arg("-o")
        .arg(&program)
        .args(pkg_config("--libs"));
    run(&mut command);
    program
}

/// Whether a compiler has nothing to say about a file that uses the headers.
pub(crate) fn check_syntax(compiler: &str, flags: &[&str], source: &Path) {
    let mut command = Command::new(compiler);
    command
        .args(flags)
        .args(WARNINGS)
        .arg("-fsyntax-only")
        .args(["-I".into(), stage().join("include")])
        .arg(source);
    run(&mut command);
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}
