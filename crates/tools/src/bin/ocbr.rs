//! `ocbr`: sends packets at a constant bit rate.

fn main() -> std::process::ExitCode {
    o7s_tools::ocbr::main(std::env::args_os().skip(1))
}
