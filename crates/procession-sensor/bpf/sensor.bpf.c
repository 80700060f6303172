/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The kernel side of the sensor: one record for every fork, exec and exit of a process and for what
 * changes between, and a walk over those that already run. Threads are followed only as far as
 * identity needs it.
 *
 * Built by `cargo xtask bpf`; the object is committed next to its source.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "record.h"
#include "maps.h"
#include "emit.h"
#include "identity.h"
#include "facts.h"
#include "path.h"
#include "args.h"
#include "change.h"

/* What the kernel asks for before it lends out its helpers. */
char LICENSE[] SEC("license") = "GPL";

/* In the creator's context, before the child can run: so a fork always precedes the child's exec. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *creator, struct task_struct *child)
{
	struct fork_record *record;

	if (child->pid != child->tgid) {
		copy_state_to_thread(creator, child);
		return 0;
	}
	if (!claim_fork(child))
		return 0;
	record = reserve(RECORD_FORK, sizeof(*record));
	if (!record)
		return 0;
	fill_ref(&record->subject, child);
	fill_ref(&record->creator, creator);
	fill_ref(&record->owner, child->real_parent);
	__builtin_memset(&record->facts, 0, sizeof(record->facts));
	fill_facts(&record->facts, child);
	bpf_ringbuf_submit(record, wake_flags());
	return 0;
}

/* What an exec and a walk have in common. `file` may be NULL. */
static __always_inline void fill_image(struct buffer *buffer, u32 buffer_id, struct task_struct *task,
				       struct file *file)
{
	struct image_record *image = &buffer->image;
	struct cgroup *cgroup = fill_facts(&image->facts, task);
	struct fs_struct *fs = task->fs;

	buffer->path.root_dentry = (u64)BPF_CORE_READ(fs, root.dentry);
	buffer->path.root_mount = (u64)BPF_CORE_READ(fs, root.mnt);
	if (file) {
		fill_file(&image->file, file);
		append_path(buffer, buffer_id, &image->exe, BPF_CORE_READ(file, f_path.dentry),
			    BPF_CORE_READ(file, f_path.mnt));
	}
	if (fs)
		append_path(buffer, buffer_id, &image->cwd, BPF_CORE_READ(fs, pwd.dentry),
			    BPF_CORE_READ(fs, pwd.mnt));
	append_cgroup(buffer, buffer_id, &image->cgroup, cgroup);
}

static __always_inline void fill_exec(struct buffer *buffer, struct linux_binprm *bprm)
{
	struct image_record *image = &buffer->image;

	image->secureexec = BPF_CORE_READ_BITFIELD(bprm, secureexec);
	image->unsafe = bprm->unsafe;
	image->per_clear = bprm->per_clear;
	image->argc = bprm->argc;
	image->envc = bprm->envc;
	append_string(buffer, &image->filename, bprm->filename);
	if (bprm->interp != bprm->filename)
		append_string(buffer, &image->interp, bprm->interp);
}

/* The length of the record in `buffer`, at most `max` bytes of data. */
static __always_inline u32 image_len(struct buffer *buffer, u32 max)
{
	u32 used = buffer->used;

	barrier_var(used);
	return sizeof(struct image_record) + (used > max ? max : used);
}

/* After the point of no return: the new image is complete, its first instruction has not run. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_tid, struct linux_binprm *bprm)
{
	u64 now = bpf_ktime_get_boot_ns();
	struct buffer *buffer = buffer_of(BUFFER_LIVE);
	struct process_ref subject = {
		.image_start = now,
		.process_start = task->start_boottime,
		.tgid = task->tgid,
		.tid = task->pid,
	};
	struct image_record *image;
	u64 replaced, chunked;

	if (!begin_image(task, now, &replaced))
		return 0;
	if (!buffer) {
		next_seq(RECORD_EXEC);
		count(STAT_LOST(RECORD_EXEC));
		return 0;
	}
	/* The chunks use the same buffer, and go first: whoever reads the exec record has them all. */
	chunked = send_long_args(buffer, &subject, task->mm);

	image = &buffer->image;
	buffer->used = 0;
	__builtin_memset(image, 0, sizeof(*image));
	image->subject = subject;
	image->replaced_image_start = replaced;
	image->old_tid = old_tid;
	image->args.chunked = chunked;
	fill_ref(&image->owner, task->real_parent);
	fill_exec(buffer, bprm);
	fill_image(buffer, BUFFER_LIVE, task, bprm->file);
	append_args(buffer, task->mm);
	send(&image->header, RECORD_EXEC, image_len(buffer, DATA_MAX), now);
	return 0;
}

/* As wait(2) reports it: a fatal signal or exit_group(2) overrides what the leader itself said. */
static __always_inline u32 wait_status(struct task_struct *leader)
{
	struct signal_struct *signal = leader->signal;

	if (signal->flags & SIGNAL_GROUP_EXIT)
		return signal->group_exit_code;
	return leader->exit_code;
}

/* Threads that have been reaped are in the group's sums; the last one and the leader are not yet. */
static __always_inline void fill_times(struct exit_record *record, struct task_struct *last,
				       struct task_struct *leader)
{
	struct signal_struct *signal = leader->signal;

	record->user_time = signal->utime + last->utime;
	record->system_time = signal->stime + last->stime;
	record->run_time = signal->sum_sched_runtime + last->se.sum_exec_runtime;
	if (last->pid == last->tgid)
		return;
	record->user_time += leader->utime;
	record->system_time += leader->stime;
	record->run_time += leader->se.sum_exec_runtime;
}

/* For every thread that ends, in its own context; a process ends with the last of them. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	struct exit_record *record;

	if (task->signal->live.counter != 0 || !claim_exit(leader))
		return 0;
	record = reserve(RECORD_EXIT, sizeof(*record));
	if (!record)
		return 0;
	fill_ref(&record->subject, task);
	fill_ref(&record->owner, leader->real_parent);
	fill_times(record, task, leader);
	record->status = wait_status(leader);
	record->pad = 0;
	bpf_core_read(record->comm, sizeof(record->comm), &leader->comm);
	bpf_ringbuf_submit(record, wake_flags());
	return 0;
}

/*
 * At the entry, where both the old and the new credentials are to be seen: it cannot fail. That an exec
 * comes here too is part of what its own record tells.
 */
SEC("fentry/commit_creds")
int BPF_PROG(on_credentials, struct cred *new)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (speaks_for_process(task) && credentials_differ(task->real_cred, new))
		send_change(task, task, new);
	return 0;
}

/*
 * The functions for the two calls rather than switch_task_namespaces(), to which both lead: so does the
 * exit of every task, and a run that the kernel skips there could not be told from one that matters.
 */
SEC("fexit/ksys_unshare")
int BPF_PROG(on_unshare, unsigned long flags, int error)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!error && flags & CLONE_NAMESPACES && speaks_for_process(task))
		send_change(task, task, task->real_cred);
	return 0;
}

/* To enter where the task is already changes nothing; that is for the reader of the record to see. */
SEC("fexit/setns")
int BPF_PROG(on_setns, const void *regs, long error)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!error && speaks_for_process(task))
		send_change(task, task, task->real_cred);
	return 0;
}

/* A session is that of the process, whichever thread began it. */
SEC("fexit/ksys_setsid")
int BPF_PROG(on_session, int session)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_struct *leader = task->group_leader;

	if (session > 0)
		send_change(task, leader, leader->real_cred);
	return 0;
}

/*
 * The parent's state is not looked at: this program may sleep, so nothing keeps a parent that exits
 * meanwhile from being freed under the helper's hands. Its own record in the same walk, or in the
 * ring, has the image that belongs to (tgid, process_start).
 */
static __always_inline void fill_owner_in_walk(struct process_ref *owner, struct task_struct *parent)
{
	owner->image_start = 0;
	owner->process_start = parent->group_leader->start_boottime;
	owner->tgid = parent->tgid;
	owner->tid = parent->pid;
}

static __always_inline void write_record(struct bpf_iter_meta *meta, const void *record, u32 len)
{
	/* A record that does not fit into what is left of the reader's page is asked for again. */
	if (bpf_seq_write(meta->seq, record, len))
		count(STAT_WALK_RETRIED);
	else
		count(STAT_WALK);
}

/*
 * A dead group waits for its parent only; a dead leader of living threads is still a process. A group is
 * dead for some time before its exit is told of.
 */
static __always_inline bool is_alive(struct task_struct *task)
{
	return task->signal->live.counter != 0;
}

/* For every task, when user space reads the iterator. */
SEC("iter.s/task")
int on_walk(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct buffer *buffer = buffer_of(BUFFER_WALK);
	/* Before anything is read: what happened up to then is contained. */
	u64 now = bpf_ktime_get_boot_ns();
	struct image_record *image;
	struct mm_struct *mm;
	u32 len;

	if (!task || !buffer || task->pid != task->tgid || !is_alive(task))
		return 0;
	image = &buffer->image;
	mm = task->mm;
	buffer->used = 0;
	__builtin_memset(image, 0, sizeof(*image));
	/* Not by way of task->group_leader: in a program that may sleep only `task` itself is trusted. */
	fill_ref_of(&image->subject, task, task);
	fill_owner_in_walk(&image->owner, task->real_parent);
	fill_image(buffer, BUFFER_WALK, task, mm ? mm->exe_file : NULL);
	/*
	 * How long its arguments are, not what they are: another process's memory may be a file whose owner
	 * never answers (FUSE), and this would wait for ever. /proc reads none of such.
	 */
	if (mm)
		image->args.total = args_size(mm);
	len = image_len(buffer, WALK_RECORD_MAX - sizeof(*image));
	fill_header(&image->header, RECORD_WALK, len, now, ctx->meta->seq_num);
	write_record(ctx->meta, image, len);
	return 0;
}
