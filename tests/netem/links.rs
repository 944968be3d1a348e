//! What holds on every kernel: which links are touched, and what is refused.

use std::process::Command;
use std::time::Duration;

use flyball::lab::{Chance, Direction, Impair, Lab, LabError, Loss, Nat, Netem, UPLINK};
use libtest_mimic::{Failed, Trial};

use super::support::lab::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_link_that_no_lab_made_is_left_alone", foreign),
        trial("what_netem_cannot_do_is_refused_before_the_kernel_is_asked", mistaken),
        trial("every_link_of_a_lab_carries_its_label_and_starts_as_a_cable", cables),
    ]
}

fn delay() -> Netem {
    Netem { delay: Duration::from_millis(50), ..Netem::default() }
}

/// Somebody put another interface in the place of the lab's.
fn foreign() -> Result<(), Failed> {
    let lab = Lab::start()?;
    let lines = format!("link set {UPLINK} name theirs\nlink add {UPLINK} type veth peer name other\n");
    let command = format!("printf '{}' | ip -batch -", lines.replace('\n', "\\n"));
    let made = lab.server().output(Command::new("sh").args(["-c", &command]))?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned().into());
    }
    for refused in [lab.impair(Direction::Down, &delay()).map(drop), lab.unimpair(Direction::Down)] {
        match refused {
            Err(LabError::Foreign { link, namespace }) if link == UPLINK && namespace == "server" => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    if lab.impaired(Direction::Down)?.is_some() { Err("it was touched all the same".into()) } else { Ok(()) }
}

fn mistaken() -> Result<(), Failed> {
    let lab = Lab::start()?;
    let netem = Netem { loss: Loss::Random(Chance::of(1.5)), ..Netem::default() };
    match lab.impair(Direction::Up, &netem) {
        Err(LabError::Netem { mistake }) if mistake.contains("1.5") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn cables() -> Result<(), Failed> {
    let lab = Lab::start()?;
    let carrier = lab.carrier(&Nat::random_ports(Duration::from_secs(60)))?;
    let device = lab.device(&carrier)?;
    for direction in Direction::ALL {
        for impaired in [lab.impaired(direction)?, carrier.impaired(direction)?, device.impaired(direction)?] {
            if impaired.is_some() {
                return Err(format!("{impaired:?}").into());
            }
        }
        // Labelled: what would be refused on a link of others is done here, though there is nothing to do.
        lab.unimpair(direction)?;
        carrier.unimpair(direction)?;
        device.unimpair(direction)?;
    }
    Ok(())
}
