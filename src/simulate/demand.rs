//! Requests/s over time: the shapes of a scenario, with what the seed decides about them drawn once, at the start.

use rand::RngExt;
use rand_distr::{Distribution, Exp, Pareto};
use rand_pcg::Pcg64Mcg;

use super::scenario::Shape;

/// A crowd that decayed to 2^-40 of its peak is over.
const HALF_LIVES_MAX: f64 = 40.0;

/// A sum of shapes, read forward in time.
#[derive(Debug, Clone)]
pub(super) struct Course {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Constant(f64),
    Ramp { from: f64, to: f64, at: f64, over: f64 },
    Diurnal { mean: f64, amplitude: f64, period: f64, phase: f64 },
    Crowds { starts: Vec<f64>, peak: f64, rise: f64, hold: f64, half_life: f64 },
    Pieces { pieces: Vec<Piece>, next: usize, running: Vec<Piece> },
    Rows { rows: Vec<(f64, f64)>, next: usize },
}

/// A level that holds for a while.
#[derive(Debug, Clone, Copy)]
struct Piece {
    from: f64,
    to: f64,
    rate: f64,
}

impl Course {
    /// Draws what the seed decides, for a run of `duration` seconds.
    pub(super) fn draw(shapes: &[Shape], duration: f64, random: &mut Pcg64Mcg) -> Self {
        Self { parts: shapes.iter().map(|shape| Part::draw(shape, duration, random)).collect() }
    }

    /// The value at `t` seconds; asked for rising times only.
    pub(super) fn at(&mut self, t: f64) -> f64 {
        self.parts.iter_mut().map(|part| part.at(t)).sum::<f64>().max(0.0)
    }
}

impl Part {
    fn draw(shape: &Shape, duration: f64, random: &mut Pcg64Mcg) -> Self {
        match *shape {
            Shape::Constant(rate) => Self::Constant(rate),
            Shape::Step { from, to, at, within } => {
                let at = at.as_secs_f64() + random.random::<f64>() * within.as_secs_f64();
                Self::Ramp { from, to, at, over: 0.0 }
            }
            Shape::Ramp { from, to, at, over } => {
                Self::Ramp { from, to, at: at.as_secs_f64(), over: over.as_secs_f64() }
            }
            Shape::Diurnal { mean, amplitude, period, phase } => {
                Self::Diurnal { mean, amplitude, period: period.as_secs_f64(), phase }
            }
            Shape::FlashCrowds { count, not_before, peak, rise, hold, half_life } => {
                let from = not_before.as_secs_f64();
                let starts = (0..count).map(|_| from + random.random::<f64>() * (duration - from).max(0.0)).collect();
                let [rise, hold, half_life] = [rise, hold, half_life].map(|d| d.as_secs_f64());
                Self::Crowds { starts, peak, rise, hold, half_life }
            }
            Shape::OnOff { rate, on, off } => {
                Self::pieces(on_off(rate, on.as_secs_f64(), off.as_secs_f64(), duration, random))
            }
            Shape::Bursts { .. } => Self::pieces(bursts(shape, duration, random)),
            Shape::Recorded { ref rows } => Self::Rows { rows: rows.clone(), next: 0 },
        }
    }

    fn pieces(pieces: Vec<Piece>) -> Self {
        Self::Pieces { pieces, next: 0, running: Vec::new() }
    }

    fn at(&mut self, t: f64) -> f64 {
        match self {
            Self::Constant(rate) => *rate,
            Self::Ramp { from, to, at, over } => *from + (*to - *from) * progress(t - *at, *over),
            Self::Diurnal { mean, amplitude, period, phase } => {
                *mean + *amplitude * (std::f64::consts::TAU * (t / *period + *phase)).sin()
            }
            Self::Crowds { starts, peak, rise, hold, half_life } => {
                let one = |start: &f64| crowd(t - start, *rise, *hold, *half_life);
                *peak * starts.iter().map(one).sum::<f64>()
            }
            Self::Pieces { pieces, next, running } => {
                running.retain(|piece| piece.to > t);
                while let Some(piece) = pieces.get(*next).filter(|piece| piece.from <= t) {
                    running.extend((piece.to > t).then_some(*piece));
                    *next += 1;
                }
                running.iter().map(|piece| piece.rate).sum()
            }
            Self::Rows { rows, next } => {
                while rows.get(*next + 1).is_some_and(|(at, _)| *at <= t) {
                    *next += 1;
                }
                rows.get(*next).map_or(0.0, |(_, rate)| *rate)
            }
        }
    }
}

/// 0 before, 1 after, a straight line between.
fn progress(since: f64, over: f64) -> f64 {
    if since < 0.0 { 0.0 } else { (since / over).min(1.0).max(f64::from(u8::from(since >= over))) }
}

fn crowd(since: f64, rise: f64, hold: f64, half_life: f64) -> f64 {
    match since {
        s if s < 0.0 => 0.0,
        s if s < rise => s / rise,
        s if s < rise + hold => 1.0,
        s => {
            let half_lives = (s - rise - hold) / half_life;
            if half_lives > HALF_LIVES_MAX { 0.0 } else { (-half_lives).exp2() }
        }
    }
}

fn on_off(rate: f64, on: f64, off: f64, duration: f64, random: &mut Pcg64Mcg) -> Vec<Piece> {
    let (mut pieces, mut t) = (Vec::new(), 0.0);
    while t < duration {
        let to = t + exponential(on, random);
        pieces.push(Piece { from: t, to, rate });
        t = to + exponential(off, random);
    }
    pieces
}

fn bursts(shape: &Shape, duration: f64, random: &mut Pcg64Mcg) -> Vec<Piece> {
    let Shape::Bursts { every, height, height_max, length, length_max, alpha } = *shape else { return Vec::new() };
    let (mut pieces, mut from) = (Vec::new(), exponential(every.as_secs_f64(), random));
    while from < duration {
        let rate = pareto(height, alpha, random).min(height_max);
        let lasts = pareto(length.as_secs_f64(), alpha, random).min(length_max.as_secs_f64());
        pieces.push(Piece { from, to: from + lasts, rate });
        from += exponential(every.as_secs_f64(), random);
    }
    pieces
}

fn exponential(mean: f64, random: &mut Pcg64Mcg) -> f64 {
    Exp::new(1.0 / mean.max(1e-3)).map_or(mean, |e| e.sample(random))
}

fn pareto(scale: f64, alpha: f64, random: &mut Pcg64Mcg) -> f64 {
    Pareto::new(scale, alpha).map_or(scale, |p| p.sample(random))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::SeedableRng;

    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn course(shape: Shape) -> Course {
        Course::draw(&[shape], 1_000.0, &mut Pcg64Mcg::seed_from_u64(1))
    }

    #[test]
    fn steps_ramps_and_recordings_have_their_values_at_their_times() {
        let mut step = course(Shape::Step { from: 1.0, to: 9.0, at: seconds(10), within: Duration::ZERO });
        assert_eq!([9.9, 10.0, 11.0].map(|t| step.at(t)), [1.0, 9.0, 9.0]);
        let mut ramp = course(Shape::Ramp { from: 0.0, to: 10.0, at: seconds(10), over: seconds(10) });
        assert_eq!([0.0, 15.0, 30.0].map(|t| ramp.at(t)), [0.0, 5.0, 10.0]);
        let mut rows = course(Shape::Recorded { rows: vec![(0.0, 5.0), (60.0, 7.0)] });
        assert_eq!([0.0, 59.9, 60.0, 900.0].map(|t| rows.at(t)), [5.0, 5.0, 7.0, 7.0]);
    }

    #[test]
    fn a_crowd_rises_holds_and_decays_by_half() {
        assert_eq!([-1.0, 5.0, 15.0, 130.0].map(|s| crowd(s, 10.0, 20.0, 100.0)), [0.0, 0.5, 1.0, 0.5]);
    }

    #[test]
    fn bursts_and_on_off_stay_within_their_bounds_and_happen() {
        let burst = Shape::Bursts {
            every: seconds(20),
            height: 10.0,
            height_max: 50.0,
            length: seconds(2),
            length_max: seconds(5),
            alpha: 1.2,
        };
        let mut course = Course::draw(&[burst], 1_000.0, &mut Pcg64Mcg::seed_from_u64(3));
        let busy = (0..10_000).filter(|i| course.at(f64::from(*i) * 0.1) >= 10.0).count();
        assert!((500..4_000).contains(&busy), "{busy}");
        let mut on_off = Course::draw(
            &[Shape::OnOff { rate: 7.0, on: seconds(10), off: seconds(30) }],
            10_000.0,
            &mut Pcg64Mcg::seed_from_u64(3),
        );
        let on = (0..100_000).filter(|i| on_off.at(f64::from(*i) * 0.1) > 0.0).count();
        assert!((15_000..35_000).contains(&on), "{on}");
    }
}
