/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What a packet does to its device. The known device at its known address is the hot path: one look-up of the device
 * and one of its cohort's counters. Everything else is rare, and a function of its own.
 *
 * Two CPUs may handle packets of one device at once (its rebinding moves it to another receive queue), and one
 * rebinding is one record: the value is read and written under its own lock, and what is to be told is decided there.
 */
#pragma once
#include "count.h"
#include "key.h"

/* Set by the loader. */
static volatile const u64 GAP_THRESHOLD = 30ull * 1000000000;
/* When a NAT counts a binding as a stream (Linux: 2 s after its first packet, and answered). */
static volatile const u64 STREAM_AFTER = 2ull * 1000000000;

/*
 * A holder has some hundred instructions to do, with interrupts' bottom halves off: whoever waits longer gives up.
 * Unrolled: without CAP_PERFMON the verifier also walks what a CPU may speculate, and that leaves no loop.
 */
#define LOCK_TRIES 64

/* The kernel's own bpf_spin_lock is refused in LRU maps. Whoever takes this one gives it back on every way. */
INLINE int lock(struct device *device)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < LOCK_TRIES; i++)
		if (__sync_val_compare_and_swap(&device->lock, 0, 1) == 0)
			return 1;
	return 0;
}

INLINE void unlock(struct device *device)
{
	__sync_lock_test_and_set(&device->lock, 0);
}

NOINLINE int not_locked(void)
{
	struct troubles *trouble = troubles_here();

	if (trouble)
		trouble->contended++;
	return 0;
}

/* Nanoseconds from one timer interrupt to the next; set by the loader. */
static volatile const u64 TICK = 4000000;

/*
 * For differences: the timer interrupts that were due so far. They follow CLOCK_MONOTONIC, 1 to 10 ms at a time, from
 * a beginning of their own; a heartbeat's gap is seconds. The verifier makes one load of it where a clock is a call, of
 * 15 ns for the coarse one and twice that for the exact one.
 */
INLINE u64 uptime(void)
{
	return bpf_jiffies64() * TICK;
}

/* For records: CLOCK_MONOTONIC at the last timer interrupt. */
INLINE u64 now_ns(void)
{
	return bpf_ktime_get_coarse_ns();
}

/* Units of 2^20 ns: a shift where milliseconds would take a division. */
INLINE u32 ticks(u64 nanoseconds)
{
	return nanoseconds >> 20;
}

INLINE u32 cohort_of(const struct device_key *key, const u8 *address)
{
	struct prefix_key prefix = {.bits = 128};
	u32 *cohort = bpf_map_lookup_elem(&assignments, key);

	if (!cohort) {
		copy16(prefix.address, address);
		cohort = bpf_map_lookup_elem(&prefixes, &prefix);
	}
	return cohort ? *cohort : 0;
}

INLINE struct control *control_now(void)
{
	u32 only = 0;

	return bpf_map_lookup_elem(&control, &only);
}

/* What was last seen before this has an unknown gap. Whoever is first after user space marked it says when that was. */
INLINE u64 watching_since(struct control *current, u64 now)
{
	if (current->watching_since == WATCHING_FROM_HERE)
		current->watching_since = now;
	return current->watching_since;
}

INLINE struct tuple_key tuple_of(const u8 *address, u16 port, u16 local)
{
	struct tuple_key tuple = {.port = port, .local = local};

	copy16(tuple.address, address);
	return tuple;
}

NOINLINE int not_stored(void)
{
	struct troubles *trouble = troubles_here();

	if (trouble)
		trouble->not_stored++;
	return 0;
}

INLINE void remember_tuple(const struct flow *flow, const struct device_key *key)
{
	struct tuple_key tuple = tuple_of(flow->peer, flow->peer_port, flow->local_port);

	if (bpf_map_update_elem(&tuples, &tuple, key, BPF_ANY))
		not_stored();
}

/* A packet to an address that the device left is not one that it can get; but the NAT may have given it to another. */
INLINE void forget_tuple(const struct tuple_key *tuple, const struct device_key *key)
{
	struct device_key *owner = bpf_map_lookup_elem(&tuples, tuple);

	if (owner && same16(owner->id, key->id))
		bpf_map_delete_elem(&tuples, tuple);
}

INLINE void start_record(struct record *record, u64 now, const struct flow *flow, const struct device_key *key)
{
	record->at = now;
	copy16(record->device, key->id);
	copy16(record->to, flow->peer);
	record->to_port = flow->peer_port;
}

NOINLINE int first_seen(struct __sk_buff *skb, const struct flow *flow, const struct sighting *sighting)
{
	u64 now = uptime();
	struct control *current = control_now();
	struct device device = {
		.port = flow->peer_port,
		.from_at = now,
		.sequence = sighting->sequence,
		.bound_at = ticks(now),
		.boot = sighting->boot,
	};
	struct record record = {.kind = RECORD_NEW, .interface = skb->ifindex};
	struct cohort_counts *counts;

	if (sighting->move == MOVE_NEVER)
		return 0;
	if (!current)
		return 0;
	watching_since(current, now);
	copy16(device.address, flow->peer);
	device.cohort = cohort_of(&sighting->key, flow->peer);
	device.epoch = current->epoch;
	/* Another CPU may be first: then this packet came as good as at the same time, and adds nothing. */
	if (bpf_map_update_elem(&devices, &sighting->key, &device, BPF_NOEXIST))
		return not_stored();
	remember_tuple(flow, &sighting->key);
	counts = counts_of(device.cohort);
	if (counts) {
		counts->from++;
		counts->new_devices++;
	}
	start_record(&record, now_ns(), flow, &sighting->key);
	copy16(record.from, record.to);
	record.from_port = record.to_port;
	record.cohort = device.cohort;
	submit(&record);
	return 0;
}

/* What one packet turned out to be; decided under the lock, told after it. */
struct finding {
	u64 gap;
	u64 silence;
	u32 missed;
	u16 cohort;
	u8 kind; /* of the record to write; 0: none */
	u8 flags;
	u8 is_stale;
	u8 is_moved;
	u8 is_rebooted;
	u8 old_epoch;
	u16 from_port;
	u8 from[16] __attribute__((aligned(8)));
};

INLINE u64 since(u64 now, u64 then)
{
	/* Packets of one device on two CPUs: the other may have taken its time later, and the lock earlier. */
	return now > then ? now - then : 0;
}

INLINE void note_passing(struct device *device, u64 now)
{
	if (device->rebindings & BINDING_REPLIED && ticks(now) - device->bound_at > ticks(STREAM_AFTER))
		device->rebindings |= BINDING_STREAM;
}

/* A sequence that was seen already, or one before it. */
INLINE int is_old(const struct device *device, const struct sighting *sighting)
{
	return sighting->boot == device->boot && (s32)(sighting->sequence - device->sequence) <= 0;
}

INLINE void note_sequence(struct device *device, const struct sighting *sighting, struct finding *finding)
{
	if (sighting->boot != device->boot) {
		finding->is_rebooted = 1;
		finding->flags |= RECORD_REBOOTED;
	} else if (!finding->is_stale) {
		finding->missed = sighting->sequence - device->sequence - 1;
	}
	if (!finding->is_stale) {
		device->sequence = sighting->sequence;
		device->boot = sighting->boot;
	}
}

INLINE void note_move(struct device *device, const struct flow *flow, u64 now, struct finding *finding)
{
	u32 count = device->rebindings >> REBINDINGS_SHIFT;

	finding->is_moved = 1;
	finding->from_port = device->port;
	copy16(finding->from, device->address);
	device->port = flow->peer_port;
	copy16(device->address, flow->peer);
	device->bound_at = ticks(now);
	device->rebindings = (count < REBINDINGS_MAX ? count + 1 : count) << REBINDINGS_SHIFT;
}

INLINE void settle_move(struct device *device, const struct flow *flow, const struct sighting *sighting, u64 now,
			struct finding *finding)
{
	u8 is_other_id = sighting->move == MOVE_BY_FINGERPRINT && sighting->sequence != device->sequence;

	finding->kind = is_other_id ? RECORD_MIGRATION : RECORD_REBINDING;
	note_move(device, flow, now, finding);
}

INLINE void settle_stay(struct device *device, struct finding *finding)
{
	if (!(finding->flags & RECORD_BLIND)) {
		if (ticks(finding->silence) > device->longest_survived)
			device->longest_survived = ticks(finding->silence);
		if (finding->gap >= GAP_THRESHOLD)
			finding->kind = RECORD_GAP;
	}
}

/* Under the lock. Returns 0 for a packet that must change nothing. */
INLINE int settle(struct device *device, const struct flow *flow, const struct sighting *sighting, u64 now,
		  u64 watched_since, struct finding *finding)
{
	int is_same = device->port == flow->peer_port && same16(device->address, flow->peer);
	u64 last = device->from_at > device->to_at ? device->from_at : device->to_at;

	finding->is_stale = sighting->move == MOVE_BY_SEQUENCE && is_old(device, sighting);
	if ((finding->is_stale || sighting->move == MOVE_NEVER) && !is_same)
		return 0;
	finding->gap = since(now, device->from_at);
	finding->silence = since(now, last);
	finding->flags = device->rebindings & BINDING_FLAGS;
	if (device->from_at < watched_since)
		finding->flags |= RECORD_BLIND;
	if (is_same)
		settle_stay(device, finding);
	else
		settle_move(device, flow, sighting, now, finding);
	if (sighting->move == MOVE_BY_SEQUENCE)
		note_sequence(device, sighting, finding);
	else if (sighting->move == MOVE_BY_FINGERPRINT)
		device->sequence = sighting->sequence;
	if (!finding->kind && finding->missed)
		finding->kind = RECORD_JUMP;
	if (device->from_at < now)
		device->from_at = now;
	if (is_same)
		note_passing(device, now);
	finding->cohort = device->cohort;
	finding->old_epoch = device->epoch;
	return 1;
}

INLINE void count_from(const struct finding *finding)
{
	struct cohort_counts *counts = counts_of(finding->cohort);

	if (!counts)
		return;
	counts->from++;
	if (finding->is_stale)
		counts->stale++;
	if (finding->missed)
		counts->missed += finding->missed;
	if (finding->is_moved) {
		/* Both are added to: a choice of the place is an index that the verifier does not allow (see count_in). */
		counts->migrations += finding->kind == RECORD_MIGRATION;
		counts->rebindings += finding->kind != RECORD_MIGRATION;
	}
	if (!(finding->flags & RECORD_BLIND)) {
		counts->gap_sum += finding->gap;
		count_in(counts->gaps, finding->gap);
	}
}

/* The cohort follows the address, and the prefixes as they are now. */
NOINLINE int look_up_cohort(struct device *device, const struct flow *flow, const struct sighting *sighting, u8 epoch)
{
	u32 cohort = cohort_of(&sighting->key, flow->peer);

	/* Each field is written whole, and by whoever resolved it last. */
	device->cohort = cohort;
	device->epoch = epoch;
	return cohort;
}

NOINLINE int tell(struct __sk_buff *skb, const struct flow *flow, const struct sighting *sighting,
		  const struct finding *finding)
{
	struct record record = {
		.gap = finding->gap,
		.silence = finding->silence,
		.from_port = finding->from_port,
		.cohort = finding->cohort,
		.kind = finding->kind,
		.flags = finding->flags,
		.missed = finding->missed,
		.interface = skb->ifindex,
	};

	start_record(&record, now_ns(), flow, &sighting->key);
	if (finding->is_moved) {
		struct tuple_key old = tuple_of(finding->from, finding->from_port, flow->local_port);

		copy16(record.from, finding->from);
		forget_tuple(&old, &sighting->key);
		remember_tuple(flow, &sighting->key);
	} else {
		copy16(record.from, record.to);
		record.from_port = record.to_port;
	}
	submit(&record);
	return 0;
}

/*
 * A value lies in two cache lines more often than in one. The lock is in the first, and nothing behind it is read before it
 * is had: so ask for the second now, and let both come at once.
 */
INLINE void touch_end(const struct device *device)
{
	*(volatile const u8 *)&device->epoch;
}

INLINE void from_device(struct __sk_buff *skb, const struct flow *flow, const struct sighting *sighting)
{
	struct device *device = bpf_map_lookup_elem(&devices, &sighting->key);
	struct control *current = control_now();
	struct finding finding = {};
	u64 now, watched_since;
	int is_taken;

	if (!device) {
		first_seen(skb, flow, sighting);
		return;
	}
	if (!current)
		return;
	touch_end(device);
	now = uptime();
	watched_since = watching_since(current, now);
	if (!lock(device)) {
		not_locked();
		return;
	}
	is_taken = settle(device, flow, sighting, now, watched_since, &finding);
	unlock(device);
	if (!is_taken)
		return;
	if (finding.is_moved || finding.old_epoch != (u8)current->epoch)
		finding.cohort = look_up_cohort(device, flow, sighting, current->epoch);
	count_from(&finding);
	if (finding.kind)
		tell(skb, flow, sighting, &finding);
}

INLINE void to_device(const struct flow *flow)
{
	struct tuple_key tuple = tuple_of(flow->peer, flow->peer_port, flow->local_port);
	struct device_key *found = bpf_map_lookup_elem(&tuples, &tuple);
	struct device *device = found ? bpf_map_lookup_elem(&devices, found) : 0;
	struct cohort_counts *counts;
	struct troubles *trouble;
	u64 now;

	if (!device) {
		trouble = troubles_here();
		if (trouble)
			trouble->unknown_egress++;
		return;
	}
	now = uptime();
	if (!lock(device)) {
		not_locked();
		return;
	}
	device->to_at = now;
	device->rebindings |= BINDING_REPLIED;
	note_passing(device, now);
	unlock(device);
	counts = counts_of(device->cohort);
	if (counts)
		counts->to++;
}
