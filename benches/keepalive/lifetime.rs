//! One device, one test at a time: within 1 % or half a second, 99.9 % sure, the error rate not told.

use flyball::keepalive::lifetime::trial::draw::Boxes;
use flyball::keepalive::lifetime::trial::link::Link;
use flyball::keepalive::lifetime::trial::search::{Guess, Tally, Trial};

use super::sheet::{Figure, Sheet, for_each};

/// Enough to tell 0.1 % from 0.13 %.
const RUNS: u64 = 20_000;
const WRONG_PERCENT: f64 = 0.1;

/// Tests on average, and in 95 of 100 searches.
type Asked = (f64, f64);

/// Where the prior is right, or none.
const BOXES: [(&str, Boxes, Guess); 6] = [
    ("vendors' values, no prior", Boxes::Vendors, Guess::Flat),
    ("vendors' values", Boxes::Vendors, Guess::Vendors),
    ("10 s to 2 h", Boxes::Anywhere, Guess::Vendors),
    ("a fleet in the field", Boxes::Fleet, Guess::Vendors),
    ("cellular", Boxes::Cellular, Guess::Vendors),
    ("timer wheels to 5 %", Boxes::Wheels, Guess::Vendors),
];

/// Where it is of another box.
const WRONG: [(&str, Boxes, Guess); 3] = [
    ("10 s to 2 h, wrong prior", Boxes::Anywhere, Guess::Neighbour(Boxes::Anywhere)),
    ("a fleet in the field, wrong prior", Boxes::Fleet, Guess::Neighbour(Boxes::Fleet)),
    ("timer wheels to 5 %, wrong prior", Boxes::Wheels, Guess::Neighbour(Boxes::Vendors)),
];

/// The ways to the device: the loss in each direction, what is asked with a prior and with a wrong one, and whether all
/// rows are run, or those of the widest spread.
const LINKS: [(&str, Link, Asked, Asked, bool); 4] = [
    ("5 %", Link::independent(0.05), (12.0, 15.0), (15.0, 18.0), true),
    ("20 %", Link::independent(0.2), (14.0, 19.0), (16.0, 22.0), true),
    ("in bursts", Link::bursts(), (12.0, 15.0), (15.0, 18.0), false),
    ("20 % back only", Link::way_back(0.2), (14.0, 19.0), (16.0, 22.0), false),
];

pub(crate) fn table(sheet: &mut Sheet) {
    sheet.title("lifetime of one box: tests until the answer; wrong answers in percent");
    for (loss, link, asked, asked_wrong, is_all) in LINKS {
        let rows = BOXES.map(|row| (row, asked)).into_iter().chain(WRONG.map(|row| (row, asked_wrong)));
        for ((name, boxes, guess), asked) in rows {
            let row = format!("lifetime, loss {loss}: {name}");
            let is_widest = matches!(boxes, Boxes::Anywhere | Boxes::Wheels);
            if sheet.is_wanted(&row) && (is_all || is_widest) {
                tell(sheet, &row, Trial { boxes, link, guess }, asked);
            }
        }
    }
}

fn tell(sheet: &mut Sheet, row: &str, trial: Trial, (mean, p95): Asked) {
    let seeds = sheet.seeds(RUNS);
    let wrong = sheet.rate(WRONG_PERCENT, seeds.end);
    let tally = Tally::of(for_each(seeds, |seed| trial.run(seed)));
    sheet.row(
        row,
        &[
            Figure { name: "mean", asked: mean, seen: tally.mean() },
            Figure { name: "p95", asked: p95, seen: f64::from(tally.quantile(0.95)) },
            Figure { name: "wrong", asked: wrong, seen: 100.0 * tally.wrong_ratio() },
            Figure { name: "outside 99.9 %", asked: wrong, seen: 100.0 * tally.uncovered_ratio() },
        ],
    );
}
