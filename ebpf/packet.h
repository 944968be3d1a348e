/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * From a packet to a UDP flow: IPv4 and IPv6, plain or in VLANs, with or without an Ethernet header (the offsets count
 * from the network header). Bytes are read by `bpf_skb_load_bytes_relative`, which needs no CAP_PERFMON, works for
 * paged packets, and fails instead of reading past the end: whatever is cut short or odd is passed by.
 *
 * One read takes the address and port of nearly every packet, so that a packet of another port costs one call.
 */
#pragma once
#include "monitor.h"

#define VLANS_MAX 2
#define EXTENSIONS_MAX 4
#define UDP_HEADER 8

/* Set by the loader; constants to the verifier. */
static volatile const u8 PORTS[PORT_BITMAP_BYTES] = {};

struct flow {
	u8 source[16];
	u8 destination[16];
	u16 source_port;
	u16 destination_port;
	u32 payload_at;
	u32 payload_bytes;
};

struct udp_header {
	u16 source;
	u16 destination;
	u16 length;
	u16 checksum;
};

struct ipv4_and_udp {
	u8 version_and_words;
	u8 service;
	u16 total_length;
	u16 id;
	u16 fragment;
	u8 hops;
	u8 protocol;
	u16 checksum;
	u32 source;
	u32 destination;
	struct udp_header udp;
};

struct ipv6_header {
	u32 version_and_flow;
	u16 payload_length;
	u8 next;
	u8 hops;
	u8 source[16];
	u8 destination[16];
};

enum direction { FROM_DEVICE, TO_DEVICE };

INLINE int is_watched(u16 port)
{
	return PORTS[port >> 3] >> (port & 7) & 1;
}

INLINE int load(struct __sk_buff *skb, u32 at, void *to, u32 bytes)
{
	return bpf_skb_load_bytes_relative(skb, at, to, bytes, HEADER_OF_NETWORK) == 0;
}

INLINE void map_ipv4(u8 *to, u32 address)
{
	u32 *words = (u32 *)to;

	words[0] = 0;
	words[1] = 0;
	words[2] = htons(0xffff) << 16;
	words[3] = address;
}

INLINE void copy16(void *to, const void *from)
{
	u32 *t = to;
	const u32 *f = from;

	t[0] = f[0];
	t[1] = f[1];
	t[2] = f[2];
	t[3] = f[3];
}

INLINE int same16(const void *a, const void *b)
{
	const u32 *x = a, *y = b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

/* Ports and length of the UDP header at `at`, of which `left` bytes are in this packet by its IP header. */
INLINE int take_udp(struct flow *flow, const struct udp_header *udp, u32 at, u32 left, enum direction direction)
{
	u32 length = ntohs(udp->length);

	flow->source_port = ntohs(udp->source);
	flow->destination_port = ntohs(udp->destination);
	if (!is_watched(direction == FROM_DEVICE ? flow->destination_port : flow->source_port))
		return 0;
	/* Shorter than its header: broken. Longer than the IP packet: truncated. 0 is a jumbogram (RFC 2675). */
	if (length < UDP_HEADER || length > left)
		return 0;
	flow->payload_at = at + UDP_HEADER;
	flow->payload_bytes = length - UDP_HEADER;
	return 1;
}

INLINE int read_ipv4(struct __sk_buff *skb, u32 at, struct flow *flow, enum direction direction)
{
	struct ipv4_and_udp header;
	u32 header_bytes, total;

	if (!load(skb, at, &header, sizeof(header)))
		return 0;
	/* More fragments to come, or not the first: only the first has ports, and none of them a whole datagram. */
	if (header.protocol != IPPROTO_UDP || header.fragment & htons(0x3fff))
		return 0;
	header_bytes = (header.version_and_words & 15) * 4;
	total = ntohs(header.total_length);
	if (header.version_and_words >> 4 != 4 || header_bytes < 20 || total < header_bytes + UDP_HEADER)
		return 0;
	if (header_bytes != 20 && !load(skb, at + header_bytes, &header.udp, sizeof(header.udp)))
		return 0;
	if (!take_udp(flow, &header.udp, at + header_bytes, total - header_bytes, direction))
		return 0;
	map_ipv4(flow->source, header.source);
	map_ipv4(flow->destination, header.destination);
	return 1;
}

INLINE int read_ipv6(struct __sk_buff *skb, u32 at, struct flow *flow, enum direction direction)
{
	struct ipv6_header header;
	struct udp_header udp;
	u32 left, next;

	if (!load(skb, at, &header, sizeof(header)) || (header.version_and_flow & 0xf0) != 0x60)
		return 0;
	at += sizeof(header);
	left = ntohs(header.payload_length);
	next = header.next;
	/* Options that an end host may send; a fragment header is no such option: passed by. */
	for (int i = 0; i < EXTENSIONS_MAX && next != IPPROTO_UDP; i++) {
		u8 extension[2];
		u32 bytes;

		if ((next != IPPROTO_HOPOPTS && next != IPPROTO_DSTOPTS) || !load(skb, at, extension, sizeof(extension)))
			return 0;
		next = extension[0];
		bytes = (extension[1] + 1) * 8;
		if (bytes > left)
			return 0;
		at += bytes;
		left -= bytes;
	}
	if (next != IPPROTO_UDP || !load(skb, at, &udp, sizeof(udp)) || !take_udp(flow, &udp, at, left, direction))
		return 0;
	copy16(flow->source, header.source);
	copy16(flow->destination, header.destination);
	return 1;
}

/* The watched UDP flow that a packet belongs to; 0 if it belongs to none. */
INLINE int read_flow(struct __sk_buff *skb, struct flow *flow, enum direction direction)
{
	u32 at = 0, protocol = skb->protocol;

	/* The outermost tag is usually beside the packet; inner ones, and those of devices without offload, are in it. */
	for (int i = 0; i < VLANS_MAX && (protocol == htons(ETH_P_8021Q) || protocol == htons(ETH_P_8021AD)); i++) {
		u16 tag[2];

		if (!load(skb, at, tag, sizeof(tag)))
			return 0;
		protocol = tag[1];
		at += sizeof(tag);
	}
	if (protocol == htons(ETH_P_IP))
		return read_ipv4(skb, at, flow, direction);
	if (protocol == htons(ETH_P_IPV6))
		return read_ipv6(skb, at, flow, direction);
	return 0;
}
