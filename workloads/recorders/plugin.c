/* A plugin of QEMU's user mode (x86-64) that records what every thread of a program fetches, reads, writes and calls.
 *
 * Arguments: out=FD or out=FILE, where the recording goes, in the format of workloads/formats/threads/__init__.py. A launcher that
 * wants what a killed program left behind also gives buffers=FD of shared memory, slots=N of them and entries=N in each.
 *
 * Calls on memory are made one at a time (`memory`), and at the return of each everybody's buffer is written before the call is:
 * what was accessed before a munmap stands before it, what needs an mmap behind it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "qemu.h"
#include "stream.h"
#include "layout.h"

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = PLUGIN_API;

static pthread_mutex_t memory = PTHREAD_MUTEX_INITIALIZER;
static bool knows_program;
static unsigned threads;
static int api;
static const char *program;

static void append_program(struct slot *slot) {
    const char *path = qemu_plugin_path_to_binary ? qemu_plugin_path_to_binary() : program;
    for (size_t left = path ? strlen(path) : 0, size; left; left -= size, path += size) {
        uint64_t text = 0;
        size = left < sizeof text ? left : sizeof text;
        memcpy(&text, path, size);
        append(slot, text, size, PROGRAM, 0);
    }
    if (api == 1 && walk_memory_regions && &guest_base) { /* what it takes and gives is known of these QEMUs only */
        append_layout(slot);
    }
    append(slot, 0, 0, BEGIN, 0);
}

/* A thread tells who it is with its first entry, for only it knows; the first thread then tells of the program. */
static void start(struct slot *slot) {
    slot->started = true;
    append(slot, gettid(), 0, THREAD, 0);
    if (!knows_program) {
        knows_program = true;
        append_program(slot);
    }
}

static void run_block(unsigned cpu, void *data) {
    struct slot *slot = &slots[cpu];
    const struct entry *fetch = data;
    if (__builtin_expect(!slot->started, 0)) {
        start(slot);
    }
    slot->program_counter = 0;
    append(slot, fetch->address, fetch->number, FETCH, 0);
}

static void access_memory(unsigned cpu, uint32_t access, uint64_t address, void *data) {
    struct slot *slot = &slots[cpu];
    int flags = slot->program_counter == (uint64_t) data ? SAME_INSTRUCTION : 0;
    slot->program_counter = (uint64_t) data;
    append(slot, address, 1u << qemu_plugin_mem_size_shift(access), qemu_plugin_mem_is_store(access) ? WRITE : READ, flags);
}

static void add_fetch(struct block *block, uint64_t address, size_t bytes, size_t count) {
    if (count) {
        struct entry *fetch = malloc(sizeof *fetch); /* for as long as QEMU runs: it never says when a block is gone */
        *fetch = (struct entry) {.address = address, .number = bytes | count << 16};
        qemu_plugin_register_vcpu_tb_exec_cb(block, run_block, NO_REGISTERS, fetch);
    }
}

/* The fetches of a block are told at its beginning, those of each page together, one that crosses pages alone. */
static void translate(uint64_t id, struct block *block) {
    size_t count = qemu_plugin_tb_n_insns(block), since = 0, bytes = 0;
    uint64_t address = 0;
    for (size_t i = 0; i < count; i++) {
        struct instruction *instruction = qemu_plugin_tb_get_insn(block, i);
        uint64_t at = qemu_plugin_insn_vaddr(instruction);
        size_t size = qemu_plugin_insn_size(instruction);
        if (since && (at ^ address) >> 12 | (at ^ (at + size - 1)) >> 12) {
            add_fetch(block, address, bytes, since);
            since = bytes = 0;
        }
        address = since ? address : at;
        bytes += size;
        since++;
        qemu_plugin_register_vcpu_mem_cb(instruction, access_memory, NO_REGISTERS, READS_AND_WRITES, (void *) at);
    }
    add_fetch(block, address, bytes, since);
}

static void begin_cpu(uint64_t id, unsigned cpu) {
    if (cpu >= slot_count) {
        fprintf(stderr, "hwmodel: more than %zu threads at a time\n", slot_count);
        _exit(125);
    }
    struct slot *slot = &slots[cpu];
    pthread_mutex_lock(&door);
    slot->thread = threads++;
    slot->started = slot->holds_memory = false;
    if (!slot->buffer) {
        slot->buffer = (struct buffer *) (buffers + cpu * (sizeof(struct buffer) + entry_count * sizeof(struct entry)));
    }
    pthread_mutex_unlock(&door);
}

static void end_cpu(uint64_t id, unsigned cpu) {
    if (slots[cpu].started) {
        append(&slots[cpu], 0, 0, THREAD_END, 0);
    }
    empty(&slots[cpu]);
}

static bool is_on_memory(int64_t number) {
    switch (number) {
    case MMAP: case MPROTECT: case MUNMAP: case BRK: case MREMAP: case MADVISE: case SHMAT: case SHMDT: case PKEY_MPROTECT:
    case CLONE: case FORK: case VFORK: case EXECVE: case EXECVEAT:
        return true;
    }
    return false;
}

/* QEMU makes a process of a vfork too, and of a clone that would share memory only until the child's exec. */
static bool is_fork(uint64_t number, uint64_t flags) {
    return number == FORK || number == VFORK || (number == CLONE && (!(flags & CLONE_VM) || flags & CLONE_VFORK));
}

/* The program's descriptors are QEMU's and ours: step aside before it closes the one that is ours. */
static void keep_open(int64_t number, uint64_t first, uint64_t second) {
    uint64_t fd = out;
    bool hit = (number == CLOSE && first == fd) || ((number == DUP2 || number == DUP3) && second == fd) ||
               (number == CLOSE_RANGE && first <= fd && fd <= second);
    if (hit) {
        pthread_mutex_lock(&door);
        int next = fcntl(out, F_DUPFD_CLOEXEC, (int) fd + 1);
        next = next < 0 ? fcntl(out, F_DUPFD_CLOEXEC, 3) : next;
        if (next >= 0) {
            close(out);
            out = next;
        }
        pthread_mutex_unlock(&door);
    }
}

static void begin_call(uint64_t id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                       uint64_t f, uint64_t g, uint64_t h) {
    struct slot *slot = &slots[cpu];
    keep_open(number, a, b);
    if (is_on_memory(number)) {
        pthread_mutex_lock(&memory);
        slot->holds_memory = true;
    }
    memcpy(slot->args, (uint64_t[]) {a, b, c, d, e, f}, sizeof slot->args);
    if (number == EXECVE || number == EXECVEAT) {
        append(slot, 0, 0, EXEC, 0);
    } else if (number == EXIT_GROUP || number == EXIT_THREAD) {
        append_call(slot, number, slot->args, 0, 0, (struct file) {0});
    }
    pthread_mutex_lock(&door);
    write_buffer(slot);
    pthread_mutex_unlock(&door);
}

static struct file file_of(int fd) {
    struct stat about;
    return fstat(fd, &about) ? (struct file) {0} : (struct file) {about.st_ino, major(about.st_dev), minor(about.st_dev)};
}

static void end_call(uint64_t id, unsigned cpu, int64_t number, int64_t result) {
    struct slot *slot = &slots[cpu];
    if (!slot->holds_memory) {
        append_call(slot, number, slot->args, result, 0, (struct file) {0});
        return;
    }
    pthread_mutex_lock(&door);
    write_all();
    pthread_mutex_unlock(&door);
    bool maps_file = number == MMAP && result >= 0 && !(slot->args[3] & MAP_ANONYMOUS);
    struct file file = maps_file ? file_of((int) slot->args[4]) : (struct file) {0};
    append_call(slot, number, slot->args, result, is_fork(number, slot->args[0]) && result > 0 ? FORKED : 0, file);
    empty(slot);
    slot->holds_memory = false;
    pthread_mutex_unlock(&memory);
}

/* -- the beginning and the end ------------------------------------------------------------------------------------------- */

static void finish(uint64_t id, void *data) {
    struct entry end = {.kind = END};
    pthread_mutex_lock(&door);
    write_all();
    write_out(&end, sizeof end);
    is_over = true;
    pthread_mutex_unlock(&door);
}

/* A forked process is not recorded: what it appends goes nowhere. */
static void begin_child(void) {
    is_over = true;
    mmap(shared, buffers_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    pthread_mutex_init(&door, NULL);
    close(out); /* the reader waits until the last copy is closed */
    out = -1;
}

static int open_output(const char *name) {
    char *end;
    long fd = strtol(name, &end, 10);
    if (*name && !*end) { /* to where the program will hardly look */
        int high = fcntl((int) fd, F_DUPFD_CLOEXEC, 500);
        high = high < 0 ? fcntl((int) fd, F_DUPFD_CLOEXEC, 3) : high;
        close((int) fd);
        return high;
    }
    return open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
}

static bool make_buffers(int fd) {
    buffers_size = sizeof(struct shared) + slot_count * (sizeof(struct buffer) + entry_count * sizeof(struct entry));
    int flags = (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) | MAP_NORESERVE;
    shared = mmap(NULL, buffers_size, PROT_READ | PROT_WRITE, flags, fd, 0);
    slots = calloc(slot_count, sizeof *slots);
    if (fd >= 0) {
        close(fd);
    }
    buffers = (char *) (shared + 1);
    return shared != MAP_FAILED && slots;
}

EXPORT int qemu_plugin_install(uint64_t id, const struct about *about, int count, char **args) {
    const char *to = NULL;
    int fd = -1;
    for (int i = 0; i < count; i++) {
        char *value = strchr(args[i], '=');
        *(value ? value++ : (value = args[i])) = 0;
        if (!strcmp(args[i], "out")) {
            to = value;
        } else if (!strcmp(args[i], "program")) {
            program = value; /* QEMU 6.2 does not tell */
        } else if (!strcmp(args[i], "buffers")) {
            fd = atoi(value);
        } else if (!strcmp(args[i], "slots")) {
            slot_count = strtoul(value, NULL, 10);
        } else if (!strcmp(args[i], "entries")) {
            entry_count = strtoul(value, NULL, 10);
        }
    }
    if (strcmp(about->target, "x86_64") || about->whole_system) {
        fprintf(stderr, "hwmodel: only programs of x86-64 can be recorded, not %s\n", about->target);
        return 1;
    }
    if (about->api.latest > LATEST_API) {
        fprintf(stderr, "hwmodel: QEMU's plugin interface %d is not known yet, only those up to %d\n", about->api.latest, LATEST_API);
        return 1;
    }
    out = to ? open_output(to) : -1;
    if (out < 0 || !slot_count || entry_count < CALL_ENTRIES || !make_buffers(fd)) {
        fprintf(stderr, "hwmodel: cannot record to out=%s: %s\n", to ? to : "", strerror(errno));
        return 1;
    }
    api = about->api.latest;
    write_out(MAGIC, sizeof MAGIC);
    pthread_atfork(NULL, NULL, begin_child);
    qemu_plugin_register_vcpu_init_cb(id, begin_cpu);
    qemu_plugin_register_vcpu_exit_cb(id, end_cpu);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_vcpu_syscall_cb(id, begin_call);
    qemu_plugin_register_vcpu_syscall_ret_cb(id, end_call);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
