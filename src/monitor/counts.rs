//! The per-CPU counters, summed and told where they changed.

use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use bytemuck::Zeroable as _;

use super::frame::Frame;
use super::mirror::{CohortCounts, Troubles};
use super::reader::{Frames, ReadError, Stop, room};

/// The counters, and what was told of them last.
pub(super) struct Counts {
    cohorts: PerCpuArray<MapData, CohortCounts>,
    troubles: PerCpuArray<MapData, Troubles>,
    told: Vec<CohortCounts>,
    told_troubles: Option<Troubles>,
}

impl Counts {
    pub(super) fn new(cohorts: Map, troubles: Map) -> Result<Self, MapError> {
        let (cohorts, troubles) = (PerCpuArray::try_from(cohorts)?, PerCpuArray::try_from(troubles)?);
        Ok(Self { cohorts, troubles, told: Vec::new(), told_troubles: None })
    }

    /// Hands on the sums of each of the first `cohorts` that changed. Returns how long the reading alone took.
    pub(super) async fn tell(&mut self, cohorts: usize, frames: &Frames) -> Result<Duration, Stop> {
        let mut reading = Duration::ZERO;
        if self.told.len() < cohorts {
            self.told.resize(cohorts, CohortCounts::zeroed());
        }
        for cohort in 0..cohorts {
            let started = Instant::now();
            let counts = self.cohort(cohort).map_err(failed)?;
            reading += started.elapsed();
            if bytemuck::bytes_of(&*counts) == bytemuck::bytes_of(&self.told[cohort]) {
                continue;
            }
            let place = room(frames).await?;
            self.told[cohort] = *counts;
            let cohort = u16::try_from(cohort).expect("there are at most 1,024");
            place.send(Frame::Counts { cohort, counts });
        }
        self.tell_troubles(frames).await?;
        Ok(reading)
    }

    async fn tell_troubles(&mut self, frames: &Frames) -> Result<(), Stop> {
        let per_cpu = self.troubles.get(&0, 0).map_err(failed)?;
        let sums = per_cpu.iter().fold(Troubles::zeroed(), |sum, one| add(sum, *one));
        if self.told_troubles != Some(sums) {
            room(frames).await?.send(Frame::Troubles(sums));
            self.told_troubles = Some(sums);
        }
        Ok(())
    }

    /// Devices inserted since the start, as of now.
    pub(super) fn inserted(&self, cohorts: usize) -> Result<u64, Stop> {
        (0..cohorts).map(|cohort| Ok(self.cohort(cohort).map_err(failed)?.new_devices)).sum()
    }

    fn cohort(&self, cohort: usize) -> Result<Box<CohortCounts>, MapError> {
        let per_cpu = self.cohorts.get(&u32::try_from(cohort).expect("there are at most 1,024"), 0)?;
        let mut sum = Box::new(CohortCounts::zeroed());
        for one in per_cpu.iter() {
            sum_up(&mut sum, one);
        }
        Ok(sum)
    }
}

fn failed(error: MapError) -> Stop {
    Stop::Failed(ReadError::Counts(error))
}

/// Every field is a sum of 64 bits, so the struct is a list of them.
fn sum_up(sum: &mut CohortCounts, one: &CohortCounts) {
    let (sums, ones): (&mut [u64], &[u64]) =
        (bytemuck::cast_slice_mut(bytemuck::bytes_of_mut(sum)), bytemuck::cast_slice(bytemuck::bytes_of(one)));
    for (sum, one) in sums.iter_mut().zip(ones) {
        *sum += one;
    }
}

fn add(a: Troubles, b: Troubles) -> Troubles {
    Troubles {
        lost_records: a.lost_records + b.lost_records,
        not_stored: a.not_stored + b.not_stored,
        unknown_egress: a.unknown_egress + b.unknown_egress,
        contended: a.contended + b.contended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_summed() {
        let mut one = CohortCounts::zeroed();
        (one.from, one.gaps[131], one.life_sum, one.lives[131]) = (1, 2, 3, 4);
        let mut sum = one;
        sum_up(&mut sum, &one);
        assert_eq!((sum.from, sum.gaps[131], sum.life_sum, sum.lives[131], sum.to), (2, 4, 6, 8, 0));
        let trouble = Troubles { lost_records: 1, not_stored: 2, unknown_egress: 3, contended: 4 };
        assert_eq!(add(trouble, trouble), Troubles { lost_records: 2, not_stored: 4, unknown_egress: 6, contended: 8 });
    }
}
