/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Every map, with what happens when it is full. The loader sets the sizes that configuration asks for. */
#pragma once
#include "monitor.h"

/* Full: the least recently seen device (approximately) makes room, and comes back as new. */
struct {
	FIELD_NUMBER(type, MAP_LRU_HASH);
	FIELD_NUMBER(max_entries, 1);
	FIELD_TYPE(key, struct device_key);
	FIELD_TYPE(value, struct device);
} devices SEC(".maps");

/* Full: the least recently used address makes room, and egress to it is not seen until its device moves. */
struct {
	FIELD_NUMBER(type, MAP_LRU_HASH);
	FIELD_NUMBER(max_entries, 1);
	FIELD_TYPE(key, struct tuple_key);
	FIELD_TYPE(value, struct device_key);
} tuples SEC(".maps");

/* Full: user space is refused. */
struct {
	FIELD_NUMBER(type, MAP_LPM_TRIE);
	FIELD_NUMBER(map_flags, BPF_F_NO_PREALLOC);
	FIELD_NUMBER(max_entries, 1);
	FIELD_TYPE(key, struct prefix_key);
	FIELD_TYPE(value, u32);
} prefixes SEC(".maps");

/* What user space says of single devices; it wins over prefixes. Full: the least recently used is forgotten. */
struct {
	FIELD_NUMBER(type, MAP_LRU_HASH);
	FIELD_NUMBER(max_entries, 1);
	FIELD_TYPE(key, struct device_key);
	FIELD_TYPE(value, u32);
} assignments SEC(".maps");

/* Cohort 0 is of those that no prefix covers; a number beyond the map counts there too. */
struct {
	FIELD_NUMBER(type, MAP_PERCPU_ARRAY);
	FIELD_NUMBER(max_entries, 1);
	FIELD_TYPE(key, u32);
	FIELD_TYPE(value, struct cohort_counts);
} cohorts SEC(".maps");

struct {
	FIELD_NUMBER(type, MAP_PERCPU_ARRAY);
	FIELD_NUMBER(max_entries, 1);
	FIELD_TYPE(key, u32);
	FIELD_TYPE(value, struct troubles);
} troubles SEC(".maps");

struct {
	FIELD_NUMBER(type, MAP_ARRAY);
	FIELD_NUMBER(max_entries, 1);
	FIELD_TYPE(key, u32);
	FIELD_TYPE(value, struct control);
} control SEC(".maps");

/* TCP. Full: the least recently used connection is forgotten, and its next trouble begins anew. */
struct {
	FIELD_NUMBER(type, MAP_LRU_HASH);
	FIELD_NUMBER(max_entries, 1);
	FIELD_TYPE(key, struct tuple_key);
	FIELD_TYPE(value, struct connection);
} connections SEC(".maps");

/* Full: the record is lost, and counted. */
struct {
	FIELD_NUMBER(type, MAP_RINGBUF);
	FIELD_NUMBER(max_entries, 4096);
} records SEC(".maps");
