//! The binary: everything is in the library.

#[cfg(feature = "service")]
fn main() -> std::process::ExitCode {
    farebox::cli::main()
}

#[cfg(not(feature = "service"))]
fn main() {
    eprintln!("farebox: this binary was built without the feature `service`, which brings in all of its verbs");
}
