/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Program arguments, of any size that the kernel allows. */
#pragma once

/* The kernel allows 6 MiB for arguments and environment together. */
enum { ARGS_STEPS = 6 * 1024 * 1024 / ARGS_CHUNK + 1 };

/* Size of the argument block; 0 while an exec that the walk runs into has not set its end yet. */
static __always_inline u64 args_size(struct mm_struct *mm)
{
	u64 start = mm->arg_start, end = mm->arg_end;

	return end > start ? end - start : 0;
}

/*
 * Whoever execs with megabytes of arguments again and again would leave no room for what others do. So
 * parts of arguments take the last quarter of the ring from nobody; they are then counted as lost, and the
 * exec record says how much is missing.
 */
static __always_inline bool has_room_for_args(void)
{
	u64 taken = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	u64 size = bpf_ringbuf_query(&events, BPF_RB_RING_SIZE);

	return taken + sizeof(struct args_record) + ARGS_CHUNK <= size - size / 4;
}

static __always_inline bool send_next_args(struct buffer *buffer)
{
	struct args_record *record = &buffer->args;
	struct args_cursor *at = &buffer->rest;
	u64 len = at->left;

	if (len > ARGS_CHUNK)
		len = ARGS_CHUNK;
	barrier_var(len);
	if (len == 0 || len > ARGS_CHUNK)
		return true;
	if (!has_room_for_args()) {
		next_seq(RECORD_ARGS);
		count(STAT_LOST(RECORD_ARGS));
		return true;
	}
	if (bpf_probe_read_user(record + 1, len, (void *)at->address)) {
		count(STAT_READ_FAILED);
		return true;
	}
	record->offset = at->offset;
	record->len = len;
	record->pad = 0;
	if (!send(&record->header, RECORD_ARGS, sizeof(*record) + len, record->subject.image_start))
		return true;
	at->address += len;
	at->offset += len;
	at->left -= len;
	return false;
}

/* Sends one args record. 1 when nothing is left, or nothing more can be sent. */
__noinline int send_chunk(void)
{
	struct buffer *buffer = buffer_of(BUFFER_LIVE);

	return buffer ? send_next_args(buffer) : 1;
}

/* Sends what does not fit into the exec record of `subject`, and says how many bytes that were. */
static __always_inline u64 send_long_args(struct buffer *buffer, const struct process_ref *subject,
					  struct mm_struct *mm)
{
	u64 total = args_size(mm);

	if (total <= EXEC_ARGS_INLINE)
		return 0;
	buffer->args.subject = *subject;
	buffer->rest.address = mm->arg_start + EXEC_ARGS_INLINE;
	buffer->rest.offset = EXEC_ARGS_INLINE;
	buffer->rest.left = total - EXEC_ARGS_INLINE;
	for (int i = 0; i < ARGS_STEPS; i++)
		if (send_chunk())
			break;
	return buffer->rest.offset - EXEC_ARGS_INLINE;
}

/* Appends the first part of the arguments of the current process, which has just been set up. */
static __always_inline void append_args(struct buffer *buffer, struct mm_struct *mm)
{
	struct args *args = &buffer->image.args;
	u64 len = args_size(mm);
	u32 used = buffer->used;

	args->total = len;
	args->offset = used;
	if (len > EXEC_ARGS_INLINE)
		len = EXEC_ARGS_INLINE;
	barrier_var(len);
	barrier_var(used);
	if (len > EXEC_ARGS_INLINE || used > TEXTS_MAX)
		return;
	if (bpf_probe_read_user(buffer->data + used, len, (void *)mm->arg_start)) {
		count(STAT_READ_FAILED);
		return;
	}
	args->len = len;
	buffer->used = used + len;
}
