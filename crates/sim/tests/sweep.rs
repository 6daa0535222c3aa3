//! Every call of one operation fails once, in each of three ways; a clean run afterwards converges.

use holdfast_sim::sweep::{Operation, sweep};

fn check(operation: Operation) {
    let swept = sweep(operation);
    println!(
        "{operation:?}: {} calls, {} runs, of which {} said that they failed",
        swept.calls, swept.runs, swept.loud
    );
    let wrong = swept.wrong.join("\n");
    assert!(swept.wrong.is_empty(), "{wrong}");
    assert!(swept.calls > 0, "it makes no call");
}

#[test]
fn a_backup() {
    check(Operation::BackUp);
}

#[test]
fn a_member_that_catches_up() {
    check(Operation::Replicate);
}

#[test]
fn an_expiry() {
    check(Operation::Expire);
}

#[test]
fn a_collection() {
    check(Operation::Collect);
}

#[test]
fn a_failover() {
    check(Operation::FailOver);
}

#[test]
fn a_failback() {
    check(Operation::FailBack);
}

#[test]
fn a_repair() {
    check(Operation::Repair);
}
