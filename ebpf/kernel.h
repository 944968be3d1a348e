/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What we use of the kernel's own interface, and no more.
 *
 * The system's headers differ between machines, and with them the BTF of the object, which must come out the same
 * everywhere (the built object is in the tree, and compared). Everything here is kernel ABI: numbers of helpers, flags
 * and contexts never change. Structures marked CO-RE are not ABI: the loader moves their fields to where they are.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static __attribute__((always_inline)) inline
#define NOINLINE static __attribute__((noinline))
#define CORE __attribute__((preserve_access_index))

/* How libbpf and aya read a map's definition from BTF. */
#define FIELD_NUMBER(name, value) int(*name)[value]
#define FIELD_TYPE(name, value) typeof(value) *name

#define htons(x) __builtin_bswap16(x)
#define ntohs(x) __builtin_bswap16(x)
#define ntohl(x) __builtin_bswap32(x)

enum { ETH_P_IP = 0x0800, ETH_P_IPV6 = 0x86DD, ETH_P_8021Q = 0x8100, ETH_P_8021AD = 0x88A8 };
enum { IPPROTO_HOPOPTS = 0, IPPROTO_UDP = 17, IPPROTO_DSTOPTS = 60 };
enum { AF_INET = 2, AF_INET6 = 10 };

/* enum bpf_map_type */
enum { MAP_ARRAY = 2, MAP_PERCPU_ARRAY = 6, MAP_LRU_HASH = 9, MAP_LPM_TRIE = 11, MAP_RINGBUF = 27 };
/* flags of maps and of updates */
enum { BPF_F_NO_PREALLOC = 1, BPF_ANY = 0, BPF_NOEXIST = 1 };
/* enum bpf_hdr_start_off */
enum { HEADER_OF_NETWORK = 1 };
/* Verdict of a classifier: go on to whoever is next. */
enum { TCX_NEXT = -1 };

/* struct __sk_buff, as far as we read it. */
struct __sk_buff {
	u32 len;
	u32 pkt_type;
	u32 mark;
	u32 queue_mapping;
	u32 protocol;
	u32 vlan_present;
	u32 vlan_tci;
	u32 vlan_proto;
	u32 priority;
	u32 ingress_ifindex;
	u32 ifindex;
};

/* struct bpf_sock_ops, as far as we read it. Addresses and the remote port are in network order. */
struct bpf_sock_ops {
	u32 op;
	u32 args[4];
	u32 family;
	u32 remote_ip4;
	u32 local_ip4;
	u32 remote_ip6[4];
	u32 local_ip6[4];
	u32 remote_port;
	u32 local_port;
	u32 is_fullsock;
	u32 snd_cwnd;
	u32 srtt_us;
	u32 bpf_sock_ops_cb_flags;
	u32 state;
};

/* bpf_sock_ops.op, and what it is told when. */
enum { SOCK_OPS_PASSIVE_ESTABLISHED = 5, SOCK_OPS_RTO = 8, SOCK_OPS_STATE = 10 };
enum { SOCK_OPS_FLAG_RTO = 1, SOCK_OPS_FLAG_STATE = 4 };
enum { TCP_ESTABLISHED = 1, TCP_CLOSE = 7 };

/* CO-RE: only the names count. */
struct in6_addr {
	u8 s6_addr[16];
} CORE;

struct sock_common {
	u32 skc_daddr;
	u16 skc_dport;
	u16 skc_num;
	u16 skc_family;
	volatile u8 skc_state;
	struct in6_addr skc_v6_daddr;
} CORE;

struct sock {
	struct sock_common __sk_common;
} CORE;

struct inet_connection_sock {
	u8 icsk_retransmits;
} CORE;

struct tcp_sock {
	struct inet_connection_sock inet_conn;
} CORE;

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static long (*bpf_sock_ops_cb_flags_set)(struct bpf_sock_ops *context, s32 flags) = (void *)59;
static long (*bpf_skb_load_bytes_relative)(const void *skb, u32 offset, void *to, u32 len, u32 start) = (void *)68;
static void *(*bpf_ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *record, u64 flags) = (void *)132;
static u64 (*bpf_jiffies64)(void) = (void *)118;
static u64 (*bpf_ktime_get_coarse_ns)(void) = (void *)160;
static struct tcp_sock *(*bpf_skc_to_tcp_sock)(void *sock) = (void *)137;

/*
 * The classic instructions: bytes of the packet, in host order, at half of a helper's price. They end the program with 0
 * where there are none: ask skb->len first.
 */
u64 load_word(void *skb, u64 at) asm("llvm.bpf.load.word");
u64 load_half(void *skb, u64 at) asm("llvm.bpf.load.half");
u64 load_byte(void *skb, u64 at) asm("llvm.bpf.load.byte");
