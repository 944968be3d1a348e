/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * How long is each device silent, and does its NAT binding survive it? One question, asked of every packet of the
 * watched ports, in a time that does not depend on how many devices there are.
 *
 * Nothing here delays, changes or drops a packet: every way through a classifier ends in "whoever is next".
 */
#include "tcp.h"

INLINE int watch_from(struct __sk_buff *skb, u32 link)
{
	struct flow flow = {};
	struct sighting sighting = {};

	if (read_flow(skb, link, &flow, FROM_DEVICE) && read_key(skb, &flow, &sighting))
		from_device(skb, &flow, &sighting);
	return TCX_NEXT;
}

INLINE int watch_to(struct __sk_buff *skb, u32 link)
{
	struct flow flow = {};

	if (read_flow(skb, link, &flow, TO_DEVICE))
		to_device(&flow);
	return TCX_NEXT;
}

/* Ingress and egress of interfaces with Ethernet headers. */
SEC("classifier")
int flyball_from(struct __sk_buff *skb)
{
	return is_other_ipv4(skb, FROM_DEVICE) ? TCX_NEXT : watch_from(skb, ETHERNET_HEADER);
}

SEC("classifier")
int flyball_to(struct __sk_buff *skb)
{
	return is_other_ipv4(skb, TO_DEVICE) ? TCX_NEXT : watch_to(skb, ETHERNET_HEADER);
}

/* Of all others: tunnels, point-to-point links. */
SEC("classifier")
int flyball_from_l3(struct __sk_buff *skb)
{
	return watch_from(skb, 0);
}

SEC("classifier")
int flyball_to_l3(struct __sk_buff *skb)
{
	return watch_to(skb, 0);
}

/* What those above are measured against. */
SEC("classifier")
int flyball_empty(struct __sk_buff *skb)
{
	return TCX_NEXT;
}

SEC("sockops")
int flyball_sockops(struct bpf_sock_ops *context)
{
	struct tuple_key tuple = {};

	if (!is_watched(context->local_port) || !sock_ops_tuple(context, &tuple))
		return 1;
	switch (context->op) {
	case SOCK_OPS_PASSIVE_ESTABLISHED:
		bpf_sock_ops_cb_flags_set(context, context->bpf_sock_ops_cb_flags | SOCK_OPS_FLAG_RTO | SOCK_OPS_FLAG_STATE);
		connection_began(&tuple);
		break;
	case SOCK_OPS_RTO:
		/* A last FIN that nobody answers is how a connection ends, not how it is found dead. */
		if (context->state == TCP_ESTABLISHED)
			connection_timed_out(&tuple, context->args[0]);
		break;
	case SOCK_OPS_STATE:
		if (context->args[1] == TCP_CLOSE)
			connection_ended(&tuple);
		break;
	}
	return 1;
}

SEC("tp_btf/inet_sock_set_state")
int flyball_state(u64 *arguments)
{
	const struct sock *sock = (const struct sock *)arguments[0];
	struct tuple_key tuple = {};

	if ((s32)arguments[2] == TCP_CLOSE && is_watched(sock->__sk_common.skc_num) && core_tuple(sock, &tuple))
		connection_ended(&tuple);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int flyball_retransmit(u64 *arguments)
{
	struct sock *sock = (struct sock *)arguments[0];
	struct tcp_sock *tcp;
	struct tuple_key tuple = {};

	if (sock->__sk_common.skc_state != TCP_ESTABLISHED || !is_watched(sock->__sk_common.skc_num))
		return 0;
	tcp = bpf_skc_to_tcp_sock(sock);
	/* A timeout counts itself before it sends; a loss probe and a fast retransmission are none. */
	if (tcp && tcp->inet_conn.icsk_retransmits && core_tuple(sock, &tuple))
		connection_timed_out(&tuple, tcp->inet_conn.icsk_retransmits - 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
