/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * From a payload to the device that sent it. None of these is authenticated: the kernel has no keys. Whoever can send
 * to the port can make a device up, or move one; what follows from a gap must be borne out by the server above.
 */
#pragma once
#include "packet.h"

enum key_kind { KEY_HEARTBEAT = 1, KEY_OFFSET = 2, KEY_QUIC = 3, KEY_DTLS12 = 4, KEY_DTLS13 = 5 };

/* Set by the loader. For connection ids, `KEY_LENGTH` is their length on the wire, `KEY_PREFIX` how much names the device. */
static volatile const u32 KEY_KIND = KEY_HEARTBEAT;
static volatile const u32 KEY_OFFSET_AT = 0;
static volatile const u32 KEY_LENGTH = 0;
static volatile const u32 KEY_PREFIX = 0;

#define CONNECTION_ID_MAX 20

enum move {
	MOVE_BY_SEQUENCE,    /* only a fresh sequence moves the device */
	MOVE_BY_FINGERPRINT, /* another fingerprint with another address is a migration */
	MOVE_ALWAYS,
	MOVE_NEVER,          /* it keeps the binding alive and does not name a new one */
};

struct sighting {
	struct device_key key;
	u32 sequence; /* or fingerprint */
	u8 boot;
	u8 move;
};

/* The heartbeat datagram, version 1, up to its sequence. */
struct heartbeat {
	u16 magic;
	u8 version;
	u8 type;
	u16 flags;
	u16 key_id;
	u8 device[ID_BYTES];
	u32 boot;
	u32 sequence;
};

#define HEARTBEAT_MAGIC 0x4642
#define HEARTBEAT_BYTES 80
#define HELLO_BYTES_MIN (32 + 16)
enum heartbeat_type { TYPE_HEARTBEAT = 1, TYPE_ANSWER = 4, TYPE_HELLO = 6 };

/* Side flows (type 3) are other bindings, made to be lost: they say nothing of the device's own. */
INLINE int key_heartbeat(struct __sk_buff *skb, struct flow *flow, struct sighting *sighting)
{
	const struct heartbeat *beat = (const struct heartbeat *)flow->packet.ipv4.head;
	u32 bytes_min;

	if (flow->head_at == sizeof(struct ipv6_packet) - HEAD_BYTES)
		beat = (const struct heartbeat *)flow->packet.ipv6.head;
	/* Behind IP options, the head is not there yet. */
	else if (!flow->head_at && !load_payload(skb, flow, 0, flow->packet.ipv4.head, sizeof(*beat)))
		return 0;
	if (beat->magic != htons(HEARTBEAT_MAGIC) || beat->version != 1)
		return 0;
	if (beat->type != TYPE_HEARTBEAT && beat->type != TYPE_ANSWER && beat->type != TYPE_HELLO)
		return 0;
	bytes_min = beat->type == TYPE_HELLO ? HELLO_BYTES_MIN : HEARTBEAT_BYTES;
	if (flow->payload_bytes < bytes_min)
		return 0;
	copy16(sighting->key.id, beat->device);
	sighting->sequence = ntohl(beat->sequence);
	sighting->boot = ntohl(beat->boot);
	sighting->move = beat->type == TYPE_ANSWER ? MOVE_NEVER : MOVE_BY_SEQUENCE;
	return 1;
}

/* Loads `bytes` of a key: more than a device's id holds does not fit, fewer leave zeros behind. */
INLINE int load_id(struct __sk_buff *skb, const struct flow *flow, u32 at, u32 bytes, struct device_key *key)
{
	if (bytes == 0 || bytes > ID_BYTES)
		return 0;
	return load_payload(skb, flow, at, key->id, bytes);
}

INLINE int key_offset(struct __sk_buff *skb, const struct flow *flow, struct sighting *sighting)
{
	sighting->move = MOVE_ALWAYS;
	return load_id(skb, flow, KEY_OFFSET_AT, KEY_LENGTH, &sighting->key);
}

/* FNV-1a, 32 bits, by words: tells one connection id of a device from its next. */
INLINE u32 fingerprint(const u32 *words)
{
	u32 hash = 2166136261u;

	for (int i = 0; i < CONNECTION_ID_MAX / 4; i++)
		hash = (hash ^ words[i]) * 16777619u;
	return hash;
}

/* The connection id at `at`; its first KEY_PREFIX bytes are the device. */
INLINE int key_connection_id(struct __sk_buff *skb, const struct flow *flow, u32 at, struct sighting *sighting)
{
	u32 id[CONNECTION_ID_MAX / 4] = {}, bytes = KEY_LENGTH, prefix = KEY_PREFIX;
	u8 *to = sighting->key.id;

	if (bytes == 0 || bytes > CONNECTION_ID_MAX || prefix > ID_BYTES || !load_payload(skb, flow, at, id, bytes))
		return 0;
	for (u32 i = 0; i < ID_BYTES; i++)
		to[i] = i < prefix ? ((u8 *)id)[i] : 0;
	sighting->sequence = fingerprint(id);
	sighting->move = MOVE_BY_FINGERPRINT;
	return 1;
}

/*
 * RFC 8999 and 9000, 17.2, 17.3; RFC 9369 for version 2, whose type bits are other ones. The fixed bit is not looked at: peers may grease
 * it (RFC 9287). An Initial or 0-RTT carries an id that the client made up: only Handshake and 1-RTT name the device.
 */
#define QUIC_LONG 0x80
#define QUIC_TYPE 0x30
#define QUIC_HANDSHAKE_V1 0x20
#define QUIC_HANDSHAKE_V2 0x30
#define QUIC_VERSION_2 0x6b3343cf
/* A receiver drops what is too short to sample for header protection (RFC 9001, 5.4.2). */
#define QUIC_AFTER_ID_MIN 20

INLINE int key_quic(struct __sk_buff *skb, const struct flow *flow, struct sighting *sighting)
{
	struct {
		u8 first;
		u8 version[4];
		u8 id_length;
		u8 padding[2];
	} header = {};
	u32 version;

	if (flow->payload_bytes < 1 + KEY_LENGTH + QUIC_AFTER_ID_MIN || !load_payload(skb, flow, 0, &header, 6))
		return 0;
	if (!(header.first & QUIC_LONG))
		return key_connection_id(skb, flow, 1, sighting);
	version = (u32)header.version[0] << 24 | header.version[1] << 16 | header.version[2] << 8 | header.version[3];
	if (version == 0 || header.id_length != KEY_LENGTH)
		return 0;
	if ((header.first & QUIC_TYPE) != (version == QUIC_VERSION_2 ? QUIC_HANDSHAKE_V2 : QUIC_HANDSHAKE_V1))
		return 0;
	return key_connection_id(skb, flow, 6, sighting);
}

/* RFC 9146, 4: content type 25 (tls12_cid), version, epoch, sequence, the id, a length. */
#define DTLS12_CID_TYPE 25
#define DTLS12_CID_AT 11

INLINE int key_dtls12(struct __sk_buff *skb, const struct flow *flow, struct sighting *sighting)
{
	u8 header[3];

	if (flow->payload_bytes < DTLS12_CID_AT + KEY_LENGTH + 2 || !load_payload(skb, flow, 0, header, sizeof(header)))
		return 0;
	if (header[0] != DTLS12_CID_TYPE || header[1] != 0xfe || header[2] != 0xfd)
		return 0;
	return key_connection_id(skb, flow, DTLS12_CID_AT, sighting);
}

/* RFC 9147, 4: 001CSLEE; with C the id follows. Its sequence is at least one byte, its record at least 16. */
#define DTLS13_FIXED 0xe0
#define DTLS13_UNIFIED 0x20
#define DTLS13_HAS_CID 0x10
#define DTLS13_AFTER_ID_MIN 17

INLINE int key_dtls13(struct __sk_buff *skb, const struct flow *flow, struct sighting *sighting)
{
	u8 first;

	if (flow->payload_bytes < 1 + KEY_LENGTH + DTLS13_AFTER_ID_MIN || !load_payload(skb, flow, 0, &first, 1))
		return 0;
	if ((first & DTLS13_FIXED) != DTLS13_UNIFIED || !(first & DTLS13_HAS_CID))
		return 0;
	return key_connection_id(skb, flow, 1, sighting);
}

INLINE int read_key(struct __sk_buff *skb, struct flow *flow, struct sighting *sighting)
{
	switch (KEY_KIND) {
	case KEY_HEARTBEAT:
		return key_heartbeat(skb, flow, sighting);
	case KEY_OFFSET:
		return key_offset(skb, flow, sighting);
	case KEY_QUIC:
		return key_quic(skb, flow, sighting);
	case KEY_DTLS12:
		return key_dtls12(skb, flow, sighting);
	case KEY_DTLS13:
		return key_dtls13(skb, flow, sighting);
	default:
		return 0;
	}
}
