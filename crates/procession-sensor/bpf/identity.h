/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Which image of which process a task runs.
 *
 * The state of a process is that of its group leader, which stays until its last thread is gone.
 * Other threads carry a copy of `image_start`, for one case only: when such a thread calls exec, it
 * takes over as leader, and the old leader's state is gone before our hook runs.
 */
#pragma once

static __always_inline u64 image_start_of(struct task_struct *leader)
{
	struct task_state *state = bpf_task_storage_get(&tasks, leader, NULL, 0);
	u64 start = leader->start_boottime;

	/* Keeps the two loads apart: the verifier refuses one instruction for two kinds of pointer. */
	barrier_var(start);
	if (state)
		start = state->image_start;
	return start;
}

static __always_inline void fill_ref_of(struct process_ref *ref, struct task_struct *leader,
					struct task_struct *thread)
{
	ref->image_start = image_start_of(leader);
	ref->process_start = leader->start_boottime;
	ref->tgid = thread->tgid;
	ref->tid = thread->pid;
}

static __always_inline void fill_ref(struct process_ref *ref, struct task_struct *thread)
{
	fill_ref_of(ref, thread->group_leader, thread);
}

/*
 * The state of `leader`, made if there is none; NULL, and counted, if there is no memory. Of two
 * threads that make it at once the kernel refuses one, which then finds what the other has made.
 */
static __always_inline struct task_state *make_state(struct task_struct *leader)
{
	struct task_state first = { .image_start = leader->start_boottime };
	struct task_state *state =
		bpf_task_storage_get(&tasks, leader, &first, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!state)
		state = bpf_task_storage_get(&tasks, leader, NULL, 0);
	if (!state)
		count(STAT_STORAGE_FAILED);
	return state;
}

/*
 * Notes that `leader` runs a new image, and when the one before began. False if another build of
 * the programs has noted this very exec, and so tells of it.
 */
static __always_inline bool begin_image(struct task_struct *leader, u64 now, u64 *before)
{
	struct task_state *state = make_state(leader);
	u64 exec_id = leader->self_exec_id;

	*before = leader->start_boottime;
	if (!state)
		return true;
	if (state->exec_id == exec_id)
		return false;
	*before = state->image_start;
	state->image_start = now;
	state->exec_id = exec_id;
	return true;
}

static __always_inline void copy_state_to_thread(struct task_struct *creator, struct task_struct *thread)
{
	struct task_state *state = bpf_task_storage_get(&tasks, creator->group_leader, NULL, 0);
	struct task_state copy = {};

	if (!state)
		return;
	copy.image_start = state->image_start;
	copy.exec_id = state->exec_id;
	if (!bpf_task_storage_get(&tasks, thread, &copy, BPF_LOCAL_STORAGE_GET_F_CREATE))
		count(STAT_STORAGE_FAILED);
}

/*
 * Whether nobody on this CPU has told of this process before: `last` is of whom was told last. A program
 * that is preempted between two builds of itself may find another's claim, and tell again: a duplicate is
 * better than no record at all.
 */
static __always_inline bool claim_on_cpu(struct claim *last, struct task_struct *leader)
{
	u64 process_start = leader->start_boottime;
	u64 tgid = leader->tgid;

	if (last->process_start == process_start && last->tgid == tgid)
		return false;
	last->process_start = process_start;
	last->tgid = tgid;
	return true;
}

static __always_inline bool claim_fork(struct task_struct *child)
{
	u32 zero = 0;
	struct claims *own = bpf_map_lookup_elem(&claims, &zero);

	return !own || claim_on_cpu(&own->fork, child);
}

/*
 * Whether the caller is to report the end of the process. Threads that die together can all find
 * `live` at zero, since each counts itself out some time before it gets to our hook. The first one
 * to mark the leader wins. No mark is made when no other thread is left that could come after us,
 * but one that went before may have left its own; and a leader without state has its end claimed on
 * the CPU.
 */
static __always_inline bool claim_exit(struct task_struct *leader)
{
	u32 zero = 0;
	struct claims *own = bpf_map_lookup_elem(&claims, &zero);
	struct task_state *state;

	if (leader->signal->nr_threads == 1)
		state = bpf_task_storage_get(&tasks, leader, NULL, 0);
	else
		state = make_state(leader);
	if (state)
		return __sync_val_compare_and_swap(&state->exit_sent, 0, 1) == 0;
	return !own || claim_on_cpu(&own->exit, leader);
}
