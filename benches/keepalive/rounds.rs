//! Eight devices behind one box of 120 s, up to four side flows each.

use flyball::keepalive::lifetime::trial::draw::{Boxes, NatBox};
use flyball::keepalive::lifetime::trial::link::Link;
use flyball::keepalive::lifetime::trial::search::{Guess, Trial};

use super::sheet::{Figure, Sheet, for_each};

const RUNS: u64 = 1_000;
const DEVICES: usize = 8;
const FLOWS: u8 = 4;
const ROUNDS: f64 = 3.0;
const MINUTES: f64 = 8.0;
const BOX: Boxes = Boxes::One(NatBox::exact(120.0));

const GUESSES: [(&str, Guess); 3] =
    [("no prior", Guess::Flat), ("vendors' prior", Guess::Vendors), ("wrong prior", Guess::Neighbour(Boxes::Anywhere))];

pub(crate) fn table(sheet: &mut Sheet) {
    sheet.title("rounds of 8 devices x 4 flows, T = 120 s: orders told within 15 s, 95 of 100 searches");
    for (loss, link) in [("1 %", Link::independent(0.01)), ("5 %", Link::independent(0.05)), ("bursts", Link::bursts())]
    {
        for (name, guess) in GUESSES {
            let row = format!("rounds, loss {loss}: {name}");
            if sheet.is_wanted(&row) {
                tell(sheet, &row, Trial { boxes: BOX, link, guess });
            }
        }
    }
}

fn tell(sheet: &mut Sheet, row: &str, trial: Trial) {
    let found = for_each(sheet.seeds(RUNS), |seed| trial.run_in_rounds(DEVICES, FLOWS, seed));
    let runs = found.len() as f64;
    let wrong = found.iter().filter(|found| !found.found.is_right).count();
    let rounds = found.iter().map(|found| f64::from(found.rounds)).collect();
    let minutes = found.iter().map(|found| found.time.as_secs_f64() / 60.0).collect();
    sheet.row(
        row,
        &[
            Figure { name: "rounds", asked: ROUNDS, seen: p95(rounds) },
            Figure { name: "minutes", asked: MINUTES, seen: p95(minutes) },
            Figure { name: "wrong", asked: sheet.rate(0.2, found.len() as u64), seen: 100.0 * wrong as f64 / runs },
        ],
    );
}

fn p95(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() * 95 / 100]
}
