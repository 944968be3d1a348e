/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Counters, histograms and records: everything that leaves the kernel. */
#pragma once
#include "maps.h"

INLINE struct cohort_counts *counts_of(u32 cohort)
{
	struct cohort_counts *counts = bpf_map_lookup_elem(&cohorts, &cohort);
	u32 none = 0;

	return counts ? counts : bpf_map_lookup_elem(&cohorts, &none);
}

INLINE struct troubles *troubles_here(void)
{
	u32 only = 0;

	return bpf_map_lookup_elem(&troubles, &only);
}

INLINE u32 log2_of(u64 value)
{
	u32 log = 0;

#pragma unroll
	for (int shift = 32; shift; shift >>= 1) {
		if (value >> shift) {
			value >>= shift;
			log += shift;
		}
	}
	return log;
}

/*
 * Without CAP_PERFMON the verifier wants one kind of index on every way to an access: the two constant ones are
 * accesses of their own.
 */
INLINE void count_in(u64 *buckets, u64 time)
{
	u32 octave, part, bucket;

	if (time >> GAP_OCTAVE_FIRST == 0) {
		buckets[0]++;
		return;
	}
	if (time >> (GAP_OCTAVE_FIRST + GAP_OCTAVES)) {
		buckets[GAP_BUCKETS - 1]++;
		return;
	}
	octave = log2_of(time);
	/* The 20 bits under the leading one, in tenths of the octave. */
	part = time >> (octave - 20) & 0xfffff;
	bucket = 1 + (octave - GAP_OCTAVE_FIRST) * GAP_SUBDIVISIONS + (part * GAP_SUBDIVISIONS >> 20);
	if (bucket < GAP_BUCKETS)
		buckets[bucket]++;
}

INLINE void submit(const struct record *record)
{
	struct record *slot = bpf_ringbuf_reserve(&records, sizeof(*slot), 0);
	struct troubles *trouble;

	if (slot) {
		*slot = *record;
		bpf_ringbuf_submit(slot, 0);
		return;
	}
	trouble = troubles_here();
	if (trouble)
		trouble->lost_records++;
}
