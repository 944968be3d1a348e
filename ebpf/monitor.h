/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What crosses between the kernel and user space. `src/monitor/mirror.rs` has each of these in Rust; sizes and offsets
 * are asserted on both sides, so that neither changes alone.
 *
 * Times of records are CLOCK_MONOTONIC in nanoseconds, those of devices are of `uptime`. Addresses are 16 bytes: IPv6, or IPv4 mapped into it (RFC 4291, 2.5.5.2).
 * Ports are in host order.
 */
#pragma once
#include "kernel.h"

#define ID_BYTES 16
#define PORT_BITMAP_BYTES 8192

struct device_key {
	u8 id[ID_BYTES];
};

/* What a device's binding showed so far; all within one cache line. */
enum binding_flags {
	BINDING_REPLIED = 1, /* a packet went out to the device */
	BINDING_STREAM = 2,  /* and one passed, either way, more than `stream_after` after the binding's first */
	BINDING_FLAGS = 3,
	REBINDINGS_SHIFT = 2,
	REBINDINGS_MAX = 0x3fff,
};

struct device {
	u32 lock;
	u16 port;
	u16 cohort;
	u64 from_at; /* last packet from the device */
	u64 to_at;   /* last packet to it; 0: never */
	u8 address[16];
	u32 sequence;         /* heartbeats: the last; QUIC with a prefix: fingerprint of the whole connection id */
	u32 longest_survived; /* longest silence, in units of 2^20 ns, after which the binding was still the same */
	u32 bound_at;         /* when this binding was first seen, in units of 2^20 ns, modulo 2^32 */
	u16 rebindings;       /* binding_flags below, a saturating count above */
	u8 boot;              /* heartbeats: low byte of the boot counter */
	u8 epoch;             /* of the prefixes that `cohort` comes from */
};

/* An egress packet shows no key; its destination does. `local` tells the listening ports of one server apart. */
struct tuple_key {
	u8 address[16];
	u16 port;
	u16 local;
};

struct prefix_key {
	u32 bits; /* of `address`: 96 more than an IPv4 prefix has */
	u8 address[16];
};

struct connection {
	u64 established_at; /* 0: before we watched */
	u64 stalled_at;     /* first of the timeouts that nothing answered yet; 0: none */
	u32 is_reported;
	u32 cohort;
};

/* In `control.watching_since`, from user space: the next packet says when. */
#define WATCHING_FROM_HERE (~0ull - 1)

/* User space writes it. */
struct control {
	u64 watching_since; /* what was last seen before this has an unknown gap: nobody watched. ~0: nobody does */
	u32 epoch;          /* of the prefixes; a device of another epoch asks for its cohort anew */
	u32 reserved;
};

/*
 * Gap histogram: ten linear buckets an octave from 2^30 ns (1.07 s) to 2^43 ns (2.4 h), so that neighbours differ by
 * at most a tenth; one bucket below, one above.
 */
#define GAP_OCTAVE_FIRST 30
#define GAP_OCTAVES 13
#define GAP_SUBDIVISIONS 10
#define GAP_BUCKETS (GAP_OCTAVES * GAP_SUBDIVISIONS + 2)

/* One per-CPU value is everything that is counted for one cohort: one look-up a packet. */
struct cohort_counts {
	u64 from;
	u64 to;
	u64 new_devices;
	u64 rebindings;
	u64 migrations;
	u64 missed;      /* sequence numbers that never came */
	u64 stale;       /* sequence numbers that came again, or late */
	u64 gap_sum;     /* ns */
	u64 gaps[GAP_BUCKETS];
	u64 connections; /* TCP: ended */
	u64 unreachable; /* TCP: established, and nothing got through */
	u64 life_sum;    /* TCP: ns */
	u64 lives[GAP_BUCKETS];
};

/* Troubles of the monitor itself; per CPU. */
struct troubles {
	u64 lost_records;   /* the ring was full */
	u64 not_stored;     /* a device or its address did not fit a map */
	u64 unknown_egress; /* to an address that no device was seen at */
	u64 contended;      /* a device's lock was not had in time: its packet was not measured */
};

enum record_kind {
	RECORD_NEW = 1,
	RECORD_REBINDING = 2,
	RECORD_MIGRATION = 3,
	RECORD_GAP = 4,
	RECORD_JUMP = 5,
	RECORD_TCP_UNREACHABLE = 6,
};

enum record_flags {
	RECORD_BINDING = 3,   /* binding_flags, before the silence */
	RECORD_BLIND = 4,     /* gap and silence are unknown: nobody watched in between */
	RECORD_REBOOTED = 8,  /* the boot counter changed */
};

struct record {
	u64 at;
	u64 gap;     /* since the packet before from the device; TCP: since the first timeout that nothing answered */
	u64 silence; /* since the last packet either way */
	u8 device[ID_BYTES];
	u8 from[16]; /* the binding before */
	u8 to[16];   /* the binding now */
	u16 from_port;
	u16 to_port;
	u16 cohort;
	u8 kind;
	u8 flags;
	u32 missed; /* sequence numbers that never came */
	u32 interface;
};

#define SIZE_IS(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)
SIZE_IS(struct device_key, 16);
SIZE_IS(struct device, 56);
SIZE_IS(struct tuple_key, 20);
SIZE_IS(struct prefix_key, 20);
SIZE_IS(struct connection, 24);
SIZE_IS(struct control, 16);
SIZE_IS(struct cohort_counts, (11 + 2 * GAP_BUCKETS) * 8);
SIZE_IS(struct troubles, 32);
SIZE_IS(struct record, 88);
