//! The compile child alone, for tests and benchmarks of this crate; the host is its own compile child.

fn main() -> std::process::ExitCode {
    weir_wasm::run_compiler()
}
