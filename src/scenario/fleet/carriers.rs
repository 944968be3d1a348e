//! The keys `fleet.drawn` and `fleet.carriers`.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::document::values::DurationText;
use crate::scenario::keys::{Keys, TIME_MAX, seconds};
use crate::scenario::raw::fleet::{RawBox, RawCarrier, RawDrawn, RawFleetPlan, RawRow};
use crate::simulate::fleet::facts;
use crate::simulate::fleet::scenario::{BoxPlan, CarrierPlan, Carriers, DrawnCarriers, MixtureRow, Nat};

const DEVICES_MAX: u32 = 100_000;
const DRAWN_MAX: u32 = 4_000;
const CARRIERS_MAX: usize = 1_000;
const BOXES_MAX: usize = 100;
const ROWS_MAX: usize = 1_000;
const NAME_MAX: usize = 64;
/// Devices of a drawn carrier where their number is not told.
const COHORT: u32 = 60;
const TIMEOUT: RangeInclusive<Duration> = seconds(1)..=seconds(86_400);
const PART: RangeInclusive<f64> = 0.0..=1.0;
const WEIGHT: RangeInclusive<f64> = 1e-6..=1e6;

pub(super) fn carriers(plan: &RawFleetPlan, keys: &mut Keys<'_, '_>) -> Carriers {
    let raw = plan.carriers.as_deref().unwrap_or_default();
    if raw.len() > CARRIERS_MAX {
        keys.fail("carriers", format_args!("at most {CARRIERS_MAX}"));
        return Carriers::default();
    }
    let drawn = plan.drawn.as_ref().map(|raw| drawn(raw, &mut keys.under("drawn")));
    let named: Vec<CarrierPlan> =
        raw.iter().enumerate().map(|(i, raw)| named(raw, &mut keys.under(&format!("carriers[{i}]")))).collect();
    refuse_twins(&named, keys);
    let devices: u64 = named.iter().map(|carrier| u64::from(carrier.devices)).sum();
    if devices + drawn.as_ref().map_or(0, |drawn| u64::from(drawn.devices)) > u64::from(DEVICES_MAX) {
        keys.fail("", format_args!("more than {DEVICES_MAX} devices in all"));
    } else if is_empty(plan, keys) {
        keys.fail(
            "",
            "needs devices, such as {drawn: {devices: 600}} or {carriers: [{name: a, devices: 100, timeout: 2m}]}",
        );
    }
    Carriers { named, drawn }
}

/// Nobody is there. What is written and does not fit has its own error.
fn is_empty(plan: &RawFleetPlan, keys: &Keys<'_, '_>) -> bool {
    let is_missing = |key, is_none| is_none && !keys.is_written(key);
    is_missing("drawn", plan.drawn.is_none())
        && plan.carriers.as_ref().map_or_else(|| is_missing("carriers", true), Vec::is_empty)
}

fn drawn(raw: &RawDrawn, keys: &mut Keys<'_, '_>) -> DrawnCarriers {
    keys.require("devices", "needs how many devices there are");
    let devices = keys.count("devices", raw.devices, 1, 1..=DEVICES_MAX);
    let count = (devices / COHORT).clamp(1, DRAWN_MAX);
    let (two_boxes, three_boxes) =
        (keys.number("two_boxes", raw.two_boxes, 0.2, PART), keys.number("three_boxes", raw.three_boxes, 0.1, PART));
    if two_boxes + three_boxes > 1.0 {
        keys.fail("three_boxes", "together with `two_boxes` above 1");
    }
    DrawnCarriers {
        devices,
        count: keys.count("carriers", raw.carriers, count, 1..=DRAWN_MAX.min(devices)),
        mixture: raw.mixture.as_deref().map_or_else(facts, |rows| mixture(rows, keys)),
        two_boxes,
        three_boxes,
        wheels: keys.number("wheels", raw.wheels, 0.15, PART),
        wheel_part: keys.number("wheel_part", raw.wheel_part, 0.1, PART),
    }
}

fn mixture(rows: &[RawRow], keys: &mut Keys<'_, '_>) -> Vec<MixtureRow> {
    if rows.is_empty() || rows.len() > ROWS_MAX {
        keys.fail("mixture", format_args!("needs 1 to {ROWS_MAX} rows, such as [{{weight: 1, timeout: 2m}}]"));
        return facts();
    }
    rows.iter().enumerate().map(|(i, raw)| row(raw, &mut keys.under(&format!("mixture[{i}]")))).collect()
}

fn row(raw: &RawRow, keys: &mut Keys<'_, '_>) -> MixtureRow {
    let timeout = keys.required_time("timeout", raw.timeout, TIMEOUT);
    let half_width = keys.time("half_width", raw.half_width, Duration::ZERO, Duration::ZERO..=seconds(86_400));
    if half_width >= timeout && raw.timeout.is_some() {
        keys.fail("half_width", "not less than `timeout`: a box would keep nothing");
    }
    MixtureRow {
        weight: keys.number("weight", raw.weight, 1.0, WEIGHT),
        timeout,
        half_width: half_width.min(timeout / 2 + half_width / 2),
        unreplied: keys.time("unreplied", raw.unreplied, seconds(30), TIMEOUT),
        unreplied_share: keys.number("unreplied_share", raw.unreplied_share, 0.0, PART),
        ports_kept: keys.number("ports_kept", raw.ports_kept, 0.6, PART),
    }
}

fn named(raw: &RawCarrier, keys: &mut Keys<'_, '_>) -> CarrierPlan {
    keys.require("name", "needs the carrier's name");
    keys.require("devices", "needs how many devices it has");
    for (key, text) in [("name", &raw.name), ("region", &raw.region)] {
        if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > NAME_MAX) {
            keys.fail(key, format_args!("allowed are 1 to {NAME_MAX} bytes"));
        }
    }
    CarrierPlan {
        name: raw.name.as_deref().unwrap_or_default().into(),
        region: raw.region.as_deref().unwrap_or("north").into(),
        devices: keys.count("devices", raw.devices, 1, 1..=DEVICES_MAX),
        joins_at: keys.time("joins_at", raw.joins_at, Duration::ZERO, Duration::ZERO..=TIME_MAX),
        boxes: boxes(raw, keys),
    }
}

fn boxes(raw: &RawCarrier, keys: &mut Keys<'_, '_>) -> Vec<BoxPlan> {
    let only = RawBox {
        share: None,
        timeout: raw.timeout,
        unreplied: raw.unreplied,
        granularity: raw.granularity,
        ports_kept: raw.ports_kept,
    };
    let Some(boxes) = &raw.boxes else { return vec![box_of(&only, keys)] };
    for key in ["timeout", "unreplied", "granularity", "ports_kept"] {
        if !keys.is_written(key) {
            continue;
        }
        keys.fail(key, "beside `boxes`: each box has its own");
    }
    if boxes.is_empty() || boxes.len() > BOXES_MAX {
        keys.fail("boxes", format_args!("needs 1 to {BOXES_MAX} boxes, such as [{{share: 0.6, timeout: 2m}}]"));
        return vec![BoxPlan { share: 1.0, nat: Nat::exact(*TIMEOUT.start()) }];
    }
    boxes.iter().enumerate().map(|(i, raw)| box_of(raw, &mut keys.under(&format!("boxes[{i}]")))).collect()
}

fn box_of(raw: &RawBox, keys: &mut Keys<'_, '_>) -> BoxPlan {
    let stream = keys.required_time("timeout", raw.timeout, TIMEOUT);
    let unreplied = keys.time("unreplied", raw.unreplied, stream, TIMEOUT);
    if unreplied > stream && raw.timeout.is_some() {
        keys.fail("unreplied", "above `timeout`");
    }
    let granularity: Option<DurationText> = raw.granularity;
    BoxPlan {
        share: keys.number("share", raw.share, 1.0, WEIGHT),
        nat: Nat {
            stream,
            unreplied,
            granularity: keys.time("granularity", granularity, Duration::ZERO, Duration::ZERO..=seconds(86_400)),
            is_port_kept: raw.ports_kept.unwrap_or(true),
            is_inbound_refreshing: true,
            ports_max: None,
        },
    }
}

fn refuse_twins(named: &[CarrierPlan], keys: &mut Keys<'_, '_>) {
    let mut seen = HashSet::new();
    for carrier in named.iter().filter(|carrier| !carrier.name.is_empty()) {
        if !seen.insert((&carrier.name, &carrier.region)) {
            keys.fail("carriers", format_args!("two carriers have the name {:?} in one region", carrier.name));
            return;
        }
    }
}
