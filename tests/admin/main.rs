//! The admin socket and `flyball explain`, over real sockets, with the tools that operators use.

#[path = "../support/alert.rs"]
mod alert;
mod alerting;
mod answers;
mod bed;
mod cases;
#[path = "../support/cohort.rs"]
mod cohort;
mod explaining;
mod exposition;
mod writes;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, cases::all()).exit();
}
