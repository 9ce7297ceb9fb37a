/* The entries of a recording, the buffers they wait in, and their way out.
 *
 * Every thread appends to a buffer of its own and alone moves `filled`; the writer of the moment, who holds `door`, alone moves
 * `written`. So appending takes no lock.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

enum kind { READ, WRITE, FETCH, THREAD, THREAD_END, CALL, ARGUMENT, MAPPED_FILE, PROGRAM, BEGIN, EXEC, END };
enum flag { SAME_INSTRUCTION = 1, INITIAL = 2, FORKED = 4 };
enum { CALL_ENTRIES = 8, USER_BITS = 47 };
struct entry { uint64_t address; uint32_t number; uint16_t thread; uint8_t kind, flags; };
static const char MAGIC[16] = "\x89HWTHREAD\r\n\x1a\x01\0\x10"; /* version 1, entries of 16 bytes */

/* System calls of x86-64. */
enum { CLOSE = 3, MMAP = 9, MPROTECT = 10, MUNMAP = 11, BRK = 12, MREMAP = 25, MADVISE = 28, SHMAT = 30, DUP2 = 33, CLONE = 56,
       FORK = 57, VFORK = 58, EXECVE = 59, EXIT_THREAD = 60, SHMDT = 67, EXIT_GROUP = 231, DUP3 = 292, EXECVEAT = 322,
       PKEY_MPROTECT = 329, CLOSE_RANGE = 436 };

struct buffer { uint64_t filled, written; uint64_t unused[6]; struct entry entries[]; };
struct shared { uint64_t sent, writing; uint64_t unused[6]; }; /* bytes written out; whose buffer it is at */
struct slot { /* of a virtual CPU, which is a thread */
    struct buffer *buffer;
    uint64_t args[6]; /* of the call under way */
    uint64_t program_counter; /* of the latest access in this run of a block */
    uint16_t thread;
    bool started, holds_memory;
};

static struct slot *slots;
static struct shared *shared;
static char *buffers;
static size_t slot_count = 1024, entry_count = 4096;
static pthread_mutex_t door = PTHREAD_MUTEX_INITIALIZER;
static int out = -1;
static size_t buffers_size;
static bool is_over;

static void write_out(const void *from, size_t size) {
    while (size && !is_over) {
        ssize_t done = write(out, from, size);
        if (done < 0 && errno != EINTR) {
            is_over = true; /* nobody reads any more */
        } else if (done > 0) {
            from = (const char *) from + done;
            size -= done;
            shared->sent += done;
        }
    }
}

/* The door is held. */
static void write_buffer(struct slot *slot) {
    struct buffer *buffer = slot->buffer;
    uint64_t filled = __atomic_load_n(&buffer->filled, __ATOMIC_ACQUIRE);
    if (buffer->written < filled) {
        shared->writing = slot - slots;
        write_out(buffer->entries + buffer->written, (filled - buffer->written) * sizeof(struct entry));
        buffer->written = filled;
    }
}

static void write_all(void) {
    for (size_t i = 0; i < slot_count; i++) {
        if (slots[i].buffer) {
            write_buffer(&slots[i]);
        }
    }
}

/* The owner makes room. */
static void empty(struct slot *slot) {
    pthread_mutex_lock(&door);
    write_buffer(slot);
    __atomic_store_n(&slot->buffer->filled, 0, __ATOMIC_RELEASE);
    slot->buffer->written = 0;
    pthread_mutex_unlock(&door);
}

/* Where the next entries go, of which there will be so many. */
static inline struct entry *make_room(struct slot *slot, size_t count) {
    if (__builtin_expect(slot->buffer->filled + count > entry_count, 0)) {
        empty(slot);
    }
    return slot->buffer->entries + slot->buffer->filled;
}

/* They are there: all at once, so that nobody's stand between them. */
static inline void publish(struct slot *slot, size_t count) {
    __atomic_store_n(&slot->buffer->filled, slot->buffer->filled + count, __ATOMIC_RELEASE);
}

static inline void append(struct slot *slot, uint64_t address, uint32_t number, int kind, int flags) {
    *make_room(slot, 1) = (struct entry) {address, number, slot->thread, kind, flags};
    publish(slot, 1);
}

/* What a call maps if that is a file's. */
struct file { uint64_t inode; unsigned major_number, minor_number; };

static void append_call(struct slot *slot, uint64_t number, const uint64_t *args, int64_t result, int flags, struct file file) {
    struct entry *to = make_room(slot, CALL_ENTRIES);
    uint32_t device = file.major_number << 20 | file.minor_number;
    if (file.inode) {
        *to++ = (struct entry) {file.inode, device, slot->thread, MAPPED_FILE, flags};
    }
    *to++ = (struct entry) {result, number, slot->thread, CALL, flags};
    for (int i = 0; i < 6; i++) {
        *to++ = (struct entry) {args[i], i, slot->thread, ARGUMENT, flags};
    }
    publish(slot, file.inode ? CALL_ENTRIES : CALL_ENTRIES - 1);
}
