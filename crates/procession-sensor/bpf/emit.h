/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* From a finished record to the ring, with every attempt numbered and every loss counted. */
#pragma once

/* Set by the loader: wake the reader each time that so many bytes have come. 0 = for every record. */
const volatile u32 wake_bytes = 0;

/* The position in the ring at which to wake the reader next. */
u64 wake_position = 0;

/*
 * A wake-up for each record is the largest cost of a sensor (a quarter of a fork and exec). The
 * reader therefore polls with a timeout too, and is woken early only when much has come.
 *
 * How much of that it has read does not matter: it may hold records back after it has read them, and
 * with no reader at all each record would wake nobody at full cost. Two CPUs that pass the position at
 * once wake twice.
 */
static __always_inline u64 wake_flags(void)
{
	u64 position = bpf_ringbuf_query(&events, BPF_RB_PROD_POS);

	if (position < wake_position)
		return BPF_RB_NO_WAKEUP;
	wake_position = position + wake_bytes;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline void fill_header(struct header *header, u32 kind, u32 len, u64 time, u64 seq)
{
	header->kind = kind;
	header->flags = 0;
	header->len = len;
	header->time = time;
	header->seq = seq;
	header->cpu = bpf_get_smp_processor_id();
	header->pad = 0;
}

/* The number of the next submission. Taken before the ring is asked, so that a refusal leaves a gap. */
static __always_inline u64 next_seq(u32 kind)
{
	count(STAT_ATTEMPTED(kind));
	return count(STAT_SEQUENCE);
}

/* A record of constant size in the ring itself, its header filled in; NULL, and counted, if full. */
static __always_inline void *reserve(u32 kind, u32 size)
{
	u64 seq = next_seq(kind);
	struct header *header = bpf_ringbuf_reserve(&events, size, 0);

	if (!header) {
		count(STAT_LOST(kind));
		return NULL;
	}
	fill_header(header, kind, size, bpf_ktime_get_boot_ns(), seq);
	return header;
}

/* Copies a record of any size into the ring. False, and counted, if it is full. */
static __always_inline bool send(struct header *header, u32 kind, u32 len, u64 time)
{
	fill_header(header, kind, len, time, next_seq(kind));
	if (bpf_ringbuf_output(&events, header, len, wake_flags()) == 0)
		return true;
	count(STAT_LOST(kind));
	return false;
}
