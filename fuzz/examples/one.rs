//! Runs one input: target, file.
fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().expect("a target");
    let bytes = std::fs::read(args.next().expect("a file")).expect("readable");
    let (_, body) = fuzz::TARGETS.iter().find(|(n, _)| *n == name).expect("known");
    body(&bytes);
}
