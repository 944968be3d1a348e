//! The admin socket and `flyball explain`, over real sockets, with the tools that operators use.

#[path = "admin/bed.rs"]
mod bed;
#[path = "admin/cases.rs"]
mod cases;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    libtest_mimic::run(&arguments, cases::all()).exit();
}
