//! What one signal read, however it was read, and how three of them become [`Traffic`].

use std::time::Duration;

use super::error::QueryError;
use super::groups::Groups;
use super::timeline::Timeline;
use super::tracker::{Measured, Row};
use crate::sampling::traffic::{Demand, Rate, Traffic};

/// Rows of demand in one policy: with 200,000 the core's tables take about 100 MB.
const DEMAND_ROWS_MAX: usize = 200_000;

/// One signal at one poll. Times are the source's.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// At most one row a group.
    pub(super) rows: Vec<Row>,
    /// `None` while no rate is known.
    pub(super) over_ms: Option<(i64, i64)>,
    /// Age of the newest sample, where it can be told.
    pub(super) age: Option<Duration>,
    /// Learnt time between two samples.
    pub(super) interval: Option<Duration>,
    /// The answer covers only a part.
    pub(super) is_partial: bool,
}

/// The three signals of a policy.
#[derive(Debug)]
pub(super) struct Readings {
    pub(super) demand: Reading,
    pub(super) received: Reading,
    pub(super) dropped: Reading,
}

impl Reading {
    /// What a tracker measured.
    pub(super) fn measured(measured: Measured, interval: Option<Duration>, timeline: &Timeline) -> Self {
        let age = measured.newest_ms.map(|ms| timeline.age(ms));
        Self { rows: measured.rows, over_ms: measured.over_ms, age, interval, is_partial: false }
    }

    fn total(&self, timeline: &Timeline) -> Option<Rate> {
        let over = timeline.interval(self.over_ms?);
        Rate::new(self.rows.iter().map(|row| row.per_second).sum(), over)
    }
}

impl Readings {
    /// Everything on our clock and in the core's words; `groups` are those of the demand.
    pub(super) fn traffic(self, groups: &Groups, timeline: &Timeline) -> Result<Traffic, QueryError> {
        let Self { demand, received, dropped } = self;
        if demand.rows.len() > DEMAND_ROWS_MAX {
            let advice = "sum demand by fewer labels: operations should be routes, not addresses";
            return Err(QueryError::too_large(DEMAND_ROWS_MAX, "rows of demand", advice));
        }
        let demand_over = demand.over_ms.map(|over| timeline.interval(over));
        Ok(Traffic {
            demand_over: demand_over.filter(|_| !demand.rows.is_empty()),
            received: received.total(timeline),
            dropped: dropped.total(timeline),
            age: demand.age,
            scrape_interval: demand.interval,
            is_partial: demand.is_partial || received.is_partial || dropped.is_partial,
            demand: demand.rows.iter().map(|row| named(row, groups)).collect(),
        })
    }
}

fn named(row: &Row, groups: &Groups) -> Demand {
    let group = groups.get(row.group);
    Demand {
        service: group.service.clone(),
        operation: group.operation.clone(),
        per_second: row.per_second,
        is_warming: row.is_warming,
        is_stale: row.is_stale,
    }
}
