/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * TCP: how long connections to the watched ports live, and when one is established but unreachable. A NAT that forgot a TCP
 * binding drops what the server sends; the server's kernel retransmits with growing timeouts for a quarter of an hour,
 * and all the while the socket says ESTABLISHED. Three timeouts on end that nothing answered are told, once.
 *
 * sock_ops sees the connections that began while it was attached; the tracepoints, which need CAP_PERFMON, see all.
 * Both write to the same map, and whoever comes first tells. The coarse clock is refused in tracepoints.
 */
#pragma once
#include "device.h"

/* With Linux's initial timeout of 200 ms over the round trip: after about 1.4 s. */
#define UNANSWERED_TIMEOUTS 3

INLINE u32 cohort_of_peer(const struct tuple_key *tuple)
{
	struct prefix_key prefix = {.bits = 128};
	u32 *cohort;

	copy16(prefix.address, tuple->address);
	cohort = bpf_map_lookup_elem(&prefixes, &prefix);
	return cohort ? *cohort : 0;
}

NOINLINE int connection_began(const struct tuple_key *tuple)
{
	struct connection connection = {.established_at = bpf_ktime_get_ns(), .cohort = cohort_of_peer(tuple)};

	if (bpf_map_update_elem(&connections, tuple, &connection, BPF_ANY))
		not_stored();
	return 0;
}

NOINLINE int connection_ended(const struct tuple_key *tuple)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, tuple);
	struct cohort_counts *counts;
	u64 life;

	if (!connection)
		return 0;
	counts = counts_of(connection->cohort);
	/* The life of one that was there before us is not known. */
	if (counts && connection->established_at) {
		life = since(bpf_ktime_get_ns(), connection->established_at);
		counts->connections++;
		counts->life_sum += life;
		count_in(counts->lives, life);
	}
	bpf_map_delete_elem(&connections, tuple);
	return 0;
}

INLINE void tell_unreachable(const struct tuple_key *tuple, const struct connection *connection, u64 now)
{
	struct record record = {
		.at = now,
		.gap = since(now, connection->stalled_at),
		.silence = since(now, connection->stalled_at),
		.from_port = tuple->port,
		.to_port = tuple->port,
		.cohort = connection->cohort,
		.kind = RECORD_TCP_UNREACHABLE,
	};
	struct cohort_counts *counts = counts_of(connection->cohort);

	if (counts)
		counts->unreachable++;
	copy16(record.from, tuple->address);
	copy16(record.to, tuple->address);
	submit(&record);
}

/* `before` timeouts came before this one since the peer's last acknowledgement. */
NOINLINE int connection_timed_out(const struct tuple_key *tuple, u32 before)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, tuple);
	u64 now = bpf_ktime_get_ns();

	if (!connection) {
		struct connection older = {.stalled_at = now, .cohort = cohort_of_peer(tuple)};

		if (bpf_map_update_elem(&connections, tuple, &older, BPF_ANY))
			not_stored();
		return 0;
	}
	if (before == 0 || connection->stalled_at == 0) {
		connection->stalled_at = now;
		connection->is_reported = 0;
	}
	if (before + 1 >= UNANSWERED_TIMEOUTS && !connection->is_reported) {
		connection->is_reported = 1;
		tell_unreachable(tuple, connection, now);
	}
	return 0;
}

INLINE int sock_ops_tuple(const struct bpf_sock_ops *context, struct tuple_key *tuple)
{
	u32 *words = (u32 *)tuple->address;

	tuple->local = context->local_port;
	tuple->port = ntohl(context->remote_port);
	if (context->family == AF_INET) {
		map_ipv4(tuple->address, context->remote_ip4);
		return 1;
	}
	if (context->family != AF_INET6)
		return 0;
	words[0] = context->remote_ip6[0];
	words[1] = context->remote_ip6[1];
	words[2] = context->remote_ip6[2];
	words[3] = context->remote_ip6[3];
	return 1;
}

INLINE int core_tuple(const struct sock *sock, struct tuple_key *tuple)
{
	tuple->local = sock->__sk_common.skc_num;
	tuple->port = ntohs(sock->__sk_common.skc_dport);
	if (sock->__sk_common.skc_family == AF_INET)
		map_ipv4(tuple->address, sock->__sk_common.skc_daddr);
	else if (sock->__sk_common.skc_family == AF_INET6)
		copy16(tuple->address, &sock->__sk_common.skc_v6_daddr);
	else
		return 0;
	return 1;
}
