//! What must hold of any bytes holds of these: inputs that fuzzing begins with, and what it has found wrong. `make fuzz` looks for
//! more.

use std::{fs, path::Path};

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets reach it")]
mod fuzz;

fn run(seeds: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(seeds);
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("seeds") {
        let path = entry.expect("a file").path();
        println!("{}", path.display());
        check(&fs::read(path).expect("its bytes"));
        count += 1;
    }
    assert!(count > 5, "only {count} inputs");
}

#[test]
fn server_sent_events_are_the_same_however_they_are_cut() {
    run("sse", fuzz::sse);
}

#[test]
fn no_body_and_no_event_is_more_than_refused() {
    run("bodies", fuzz::bodies);
}
