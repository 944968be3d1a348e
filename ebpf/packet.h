/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * From a packet to a UDP flow: IPv4 and IPv6, plain or in VLANs, with or without an Ethernet header (the offsets count
 * from the network header). Bytes are read by `bpf_skb_load_bytes_relative`, which needs no CAP_PERFMON, works for
 * paged packets, and fails instead of reading past the end: whatever is cut short or odd is passed by.
 *
 * Such a call is what costs: 16 ns where a CPU's returns are guarded (AMD's "Safe RET"), whether it reads 8 bytes or 80.
 * So one call takes both headers and the beginning of the payload.
 */
#pragma once
#include "monitor.h"

#define VLANS_MAX 2
#define EXTENSIONS_MAX 4
#define UDP_HEADER 8
#define ETHERNET_HEADER 14
#define HEAD_BYTES 32

/* Set by the loader; constants to the verifier. */
static volatile const u8 PORTS[PORT_BITMAP_BYTES] = {};

enum direction { FROM_DEVICE, TO_DEVICE };

struct udp_header {
	u16 source;
	u16 destination;
	u16 length;
	u16 checksum;
};

struct ipv4_header {
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
};

struct ipv6_header {
	u32 version_and_flow;
	u16 payload_length;
	u8 next;
	u8 hops;
	u8 source[16];
	u8 destination[16];
};

/* What one call reads. */
struct ipv4_packet {
	struct ipv4_header ip;
	struct udp_header udp;
	u8 head[HEAD_BYTES];
};

struct ipv6_packet {
	struct ipv6_header ip;
	struct udp_header udp;
	u8 head[HEAD_BYTES];
};

union packet {
	struct ipv4_packet ipv4;
	struct ipv6_packet ipv6;
};

/* Seen from the watched port: whoever is at the other end is the peer. */
struct flow {
	u8 peer[16];
	u16 peer_port;
	u16 local_port;
	u32 payload_at;
	u32 payload_bytes;
	u32 head_at; /* in `packet`: the payload's first HEAD_BYTES; 0: not there */
	union packet packet;
};

INLINE int is_watched(u16 port)
{
	return PORTS[port >> 3] >> (port & 7) & 1;
}

INLINE int load(struct __sk_buff *skb, u32 at, void *to, u32 bytes)
{
	return bpf_skb_load_bytes_relative(skb, at, to, bytes, HEADER_OF_NETWORK) == 0;
}

/* The whole of `to` where the packet is long enough for it, else only `headers` bytes: 0 where not even those are there. */
INLINE u32 load_head(struct __sk_buff *skb, u32 link, u32 at, void *to, u32 headers)
{
	u32 whole = headers + HEAD_BYTES;

	if (skb->len >= link + at + whole && load(skb, at, to, whole))
		return whole;
	return load(skb, at, to, headers) ? headers : 0;
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

	flow->peer_port = ntohs(direction == FROM_DEVICE ? udp->source : udp->destination);
	flow->local_port = ntohs(direction == FROM_DEVICE ? udp->destination : udp->source);
	if (!is_watched(flow->local_port))
		return 0;
	/* Shorter than its header: broken. Longer than the IP packet: truncated. 0 is a jumbogram (RFC 2675). */
	if (length < UDP_HEADER || length > left)
		return 0;
	flow->payload_at = at + UDP_HEADER;
	flow->payload_bytes = length - UDP_HEADER;
	return 1;
}

INLINE int read_ipv4(struct __sk_buff *skb, u32 link, u32 at, struct flow *flow, enum direction direction)
{
	struct ipv4_packet *packet = &flow->packet.ipv4;
	u32 loaded = load_head(skb, link, at, packet, sizeof(*packet) - HEAD_BYTES);
	u32 header_bytes, total;

	/* More fragments to come, or not the first: only the first has ports, and none of them a whole datagram. */
	if (!loaded || packet->ip.protocol != IPPROTO_UDP || packet->ip.fragment & htons(0x3fff))
		return 0;
	header_bytes = (packet->ip.version_and_words & 15) * 4;
	total = ntohs(packet->ip.total_length);
	if (packet->ip.version_and_words >> 4 != 4 || header_bytes < sizeof(packet->ip) || total < header_bytes + UDP_HEADER)
		return 0;
	/* Cut short on its way: the stack drops it. */
	if (link + at + total > skb->len)
		return 0;
	if (header_bytes != sizeof(packet->ip)) {
		loaded = 0;
		if (!load(skb, at + header_bytes, &packet->udp, sizeof(packet->udp)))
			return 0;
	}
	if (!take_udp(flow, &packet->udp, at + header_bytes, total - header_bytes, direction))
		return 0;
	map_ipv4(flow->peer, direction == FROM_DEVICE ? packet->ip.source : packet->ip.destination);
	flow->head_at = loaded == sizeof(*packet) ? sizeof(*packet) - HEAD_BYTES : 0;
	return 1;
}

/* Options that an end host may send; a fragment header is no such option: passed by. Returns 0 if UDP does not follow. */
INLINE int skip_extensions(struct __sk_buff *skb, u32 *at, u32 *left, u32 next)
{
#pragma clang loop unroll(full)
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		u8 extension[2];
		u32 bytes;

		if (next == IPPROTO_UDP)
			return 1;
		/* Hop-by-hop options are the first, or the stack drops the packet (RFC 8200, 4.1). */
		if (next != IPPROTO_DSTOPTS && (next != IPPROTO_HOPOPTS || i))
			return 0;
		if (!load(skb, *at, extension, sizeof(extension)))
			return 0;
		next = extension[0];
		bytes = (extension[1] + 1) * 8;
		if (bytes > *left)
			return 0;
		*at += bytes;
		*left -= bytes;
	}
	return next == IPPROTO_UDP;
}

INLINE int read_ipv6(struct __sk_buff *skb, u32 link, u32 at, struct flow *flow, enum direction direction)
{
	struct ipv6_packet *packet = &flow->packet.ipv6;
	u32 loaded = load_head(skb, link, at, packet, sizeof(*packet) - HEAD_BYTES);
	u32 left;

	if (!loaded || (packet->ip.version_and_flow & 0xf0) != 0x60)
		return 0;
	at += sizeof(packet->ip);
	left = ntohs(packet->ip.payload_length);
	if (link + at + left > skb->len)
		return 0;
	if (packet->ip.next != IPPROTO_UDP) {
		loaded = 0;
		if (!skip_extensions(skb, &at, &left, packet->ip.next) || !load(skb, at, &packet->udp, sizeof(packet->udp)))
			return 0;
	}
	if (!take_udp(flow, &packet->udp, at, left, direction))
		return 0;
	copy16(flow->peer, direction == FROM_DEVICE ? packet->ip.source : packet->ip.destination);
	flow->head_at = loaded == sizeof(*packet) ? sizeof(*packet) - HEAD_BYTES : 0;
	return 1;
}

/* The watched UDP flow that a packet belongs to; 0 if it belongs to none. `link`: bytes before the network header. */
INLINE int read_flow(struct __sk_buff *skb, u32 link, struct flow *flow, enum direction direction)
{
	u32 at = 0, protocol = skb->protocol;

	/* The outermost tag is usually beside the packet; inner ones, and those of devices without offload, are in it. */
#pragma clang loop unroll(full)
	for (int i = 0; i < VLANS_MAX; i++) {
		u16 tag[2];

		if (protocol != htons(ETH_P_8021Q) && protocol != htons(ETH_P_8021AD))
			break;
		if (!load(skb, at, tag, sizeof(tag)))
			return 0;
		protocol = tag[1];
		at += sizeof(tag);
	}
	if (protocol == htons(ETH_P_IP))
		return read_ipv4(skb, link, at, flow, direction);
	if (protocol == htons(ETH_P_IPV6))
		return read_ipv6(skb, link, at, flow, direction);
	return 0;
}

/*
 * Most packets of an Ethernet interface are not ours, and most of those say so in four bytes: if they make sense as
 * "destination port, UDP length" of a header without options, which this packet is exactly as long as, then it is a UDP
 * packet of that port. Else the protocol, whose place does not depend on options, tells TCP and its like. What is neither
 * gets the long look.
 */
INLINE int is_other_ipv4(struct __sk_buff *skb, enum direction direction)
{
	u32 udp_at = ETHERNET_HEADER + sizeof(struct ipv4_header), word;

	if (skb->protocol != htons(ETH_P_IP) || skb->len < udp_at + UDP_HEADER)
		return 0;
	word = load_word(skb, udp_at + 2);
	if (udp_at + (word & 0xffff) == skb->len)
		return !is_watched(direction == FROM_DEVICE ? word >> 16 : load_half(skb, udp_at));
	return load_byte(skb, ETHERNET_HEADER + 9) != IPPROTO_UDP;
}

/* `bytes` of the payload from `offset` on, which must be in it. */
INLINE int load_payload(struct __sk_buff *skb, const struct flow *flow, u32 offset, void *to, u32 bytes)
{
	return offset + bytes <= flow->payload_bytes && load(skb, flow->payload_at + offset, to, bytes);
}
